"""Numbered versions: whole or not at all, no number twice, what stays and what goes."""

import errno
import itertools
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import BinaryClassification, HardSharing, Regression, export
from mtlzoo.serving import PublishError, Versions, folders

KILLED = Path(__file__).with_name("killed_publishers.py")


@pytest.fixture(scope="module")
def model():
    tasks = [BinaryClassification("click"), Regression("stay")]
    return HardSharing(keras.Input((4,), name="features"), tasks, shared_units=(8,))


@pytest.fixture
def quick(monkeypatch):
    """Versions of one small file, since it is not the export that is tested."""

    def save(model, path, tasks, *, preprocessor):
        path.mkdir()
        (path / "saved_model.pb").write_text("whole")

    monkeypatch.setattr(export, "save", save)


def hidden(versions):
    return sorted(set(os.listdir(versions.folder / ".versions")) - {"lock", "highest"})


# -- what is published --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_version_answers_as_the_model_and_tells_what_it_is(model, tmp_path):
    versions = Versions(tmp_path / "served")
    assert versions.numbers() == [] and versions.newest() is None
    first = versions.publish(model, {"auc": [np.float32(0.5), np.nan], "of": {"n": np.arange(2)}})
    second = versions.publish(model, tasks=["stay"])
    assert (first, second, versions.newest()) == (1, 2, 2)
    assert versions.numbers() == [1, 2] == folders.numbers(tmp_path / "served")

    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    served = tf.saved_model.load(versions.path(1))
    wanted = model.tasks["click"].serve(model.predict(x, verbose=0)["click"])
    np.testing.assert_allclose(served.serve(x)["click"], wanted["click"], atol=1e-6)
    assert not hasattr(tf.saved_model.load(versions.path(2)), "click")

    told = versions.info(1)
    assert told.pop("time") > 1.7e9
    own = {"auc": [0.5, None], "of": {"n": [0, 1]}}
    assert told == {**own, "number": 1, "tasks": ["click", "stay"]}
    assert versions.info(2)["tasks"] == ["stay"]


def test_other_files_in_the_folder_are_no_versions(quick, model, tmp_path):
    for name in ("3", "07", "x1", ".5"):
        (tmp_path / name).mkdir()
    (tmp_path / "9").touch()
    versions = Versions(tmp_path)
    assert versions.numbers() == [3]
    assert versions.publish(model) == 10
    with pytest.raises(ValueError, match=r"`number` should be a version that `publish` has wri"):
        versions.info(3)


def test_everything_is_on_the_disk_before_it_gets_its_number(quick, model, tmp_path, monkeypatch):
    versions, calls = Versions(tmp_path), []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(
        os, "fsync", lambda f: (calls.append(os.readlink(f"/proc/self/fd/{f}")), fsync(f))
    )
    monkeypatch.setattr(os, "rename", lambda a, b: (calls.append((str(a), str(b))), rename(a, b)))
    versions.publish(model)
    part, final = str(tmp_path / ".versions" / "unfinished-1"), str(tmp_path / "1")
    named = calls.index((part, final))
    before = ["assets.extra/version.json", "assets.extra", "saved_model.pb"]
    for path in (part, *(f"{part}/{name}" for name in before)):
        assert calls.index(path) < named
    assert str(tmp_path) in calls[named:]


# -- numbers --------------------------------------------------------------------------------------


def test_a_roll_back_withdraws_the_newest_and_its_number(quick, model, tmp_path):
    versions = Versions(tmp_path)
    for auc in (0.7, 0.8, 0.6):
        versions.publish(model, {"auc": auc})
    assert versions.roll_back() == 2
    assert versions.numbers() == [1, 2] and versions.withdrawn() == [3]
    assert versions.info(3)["auc"] == 0.6 and Path(versions.path(3)).is_dir()
    assert versions.roll_back() == 1
    with pytest.raises(ValueError, match=r"`roll_back` should have an older version.*\[1\] in"):
        versions.roll_back()
    assert versions.numbers() == [1]
    assert Versions(tmp_path).publish(model) == 4


def test_a_number_is_not_used_again(quick, model, tmp_path):
    versions = Versions(tmp_path, keep=2)
    for _ in range(4):
        versions.publish(model)
    assert versions.numbers() == [3, 4]
    folders.remove(tmp_path / "3")  # by hand
    folders.remove(tmp_path / "4")
    assert versions.publish(model) == 5
    # Without its record, what is there says which are used.
    (tmp_path / ".versions" / "highest").write_text("none")
    assert versions.publish(model) == 6


def test_what_is_withdrawn_is_removed_when_newer_ones_are(quick, model, tmp_path):
    versions = Versions(tmp_path, keep=2)
    versions.publish(model)
    for _ in range(4):
        versions.publish(model)
        versions.roll_back()
    assert versions.withdrawn() == [3, 4, 5]
    assert versions.prune() == [3]
    assert versions.numbers() == [1] and hidden(versions) == ["withdrawn-4", "withdrawn-5"]


def test_the_newest_and_the_young_stay(quick, model, tmp_path, monkeypatch):
    now = 1e9
    monkeypatch.setattr("time.time", lambda: now)
    versions = Versions(tmp_path, keep=1, keep_seconds=60)
    for seconds in (0, 30, 80):
        now = 1e9 + seconds
        versions.publish(model)
    assert versions.numbers() == [2, 3]
    now = 1e9 - 1000  # a clock that was set back keeps nothing for years
    assert versions.prune() == [2]
    assert versions.numbers() == [3]


