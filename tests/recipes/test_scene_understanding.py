"""The recipe on segmentation, depth and normals, from end to end on generated pictures."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver
from dense_cases import PNG, ROWS, SIZE, loaded

pytest.importorskip("matplotlib")

from mtlzoo import HardSharing, data
from mtlzoo.data.scene_frames.loading import tasks_of
from recipes import scene_understanding
from recipes.parts import scene_pictures

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    # Of tf.data, which is not meant to be eager here.
    pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning"),
]


def some_frames(normals=True):
    rng = np.random.default_rng(2)
    depth = rng.uniform(1, 3, (ROWS, SIZE, SIZE)).astype(np.float32)
    depth[:, :4] = np.nan
    labels = {"depth": depth, "segmentation": rng.integers(0, 9, depth.shape).astype(np.uint8)}
    if normals:
        labels["normals"] = rng.normal(size=(*depth.shape, 3)).astype(np.float32)
        labels["normals"][:, :6] = np.nan
    return loaded(tasks_of((SIZE, SIZE), 9, labels), labels)


def lines(printed, start):
    return [line.split() for line in printed.splitlines() if line.startswith(start)]


@pytest.mark.slow
def test_scene_understanding(tmp_path, monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr(data, "load", lambda name, **o: asked.update(o) or some_frames())
    monkeypatch.setattr(scene_understanding, "ARCHITECTURES", {"hard sharing": HardSharing})
    with flagsaver.flagsaver(
        out=str(tmp_path), epochs=1, widths=["4", "4", "8"], aspp_filters=4, frame="motorcycle"
    ):
        scene_understanding.main([])
    assert asked["frame"] == "motorcycle"
    report = json.loads((tmp_path / "results.json").read_text())
    assert set(report["hard sharing"]["metrics"]) == {
        "depth_abs_error",
        "depth_delta_1",
        "depth_rel_error",
        "normals_mean_angle",
        "normals_median_angle",
        "normals_within_11_25",
        "normals_within_22_5",
        "normals_within_30",
        "segmentation_mean_iou",
        "segmentation_pixel_accuracy",
    }
    assert all(np.isfinite(v) for v in report["hard sharing"]["metrics"].values())
    printed = capsys.readouterr().out
    assert lines(printed, "normals_mean_angle")[0][1] == (
        f"{report['hard sharing']['metrics']['normals_mean_angle']:.4f}"
    )
    assert "not that they generalise" in printed
    assert (tmp_path / "hard_sharing.png").read_bytes()[:8] == PNG


def test_folders_are_read_without_normals(monkeypatch):
    asked = {}

    def load(folder, **options):
        asked.update(options, folder=folder)
        return some_frames(normals=False)

    monkeypatch.setattr(scene_understanding.scene_folders, "load", load)
    with flagsaver.flagsaver(data_dir="cityscapes", num_classes=7):
        scenes = scene_understanding.load()
    assert asked["folder"] == "cityscapes" and asked["num_classes"] == 7
    assert [task.name for task in scenes.tasks] == ["depth", "segmentation"]


def test_missing_pixels_are_white_and_classes_have_colours_of_their_own():
    drawn = scene_pictures.of_classes(np.arange(13)[None])
    assert len(np.unique(drawn[0], axis=0)) == 13
    drawn = scene_pictures.of_classes(np.array([[0, 1, 255]]), background=True)
    assert drawn[0, 2].tolist() == [1, 1, 1]
    assert len(set(drawn[0, 0])) == 1 and len(set(drawn[0, 1])) > 1  # grey, and a colour


def test_decoders_of_the_tasks_take_the_place_of_the_shared_one(monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, **_: some_frames())
    with flagsaver.flagsaver(decoder="aspp", aspp_filters=4, aspp_rates=["1", "2"]):
        scenes = scene_understanding.load()
        trunk = scene_understanding.backbone(scenes)
    assert trunk.stage_names[-1] == "stage_3"
    for task in scenes.tasks:
        assert (task.aspp_filters, task.aspp_rates, task.head_units) == (4, (1, 2), (4,))
    assert scenes.tasks[2].num_classes == 9 and scenes.tasks[2].size == (SIZE, SIZE)


MOCKED = {
    "tfds": ["nyu_depth_v2", "cityscapes/semantic_segmentation"],
    "size": ["16", "32"],
    "batch_size": 2,
    "widths": ["4", "4", "8"],
    "aspp_filters": 4,
    "epochs": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "hard sharing" else pytest.mark.slow)
        for name in scene_understanding.ARCHITECTURES
    ],
)
def test_a_step_on_mocked_sets_of_tensorflow_datasets(name):
    tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `datasets` is missing")
    with tfds.testing.mock_data(num_examples=1), flagsaver.flagsaver(**MOCKED):
        scenes = scene_understanding.load()
        model = scene_understanding.ARCHITECTURES[name](
            scenes.inputs, scenes.tasks, backbone=scene_understanding.backbone(scenes)
        )
        model.compile("adam")
        before = [np.asarray(v) for v in model.trainable_variables]
        logs = model.fit(scenes.train, shuffle=False, verbose=0).history
    assert {"depth_loss", "segmentation_loss"} < set(logs)
    assert all(np.isfinite(values).all() for values in logs.values())
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert not np.array_equal(variable, old), variable.path


@pytest.mark.slow
def test_the_recipe_runs_on_mocked_sets_of_tensorflow_datasets(tmp_path, capsys):
    tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `datasets` is missing")
    with (
        tfds.testing.mock_data(num_examples=2),
        flagsaver.flagsaver(out=str(tmp_path), **MOCKED),
    ):
        scene_understanding.main([])
    report = json.loads((tmp_path / "results.json").read_text())
    assert set(report) == set(scene_understanding.ARCHITECTURES)
    for found in report.values():
        assert {"depth_abs_error", "segmentation_mean_iou"} < set(found["metrics"])
        assert all(np.isfinite(v) for v in found["metrics"].values())
    assert "not that they generalise" not in capsys.readouterr().out
    assert (tmp_path / "MTAN.png").read_bytes()[:8] == PNG
