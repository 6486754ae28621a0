"""Multi-Fashion: pairs, splits, and where the items come from."""

import gzip
import sys
import types

import numpy as np
import pytest
from fake_packages import fashion_files, rows_of, write_fashion

from mtlzoo import data
from mtlzoo.data.multi_fashion import loading, original


def load(folder, **options):
    return data.load("multi_fashion", data_dir=folder / "kept", raw_files=folder, **options)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_fashion(monkeypatch, tmp_path)
    return tmp_path


def items_of(dataset):
    """The numbers of the left and right items: all pixels of an item are its number."""
    x, y, _ = rows_of(dataset)
    left = x["image"][:, 0, 0, 0]
    right = x["image"][:, -1, -1, 0]
    np.testing.assert_array_equal(y["left"], left % 10)
    np.testing.assert_array_equal(y["right"], right % 10)
    return left.tolist(), right.tolist()


def test_each_item_is_once_left_and_once_right_and_in_one_split(folder):
    loaded = load(folder, preprocessed=False)
    seen = {}
    for split in ("train", "valid", "test"):
        left, right = items_of(getattr(loaded, split))
        assert sorted(left) == sorted(right) and len(set(left)) == len(left)
        assert all(a != b for a, b in zip(left, right, strict=True))
        seen[split] = set(left)
    assert len(seen["valid"]) == 4 and not seen["train"] & seen["valid"]
    assert seen["train"] | seen["valid"] == set(range(1, 41))
    assert seen["test"] == set(range(101, 121))


def test_items_lie_at_their_corners_and_the_brighter_pixel_counts():
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 256, (2, 3, 28, 28), dtype=np.uint8)
    got = loading.overlay(left, right)[..., 0]
    assert got.shape == (3, 36, 36) and got.dtype == np.uint8
    for y in range(36):
        for x in range(36):
            a = left[:, y, x] if y < 28 and x < 28 else 0
            b = right[:, y - 8, x - 8] if y >= 8 and x >= 8 else 0
            np.testing.assert_array_equal(got[:, y, x], np.maximum(a, b))


def test_the_elements_are_what_the_contract_says(folder):
    loaded = load(folder, batch_size=8)
    x, y, w = next(iter(loaded.train))
    assert x.shape == (8, *loaded.inputs.shape[1:]) == (8, 36, 36, 1) and x.dtype == "float32"
    assert [task.name for task in loaded.tasks] == ["left", "right"] == sorted(y) == sorted(w)
    assert y["left"].dtype == "int32" and (w["left"].numpy() == 1).all()
    raw, _, _ = next(iter(load(folder, batch_size=8, preprocessed=False).train))
    np.testing.assert_allclose(x, raw["image"].numpy() / 255, rtol=1e-6)


def test_pairs_follow_the_data_seed_and_their_order_the_seed(folder):
    def pairs(**options):
        return list(zip(*items_of(load(folder, preprocessed=False, **options).train), strict=True))

    first = pairs()
    assert pairs() == first
    assert pairs(seed=1) != first and sorted(pairs(seed=1)) == sorted(first)
    assert sorted(pairs(data_seed=1)) != sorted(first)


def test_the_items_are_kept(folder):
    prepared = loading.prepare(folder, folder / "kept")
    assert prepared.rows == {"train": 36, "valid": 4, "test": 20}
    assert prepared.data_dir == folder / "kept" / "multi_fashion"
    for file in folder.glob("*.deb"):
        file.unlink()
    assert data.load("multi_fashion", data_dir=folder / "kept").inputs.shape == (None, 36, 36, 1)


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_of_files_will_do(tmp_path, monkeypatch, packed):
    for name, content in fashion_files(monkeypatch).items():
        if packed:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / name).write_bytes(content)
    assert loading.prepare(tmp_path, tmp_path / "kept").rows["train"] == 36


def test_other_files_are_refused(tmp_path, monkeypatch):
    for name, content in fashion_files(monkeypatch).items():
        (tmp_path / name).write_bytes(content + b"!" * name.startswith("t10k-labels"))
    with pytest.raises(
        ValueError, match=r"`t10k-labels-idx1-ubyte` should have the SHA-256 .* once"
    ):
        loading.prepare(tmp_path, tmp_path / "kept")


def test_nothing_is_fetched_unasked(tmp_path):
    with pytest.raises(ValueError, match=r"prepared data of multi_fashion; to prepare it, give"):
        data.load("multi_fashion", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"`raw_files` should be `dataset-fashion-mnist_"):
        loading.prepare(tmp_path, tmp_path)
    with pytest.raises(ValueError, match=r"`data_seed` should be an integer of at least 0."):
        data.load("multi_fashion", data_seed=-1)
    with pytest.raises(ValueError, match=r"`preprocessed` should be a bool. Received"):
        data.load("multi_fashion", preprocessed=1)


def test_tensorflow_datasets_is_asked_where_there_is_no_apt(tmp_path, monkeypatch):
    def fetch(package, folder):
        raise RuntimeError("no apt-get here")

    def tfds_load(name, split, batch_size, data_dir):
        assert (name, batch_size) == ("fashion_mnist", -1)
        count = {"train": 40, "test": 20}[split]
        return {"image": np.zeros((count, 28, 28, 1)), "label": np.arange(count) % 10}

    monkeypatch.setattr(original.packages, "fetch", fetch)
    fake = types.SimpleNamespace(load=tfds_load)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    monkeypatch.setattr(original.packages, "reachable", lambda url: False)
    with pytest.raises(RuntimeError, match=r"^no apt-get here$"):
        loading.prepare(None, tmp_path, download=True)
    monkeypatch.setattr(original.packages, "reachable", lambda url: True)
    assert loading.prepare(None, tmp_path, download=True).rows["train"] == 36
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(RuntimeError, match=r"^no apt-get here$"):
        loading.prepare(None, tmp_path / "other", download=True)
