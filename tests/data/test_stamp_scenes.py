"""Scenes of stamps: their labels, and what may be in which split."""

import numpy as np
import pytest
from fake_packages import blob, rows_of, write_photographs, write_stamps

from mtlzoo import data
from mtlzoo.data import cache
from mtlzoo.data.stamp_scenes import compositor, loading, material

pytest.importorskip("PIL", reason="the extra `datasets` is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with both packages, and their material in `kept`."""
    folder = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as monkeypatch:
        write_stamps(monkeypatch, folder)
        write_photographs(monkeypatch, folder)
        loading.composed(folder, folder / "kept", False, 32, 6, 0)
    return folder


def load(folder, **options):
    options = {"size": 32, "scenes": 60, "data_dir": folder / "kept"} | options
    return data.load("stamp_scenes", **options)


def kept(folder):
    return material.Material.from_arrays(
        cache.read(next((folder / "kept" / "stamp_scenes").glob("material*")))
    )


def some_scenes(count=40, size=48, seed=0):
    """Scenes of ellipses, whose category is their number modulo 3."""
    rng = np.random.default_rng(7)
    cutouts = [blob(rng, 20 + n, 40) for n in range(9)]
    grey = [np.full((80, 90, 3), 128, np.uint8)]
    rng = np.random.default_rng(seed)
    return compositor.compose(cutouts, [n % 3 for n in range(9)], grey, count, size, rng)


def test_the_elements_are_what_the_contract_says(folder):
    loaded = load(folder, batch_size=16)
    x, y, w = next(iter(loaded.train))
    assert x.shape == (16, *loaded.inputs.shape[1:]) == (16, 32, 32, 3) and x.dtype == "float32"
    assert [task.name for task in loaded.tasks] == sorted(y) == sorted(w)
    assert {name: (tuple(v.shape), v.dtype.name) for name, v in y.items()} == {
        "boxes": ((16, 4, 5), "float32"),
        "category": ((16,), "int32"),
        "count": ((16,), "float32"),
        "mask": ((16, 32, 32), "uint8"),
    }
    sizes = [len(rows_of(d)[1]["count"]) for d in (loaded.train, loaded.valid, loaded.test)]
    assert sizes == [60, 10, 10]
    for task in loaded.tasks:
        labels = task.read_labels(y[task.name])
        assert not np.any(labels.invalid) and np.any(labels.present)


def test_boxes_and_masks_agree():
    scenes = some_scenes()
    size = scenes["mask"].shape[1]
    for mask, boxes, count in zip(scenes["mask"], scenes["boxes"], scenes["count"], strict=True):
        real = boxes[boxes[:, 0] >= 0]
        assert len(real) == count >= 1 and (boxes[len(real) :] == -1).all()
        inside = np.zeros_like(mask, bool)
        for x_min, y_min, x_max, y_max, category in real:
            left, top, right, bottom = np.rint(
                np.array([x_min, y_min, x_max, y_max]) * size
            ).astype(int)
            assert 0 <= left < right <= size and 0 <= top < bottom <= size
            part = mask[top:bottom, left:right]
            inside[top:bottom, left:right] = True
            assert (part == category + 1).any()
            # each side of a box touches something
            for edge in (part[0], part[-1], part[:, 0], part[:, -1]):
                assert edge.any()
        assert (mask[~inside] == 0).all()
        known = set(np.unique(mask)) - {0, compositor.MISSING}
        assert known == {int(c) + 1 for c in real[:, 4]}


def test_a_box_is_tight_around_alpha_and_the_outline_is_missing():
    scene = compositor.Scene(np.zeros((60, 60, 3)))
    cutout = np.zeros((20, 10, 4), np.uint8)
    cutout[..., :3], cutout[2:-2, 1:-1, 3] = 90, 255
    cutout[2:-2, [1, -2], 3], cutout[0], cutout[-1] = 128, 0, 0
    rng = np.random.default_rng(0)
    compositor_sides, compositor.SIDES = compositor.SIDES, (1 / 3, 1 / 3)  # its own size
    try:
        assert scene.place(cutout, 2, rng)
    finally:
        compositor.SIDES = compositor_sides
    rows, columns = np.flatnonzero(scene.mask.any(1)), np.flatnonzero(scene.mask.any(0))
    assert len(rows) == 16 and len(columns) == 8
    (box,) = scene.boxes()
    expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(box, [*(np.array(expected) / 60), 2], rtol=1e-6)
    part = scene.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (part[:, [0, -1]] == compositor.MISSING).all() and (part[:, 1:-1] == 3).all()
    pixels = scene.pixels[rows[0], columns[0] : columns[-1] + 1, 0]
    np.testing.assert_allclose(pixels, [90 * 128 / 255, *[90] * 6, 90 * 128 / 255])


def test_the_largest_object_comes_first_and_is_the_category():
    scenes = some_scenes()
    np.testing.assert_array_equal(scenes["category"], scenes["boxes"][:, 0, 4])
    assert len(set(scenes["category"])) == 3 and set(scenes["count"]) == {1, 2, 3, 4}
    apart = [
        (mask, boxes)
        for mask, boxes in zip(scenes["mask"], scenes["boxes"], strict=True)
        if boxes[1, 0] >= 0 and len(set(boxes[boxes[:, 0] >= 0, 4])) == (boxes[:, 0] >= 0).sum()
    ]
    assert apart
    for mask, boxes in apart:  # one object of each class, so that the mask tells their sizes
        areas = [(mask == c + 1).sum() for c in boxes[boxes[:, 0] >= 0, 4]]
        assert areas[0] >= 0.8 * max(areas)  # outlines are not in the mask


def test_objects_stay_visible():
    scene = compositor.Scene(np.zeros((64, 64, 3)))
    square = np.full((30, 30, 4), 255, np.uint8)
    rng = np.random.default_rng(0)
    placed = sum(scene.place(square, 0, rng) for _ in range(200))
    assert 1 < placed == len(scene.classes) < 200
    for number, whole in enumerate(scene._areas, 1):
        visible = (scene.owner == number).sum()
        assert visible == scene.visible[number - 1] >= compositor.LEAST_VISIBLE * whole
    hair = np.zeros((30, 30, 4), np.uint8)
    hair[:, 10] = 255
    assert not any(compositor.Scene(np.zeros((64, 64, 3))).place(hair, 0, rng) for _ in range(20))


def test_scenes_follow_the_seed():
    first, again, other = some_scenes(), some_scenes(), some_scenes(seed=1)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert (first[name] != other[name]).any()


def test_cut_outs_are_cut_and_clear(folder):
    found = kept(folder)
    assert len(found.cutouts) == 60  # six folders of ten; no cartoon, no smoke, no other folder
    assert set(found.categories) == set(range(6))
    for cutout in found.cutouts:
        touched = cutout[..., 3] >= material.TOUCHED
        for edge in (touched[0], touched[-1], touched[:, 0], touched[:, -1]):
            assert edge.any()
    large = np.full((300, 200, 4), 255, np.uint8)
    large[0, 0, 3] = 0
    assert material.cut_out(large).shape == (96, 64, 4)
    assert material.cut_out(np.full((30, 20, 4), 255, np.uint8)) is None  # a full rectangle
    assert material.cut_out(np.zeros((30, 20, 4), np.uint8)) is None


def test_no_family_is_in_two_splits(folder):
    found = kept(folder)
    for seed in range(3):
        where = loading.divide(found, seed)
        for family in set(found.families):
            assert len(set(where[found.families == family])) == 1
        for category in range(6):
            assert set(where[found.categories == category]) == {"train", "valid", "test"}
    assert (loading.divide(found, 0) != loading.divide(found, 1)).any()


def test_backgrounds_come_from_the_band_of_their_split(folder):
    loaded = load(folder, preprocessed=False)
    levels = {"train": (10, 20), "valid": (50, 100), "test": (120, 240)}  # gains are 0.5 to 1
    for split, (low, high) in levels.items():
        x, y, _ = rows_of(getattr(loaded, split))
        ground = x["image"][y["mask"] == 0]
        # beside an object a pixel may have up to a tenth of its colour
        assert ((low <= ground) & (ground <= high)).mean() > 0.97


def test_cut_outs_of_a_split_are_in_no_other(folder):
    found = kept(folder)
    where = loading.divide(found, 0)
    loaded = load(folder, preprocessed=False)
    colours = {
        split: {tuple(found.cutouts[i][len(found.cutouts[i]) // 2, 20, :3]) for i in chosen}
        for split in loading.SHARES
        for chosen in [np.flatnonzero(where == split)]
    }
    for split, own in colours.items():
        x, y, _ = rows_of(getattr(loaded, split))
        sure = (y["mask"] > 0) & (y["mask"] < compositor.MISSING)
        pixels, counts = np.unique(x["image"][sure], axis=0, return_counts=True)
        common = {tuple(p) for p in pixels[counts > 30]}
        assert common
        for colour in common:  # to a rounding error
            assert min(np.abs(np.subtract(colour, other, dtype=int)).max() for other in own) <= 2
        assert not own & set().union(*(colours[s] for s in colours if s != split))


def test_scenes_are_kept_by_seed_size_and_number(folder):
    path = loading.composed(None, folder / "kept", False, 32, 12, 0)
    stamp = path.stat().st_mtime_ns
    assert loading.composed(None, folder / "kept", False, 32, 12, 0).stat().st_mtime_ns == stamp
    others = [(40, 12, 0), (32, 18, 0), (32, 12, 1)]
    paths = {loading.composed(None, folder / "kept", False, *other) for other in others}
    assert len(paths | {path}) == 4
    first, other = (
        cache.read(path),
        cache.read(loading.composed(None, folder / "kept", False, 32, 12, 1)),
    )
    assert (first["train_image"] != other["train_image"]).any()


def test_missing_and_wrong_packages(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"should hold the prepared data of stamp_scenes; to prep"):
        load(tmp_path)
    write_stamps(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match=r"`raw_files` should be `scikit_image-0.26.0.*pip downl"):
        load(tmp_path, raw_files=tmp_path)
    (tmp_path / material.SCIKIT_IMAGE.file).write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"`scikit_image-0.26.0.*should have the SHA-256 74aa5518"):
        load(tmp_path, raw_files=tmp_path)


@pytest.mark.parametrize(("option", "value"), [("size", 16), ("scenes", 0), ("size", 64.0)])
def test_bad_options_are_named(option, value):
    with pytest.raises(ValueError, match=rf"`{option}` should be an integer from \d+ to \d+. Rec"):
        data.load("stamp_scenes", **{option: value})
