"""Rows that are kept, and input work that other processes do."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import data

ROWS = 50


def counted():
    """Batches of numbered rows that count how often a row is read."""
    reads = []

    def read(number):
        reads.append(int(number))
        return np.float32(number)

    def row(number):
        x = tf.py_function(read, [number], "float32")
        x.set_shape(())
        return x, {"value": number}

    return tf.data.Dataset.range(ROWS).map(row).batch(8), reads


def drawn(dataset):
    return np.concatenate([x.numpy() for x, _, _ in dataset])


@pytest.mark.parametrize("kept_in", ["memory", "file"])
def test_rows_are_read_once_and_shuffled_in_each_epoch(kept_in, tmp_path):
    dataset, reads = counted()
    path = None if kept_in == "memory" else tmp_path / "new" / "rows"
    kept = data.keep(dataset, batch_size=16, seed=0, path=path)
    first, second = drawn(kept), drawn(kept)
    assert sorted(first) == sorted(second) == list(range(ROWS)) and len(reads) == ROWS
    assert not np.array_equal(first, second)
    assert [len(x) for x, _, _ in kept] == [16, 16, 16, 2]
    in_order = data.keep(dataset, batch_size=16, path=path)
    np.testing.assert_array_equal(drawn(in_order), np.arange(ROWS))
    if path is not None:
        assert len(reads) == ROWS  # the files are there
    for x, y, w in in_order:
        np.testing.assert_array_equal(x, y["value"])
        assert (w["value"].numpy() == 1).all()


def test_what_cannot_be_kept_is_refused():
    dataset, _ = counted()
    for arguments, message in (
        ({"batch_size": 0}, "`batch_size` should be a positive integer"),
        ({"seed": -1}, "`seed` should be an integer of at least 0"),
        ({"shuffle_rows": 0, "path": "rows"}, "`shuffle_rows` should be an integer"),
    ):
        with pytest.raises(ValueError, match=message):
            data.keep(dataset, **{"batch_size": 4, **arguments})
    with pytest.raises(ValueError, match="`dataset` should have rows"):
        data.keep(dataset.take(0), batch_size=4)


def test_files_of_another_data_set_or_an_unfinished_one_are_refused(tmp_path):
    dataset, _ = counted()
    path = tmp_path / "rows"
    assert len(drawn(data.keep(dataset, batch_size=16, path=path))) == ROWS
    other = dataset.map(lambda x, y: (tf.stack([x, x], -1), y))
    with pytest.raises(ValueError, match="`path` should hold rows of this data set"):
        data.keep(other, batch_size=16, path=path)
    (tmp_path / "rows_0.lockfile").touch()
    with pytest.raises(ValueError, match="`path` should not be one that is being written"):
        data.keep(dataset, batch_size=16, path=path)
    with pytest.raises(ValueError, match="`dataset` should have an end"):
        data.keep(dataset.repeat(), batch_size=16)


@pytest.fixture(scope="module")
def service():
    """A dispatcher and two workers, each a process of its own."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "mtlzoo.data.service", *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        started.append(process)
        for line in process.stdout:
            if found := re.match(r"(dispatcher at|worker of) (\S+)", line):
                return found[2]
        raise AssertionError(f"{arguments} ended with {process.wait()}")

    try:
        address = start("dispatcher", "--port=0")
        for _ in range(2):
            start("worker", f"--dispatcher={address}")
        yield address
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_each_row_comes_from_one_of_two_workers_in_every_epoch(service):
    census = data.load("census_income", preprocessed=True)
    expected = np.sort(np.concatenate([x[:, 0].numpy() for x, _, _ in census.valid]))
    dataset = data.distribute(census.valid, service)
    for _ in range(2):
        found = np.concatenate([x[:, 0].numpy() for x, _, _ in dataset])
        np.testing.assert_array_equal(np.sort(found), expected)


@pytest.mark.slow
def test_each_worker_can_run_through_all_rows(service):
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(12), {"a": np.arange(12)})).batch(4)
    found = [y["a"].numpy() for _, y in data.distribute(dataset, service, sharing="independent")]
    counts = np.bincount(np.concatenate(found))
    np.testing.assert_array_equal(counts, [2] * 12)  # both of them work


@pytest.mark.slow
def test_two_trainings_share_a_job(service):
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(96), {"a": np.arange(96)})).batch(4)
    iterators = [iter(data.distribute(dataset, service, job="shared")) for _ in range(2)]
    found = [y["a"].numpy() for each in iterators for _, y in each]
    assert sorted(np.concatenate(found)) == list(range(96))


@pytest.mark.slow
def test_what_cannot_be_distributed_is_refused():
    dataset, _ = counted()
    plain = dataset.map(lambda x, y: (y["value"], y))
    for given, arguments, message in (
        (dataset, {}, "`dataset` should not call Python functions"),
        (data.mix({"a": plain}).dataset, {}, "`dataset` should not call Python functions"),
        (plain, {"address": "grpc://here:1"}, "`address` should be a host and a port"),
        (plain, {"address": "here"}, "`address` should be a host and a port"),
        (plain, {"sharing": "twice"}, "`sharing` should be one of"),
        (plain, {"consumers": 2}, "`consumers` and `consumer` should be given together"),
        (plain, {"consumers": 2, "consumer": 0}, "and with `job`"),
        (plain, {"consumers": 2, "consumer": 2, "job": "a"}, "`consumer` should be below"),
        (plain, {"consumers": 2, "consumer": 0, "job": "a"}, "the data set endless"),
    ):
        with pytest.raises(ValueError, match=message):
            data.distribute(given, **{"address": "here:1", **arguments})
