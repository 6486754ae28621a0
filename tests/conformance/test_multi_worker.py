"""Two worker processes train as one does; stock Keras cannot `fit` there at all."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from conformance.replica_settings import copies, state
from recipes.parts import local_workers

TESTS = Path(__file__).parents[1]


def _start(what, out, **environment):
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "conformance.multi_worker", what, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **environment,
        },
    )


@contextlib.contextmanager
def _two_workers(what, folder, alone=False, **environment):
    """The processes of two workers, and of one alone."""
    started = [
        _start(what, folder / f"{i}", **worker, **environment)
        for i, worker in enumerate(local_workers.environments(2))
    ]
    started += [_start(what, folder / "one", **environment)] if alone else []
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _found(what, folder, alone=True, **environment):
    """What one process finds alone, and what two workers find."""
    with _two_workers(what, folder, alone=alone, **environment) as started:
        for process in started:
            _, errors = process.communicate(timeout=600)
            assert process.returncode == 0, errors[-3000:]
    names = ("one", "0", "1") if alone else ("0", "1")
    return [json.loads((folder / name).read_text()) for name in names]


@pytest.mark.slow
def test_fact_12_two_workers_are_one(tmp_path):
    one, *two = _found("trained", tmp_path)
    assert len(one) == 4
    for name, alone in one.items():
        for found in (worker[name] for worker in two):
            for a, b in zip(found["weights"], alone["weights"], strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-10, err_msg=name)
            assert set(found["history"]) == set(alone["history"])
            for key, values in alone["history"].items():
                np.testing.assert_allclose(found["history"][key], values, rtol=1e-10)
            for task, values in alone["predicted"].items():
                assert len(values) == 13
                np.testing.assert_allclose(found["predicted"][task], values, rtol=0, atol=1e-10)
            for when in ("after epochs", "scores"):
                _assert_same_logs(found[when], alone[when])
            _assert_same_logs(found["after batches"], alone["after batches"], TASK_LOSSES)


# After batches, those of other metrics are means of what each replica has seen.
TASK_LOSSES = ["click_loss", "kind_loss", "stay_loss"]


def _assert_same_logs(these, those, keys=None):
    assert len(these) == len(those) > 0
    for a, b in zip(these, those, strict=True):
        assert set(a) == set(b)
        for key in keys or b:
            np.testing.assert_allclose(a[key], b[key], rtol=1e-10, err_msg=key)


@pytest.mark.slow
def test_each_worker_reads_its_own_rows(tmp_path):
    """Batches are cut where rows are in memory or generated; of files, each worker has its own."""
    (tmp_path / "records").mkdir()
    for file, of_file in enumerate([range(7), range(7, 10)]):
        with tf.io.TFRecordWriter(str(tmp_path / "records" / str(file))) as writer:
            for row in of_file:
                writer.write(str(row).encode())
    one, *two = _found("rows", tmp_path, RECORDS=str(tmp_path / "records"))
    for name in ("arrays", "generator"):
        assert one[name] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert [worker[name] for worker in two] == [[[0, 1], [4, 5], [8]], [[2, 3], [6, 7], [9]]]
    assert one["files"] == one["files, by rows"] == [[0, 7, 1, 8], [2, 9, 3, 4], [5, 6]]
    by_rows = [worker["files, by rows"] for worker in two]
    assert by_rows == [[[0, 7], [2, 9], [5]], [[1, 8], [3, 4], [6]]]
    # Where the files of one worker have ended, it goes on without rows.
    by_file = [worker["files"] for worker in two]
    assert by_file == [[[0, 1], [2, 3], [4, 5], [6]], [[7, 8], [9], [], []]]
    # Every row is read twice, in batches of half the size.
    for worker in two:
        assert worker["not shared out"] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


@pytest.mark.slow
def test_fact_12_plain_keras_does_not_fit_on_two_workers(tmp_path):
    """So that `_maybe_symbolic_build` and the functions of `fit` are the model's own."""
    for found in _found("plain", tmp_path, alone=False):
        assert "Attempt to convert a value (PerReplica:{" in found["message"]
        assert "with an unsupported type" in found["message"]


@pytest.mark.slow
def test_what_the_guide_says_of_seeds_and_files_of_two_workers(tmp_path):
    (tmp_path / "files").mkdir()
    first, second = _found("advice", tmp_path, alone=False, FOLDER=str(tmp_path / "files"))
    assert sorted(first["same seeds"] + second["same seeds"]) == list(range(10))
    read = first["other seeds"] + second["other seeds"]
    assert len(read) == 10 and len(set(read)) < 10
    assert first["initial weights"] == second["initial weights"]
    assert [file.name for file in (tmp_path / "files").iterdir()] == ["model.keras"]
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    loaded = copies(state(keras.saving.load_model(tmp_path / "files" / "model.keras")))
    for worker in (first, second):
        for a, b in zip(loaded, worker["weights"], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "lost", "by"),
    [
        ("endless", 0, signal.SIGKILL),
        ("endless", 1, signal.SIGKILL),
        ("endless", 1, signal.SIGTERM),
        ("endless_prediction", 1, signal.SIGKILL),
    ],
)
def test_where_a_worker_is_lost_the_other_ends_with_a_clear_error(tmp_path, what, lost, by):
    """Also where it is the first one, which leads the others."""
    with _two_workers(what, tmp_path) as started:
        for process in started:
            assert process.stdout.readline() == "running\n", process.communicate()[1][-3000:]
        killed = time.time()
        started[lost].send_signal(by)
        assert started[lost].wait(timeout=30) == -by
        survivor = started[1 - lost]
        _, errors = survivor.communicate(timeout=120)
        assert survivor.returncode == 0, errors[-3000:]
    found = json.loads((tmp_path / f"{1 - lost}").read_text())
    assert found["message"].startswith("A worker was lost: another process has ended, or cannot")
    assert "All workers should be started again; training goes on from the" in found["message"]
    assert found["at"] - killed < 60


@pytest.mark.slow
def test_started_again_after_a_kill_two_workers_end_as_one_that_was_not_killed(tmp_path):
    backup = str(tmp_path / "backup.npz")
    with _two_workers("backed_up", tmp_path, BACKUP=backup, KILLED="1") as started:
        survivor, killed = started
        assert killed.wait(timeout=600) == -signal.SIGKILL
        _, errors = survivor.communicate(timeout=120)
        assert survivor.returncode == 0, errors[-3000:]
    assert "A worker was lost" in json.loads((tmp_path / "0").read_text())["message"]
    one, *two = _found("backed_up", tmp_path, BACKUP=backup)
    assert one["steps"] == 12
    for found in two:
        assert found["steps"] == 6  # from the last backup on, after two steps of the second epoch
        for a, b in zip(found["weights"], one["weights"], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
        for key, values in one["history"].items():
            np.testing.assert_allclose(found["history"][key], values, rtol=1e-10, err_msg=key)


def test_fact_12_the_distribution_of_keras_does_nothing_on_tensorflow(monkeypatch):
    """So that a model is refused under it."""
    from conformance.registry import Case

    monkeypatch.setattr(keras.distribution, "distribution", lambda: "some distribution")
    with pytest.raises(ValueError, match=r"`keras.distribution` should not be set.*some distr"):
        Case().compiled()
