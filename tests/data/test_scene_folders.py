"""Scenes in folders of `.npy` files, and mocked ones of TensorFlow Datasets."""

import numpy as np
import pytest
from fake_packages import rows_of

from mtlzoo import DepthEstimation, SemanticSegmentation
from mtlzoo.data import scene_folders

SIZE = (8, 12)


def write(folder, *, train=10, val=3, first=False, label="label", kinds=("depth", "normal")):
    """Scenes whose picture is their number; the first row of pixels has no labels."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for i in range(count):
            ids = rng.integers(0, 5, SIZE).astype(np.float32)
            depth = rng.uniform(1, 5, (*SIZE, 1))
            normal = rng.normal(size=(*SIZE, 3))
            ids[0], depth[0], normal[0] = -1, 0, 0
            maps = {"image": np.full((*SIZE, 3), i / 100), "depth": depth, "normal": normal}
            maps = {kind: maps[kind] for kind in ("image", *kinds)}
            if first:
                maps = {kind: np.moveaxis(values, -1, 0) for kind, values in maps.items()}
            for kind, values in {**maps, label: ids}.items():
                path = folder / part / kind / f"{i}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, values)
    return folder


def test_what_is_missing_is_nan_and_255(tmp_path):
    loaded = scene_folders.load(write(tmp_path), batch_size=4)
    assert loaded.inputs.shape == (None, *SIZE, 3)
    x, y, w = next(iter(loaded.train))
    assert x.shape == (4, *SIZE, 3) and x.dtype == "float32"
    assert {name: tuple(labels.shape) for name, labels in y.items()} == {
        "depth": (4, *SIZE),
        "normals": (4, *SIZE, 3),
        "segmentation": (4, *SIZE),
    }
    assert [task.name for task in loaded.tasks] == sorted(y)
    for task in loaded.tasks:
        labels = task.read_labels(y[task.name])
        present = np.asarray(labels.present)
        assert not np.any(labels.invalid)
        assert not present[:, 0].any() and present[:, 1:].all()
        assert w[task.name].shape == (4,) and np.all(w[task.name] == 1)


def test_channels_first_is_read_as_channels_last(tmp_path):
    last = scene_folders.load(write(tmp_path / "last"), seed=1)
    first = scene_folders.load(write(tmp_path / "first", first=True), seed=1)
    for a, b in zip(rows_of(last.train)[1].items(), rows_of(first.train)[1].items(), strict=True):
        assert a[0] == b[0]
        np.testing.assert_array_equal(a[1], b[1])


def test_splits_and_order(tmp_path):
    loaded = scene_folders.load(write(tmp_path), batch_size=4, valid_share=0.2, seed=0)

    def numbers(part):
        return np.rint(100 * rows_of(part)[0][:, 0, 0, 0]).astype(int).tolist()

    epochs = [numbers(loaded.train) for _ in range(3)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]
    assert numbers(loaded.valid) == [8, 9]
    assert numbers(loaded.test) == [0, 1, 2]
    assert [int(part.cardinality()) for part in (loaded.train, loaded.valid)] == [2, 1]
    again = scene_folders.load(tmp_path, batch_size=4, valid_share=0.2, seed=0)
    assert numbers(again.train) == epochs[0]


def test_cityscapes_has_no_normals(tmp_path):
    folder = write(tmp_path, label="label_7", kinds=("depth",))
    loaded = scene_folders.load(folder, num_classes=7)
    assert [task.name for task in loaded.tasks] == ["depth", "segmentation"]
    assert loaded.tasks[1].num_classes == 7


def test_unusable_folders(tmp_path):
    with pytest.raises(ValueError, match=r"`folder` should hold `train/image/0.npy` and so on"):
        scene_folders.load(tmp_path)
    write(tmp_path / "none", label="other", kinds=())
    with pytest.raises(ValueError, match="should have one of `label`, `depth` and `normal` in"):
        scene_folders.load(tmp_path / "none")
    with pytest.raises(ValueError, match="`folder` should have two training scenes or more"):
        scene_folders.load(write(tmp_path / "one", train=1))
    with pytest.raises(ValueError, match="`valid_share` should be above 0 and at most a half"):
        scene_folders.load(tmp_path, valid_share=0.0)
    odd = write(tmp_path / "odd")
    np.save(odd / "train" / "depth" / "0.npy", np.ones((*SIZE, 2)))
    with pytest.raises(ValueError, match=r"`depth/0.npy` should have 1 channels, last or first"):
        scene_folders.load(odd)


@pytest.mark.parametrize("name", ["nyu_depth_v2", "cityscapes"])
def test_labels_of_tensorflow_datasets_have_the_shapes_of_the_tasks(name):
    tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `datasets` is missing")
    with tfds.testing.mock_data(num_examples=2):
        part = tfds.load(name, split="train").batch(2)
    (batch,) = part.take(1)
    if name == "nyu_depth_v2":
        task, labels = DepthEstimation("depth", (480, 640), missing=0.0), batch["depth"]
    else:
        task = SemanticSegmentation("segmentation", 256, (1024, 2048), missing=-1)
        labels = batch["segmentation_label"]
    read = task.read_labels(labels)
    assert np.any(read.present)