# -- kills, other processes, full disks -----------------------------------------------------------


def test_what_a_kill_has_left_is_removed_but_not_what_another_is_writing(quick, model, tmp_path):
    versions = Versions(tmp_path)
    versions.publish(model)
    for name in ("unfinished-2", "discarded-7"):
        (tmp_path / ".versions" / name).mkdir()
    with folders.locked(tmp_path / ".versions" / "lock"):  # as if somebody were at work
        Versions(tmp_path)
        assert hidden(versions) == ["discarded-7", "unfinished-2"]
        waiting = threading.Thread(target=versions.publish, args=(model,))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive() and versions.numbers() == [1]
    waiting.join()
    assert hidden(versions) == [] and versions.numbers() == [1, 2]


@pytest.mark.slow
def test_a_full_disk_leaves_what_was_published(model, tmp_path):
    versions = Versions(tmp_path)
    versions.publish(model)
    before = sorted(tmp_path.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(PublishError, match=r"version 2 could not be written; .* \[1\] are as"):
            versions.publish(model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(tmp_path.rglob("*")) == before
    assert versions.publish(model) == 2


@pytest.mark.parametrize("name", ["mkdir", "open", "fsync", "replace", "rename"])
def test_any_call_that_fails_leaves_what_was_published(quick, model, tmp_path, monkeypatch, name):
    versions = Versions(tmp_path, keep=50)
    versions.publish(model)
    real, calls, failed = getattr(os, name), 0, 0
    for failing in itertools.count(1):
        calls, before = 0, versions.numbers()

        def full(*args, failing=failing, **kwargs):
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            try:
                number = versions.publish(model)
            except PublishError as error:
                assert error.errno == errno.ENOSPC and versions.numbers() == before
                assert hidden(versions) == []
                failed += 1
            else:
                assert versions.numbers() == [*before, number]
        if calls < failing:
            break
    assert failed and isinstance(PublishError(), OSError)


def test_a_roll_back_needs_no_room(quick, model, tmp_path, monkeypatch):
    versions = Versions(tmp_path)
    versions.publish(model)
    versions.publish(model)
    monkeypatch.setattr(Path, "write_text", None)
    assert versions.roll_back() == 1


def test_a_model_that_cannot_be_exported_leaves_nothing(model, tmp_path):
    versions = Versions(tmp_path)
    with pytest.raises(ValueError, match=r"`tasks` should be some of"):
        versions.publish(model, tasks=["other"])
    assert hidden(versions) == [] and versions.numbers() == []


@pytest.mark.slow
def test_a_publisher_killed_at_any_call_loses_no_version(tmp_path):
    done = subprocess.run(
        [sys.executable, str(KILLED), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    removed = {"publish": {1, 2, 4}, "prune": {1, 2}, "roll_back": {4}}
    for each in results:
        before, after = set(each["before"]), set(each["after"])
        assert not each["lacking"], each
        assert before - after <= removed[each["action"]], each
        assert max(after) in ({4, 5} if each["action"] != "roll_back" else {2, 4}), each
        assert each["next"] > max(before | after), each
        left = {name.partition("-")[0] for name in each["hidden"]}
        assert left <= {"highest", "highest.part", "lock", "withdrawn"}, each
    killed = [each["action"] for each in results if each["killed"]]
    assert set(killed) == set(removed) and len(killed) > 30


# -- bad input ------------------------------------------------------------------------------------


def test_bad_arguments_are_named(quick, model, tmp_path):
    with pytest.raises(ValueError, match=r"`folder` should be the path of a folder. Received: fol"):
        Versions("")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"`folder` should be a folder that can be written to"):
        Versions(tmp_path / "file")
    with pytest.raises(ValueError, match=r"`keep` should be a positive integer. Received: keep=0"):
        Versions(tmp_path, keep=0)
    with pytest.raises(ValueError, match=r"`keep_seconds` should be a number of seconds"):
        Versions(tmp_path, keep_seconds=-1)
    versions = Versions(tmp_path)
    with pytest.raises(ValueError, match=r"`info` should be a dict with strings as keys"):
        versions.publish(model, [1])
    with pytest.raises(ValueError, match=r"`info` should leave the keys .* Received: \['time'\]"):
        versions.publish(model, {"time": 3})
    with pytest.raises(
        ValueError, match=r"`info` should be of what JSON can hold.*no strings: \[1"
    ):
        versions.publish(model, {"of": {1: 0.5}})
    with pytest.raises(ValueError, match=r"`info` should be of what JSON can hold"):
        versions.publish(model, {"model": model})
    circle: dict = {}
    circle["own"] = circle
    with pytest.raises(ValueError, match=r"`info` should be of what JSON can hold"):
        versions.publish(model, circle)
    with pytest.raises(ValueError, match=r"`number` should be one of the versions \[\]"):
        versions.path(1)
    assert versions.numbers() == []
    versions.publish(model)
    assert versions.path(np.int64(1)) == str(tmp_path / "1")
    with pytest.raises(
        ValueError, match=r"`number` should be one of the versions \[1\].*number=True"
    ):
        versions.path(True)
