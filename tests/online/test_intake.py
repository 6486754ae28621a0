"""The intake: order, back-pressure, a uniform sample, errors and ends."""

import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.online import Intake, StreamBatch
from mtlzoo.online.intake import rows_of

PATIENCE = 20  # seconds, which only a failing test waits for


def batch(i):
    return np.full((4, 2), i), {"a": np.full(4, i)}


def numbers(elements):
    return [int(x[0, 0]) for x, _ in elements]


class Source:
    """A stream that says how many elements were asked for, and waits after `free` of them."""

    def __init__(self, free, count):
        self.free, self.count, self.asked = free, count, 0
        self.reached, self.go = threading.Event(), threading.Event()

    def __iter__(self):
        for i in range(self.count):
            if i == self.free:
                self.reached.set()
                assert self.go.wait(PATIENCE)
            self.asked += 1
            yield batch(i)


def test_all_comes_in_order():
    with Intake((batch(i) for i in range(50)), capacity=3) as intake:
        assert numbers(intake) == list(range(50))
    assert (intake.read, intake.left_out, intake.load) == (200, 0, 0.0)
    assert list(intake) == []


def test_a_full_queue_makes_the_stream_wait():
    source = Source(free=100, count=100)
    intake = Intake(source, capacity=5)
    for _ in range(PATIENCE * 100):
        if source.asked == 6:
            break
        time.sleep(0.01)
    assert not source.reached.wait(0.05)
    assert source.asked == 6  # five wait, and the thread holds one
    assert numbers([next(intake) for _ in range(100)]) == list(range(100))
    assert intake.left_out == 0


def test_a_sample_is_kept_in_order_and_counted():
    source = Source(free=500, count=501)
    intake = Intake(source, capacity=5, when_full="sample")
    assert source.reached.wait(PATIENCE)
    assert intake.load == 1.0
    assert (intake.read, intake.left_out) == (2000, 495 * 4)
    source.go.set()
    kept = numbers(intake)
    assert kept == sorted(set(kept))
    assert len(kept) * 4 + intake.left_out == intake.read == 2004


def test_the_sample_is_uniform_and_has_a_seed():
    def kept(seed):
        source = Source(free=20, count=20)
        intake = Intake(iter_then_wait(source), capacity=5, when_full="sample", seed=seed)
        assert source.reached.wait(PATIENCE)
        found = [next(intake) for _ in range(5)]
        source.go.set()
        return numbers(found)

    def iter_then_wait(source):
        yield from (batch(i) for i in range(20))
        source.reached.set()
        assert source.go.wait(PATIENCE)

    counts = np.bincount(np.concatenate([kept(seed) for seed in range(400)]), minlength=20)
    # Each is kept with the chance 1/4, so 100 times, with a standard deviation of 9.
    assert abs(counts - 100).max() < 4 * 9
    assert kept(7) == kept(7)


def test_an_error_comes_after_what_was_before_it():
    def broken():
        yield batch(0)
        yield batch(1)
        raise OSError("the socket was closed")

    intake = Intake(broken(), capacity=8)
    assert numbers([next(intake), next(intake)]) == [0, 1]
    with pytest.raises(OSError, match="the socket was closed"):
        next(intake)
    with pytest.raises(StopIteration):
        next(intake)


@pytest.mark.parametrize("when_full", ["wait", "sample"])
def test_after_closing_what_was_read_is_still_there(when_full):
    def endless():
        i = 0
        while True:
            yield batch(i)
            i += 1

    with Intake(endless(), capacity=4, when_full=when_full) as intake:
        next(intake)
    rest = numbers(intake)
    intake._thread.join(PATIENCE)
    assert not intake._thread.is_alive()
    rest += numbers(intake)
    assert 4 * (1 + len(rest)) + intake.left_out == intake.read


def test_the_position_is_that_after_what_was_taken():
    class Positioned:
        position = 0

        def __iter__(self):
            for self.position in range(1, 9):
                yield batch(self.position)

    with Intake(Positioned(), capacity=8) as intake:
        assert intake.position is None
        assert [(int(x[0, 0]), intake.position) for x, _ in intake] == [(i, i) for i in range(1, 9)]


def test_a_data_set_is_a_stream():
    dataset = tf.data.Dataset.from_tensor_slices({"x": np.arange(10.0)[:, None]}).batch(4)
    with Intake(dataset, capacity=2) as intake:
        found = [element["x"].shape[0] for element in intake]
    assert found == [4, 4, 2]
    assert intake.read == 10


def test_rows_are_counted_in_each_form():
    assert rows_of(batch(0)) == 4
    assert rows_of([{"x": np.zeros(3)}, {"x": np.zeros(3)}]) == 2
    assert rows_of({"x": np.zeros((7, 2)), "id": np.arange(7)}) == 7
    assert rows_of(([[1, 2], [3, 4], [5, 6]], {"a": [1, 2, 3]})) == 3  # lists of Python
    assert rows_of({"x": {"b": [[1, 2], [3, 4]]}}) == 2
    assert rows_of({"id": np.arange(7), "y": {"a": np.zeros(7)}}) == 0  # labels alone
    assert rows_of(StreamBatch(x=None, y={"a": np.zeros(3)}, ids=np.arange(3))) == 0
    assert rows_of([{"x": [1]}, {"id": 1, "y": {"a": 2}}, "a broken line"]) == 2
    assert rows_of("a broken line") == rows_of(None) == rows_of({"x": 3}) == 1


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"`stream` should be an iterable. Received: stream=3"):
        Intake(3, capacity=1)
    with pytest.raises(ValueError, match=r"`capacity` should be an integer of at least 1"):
        Intake([], capacity=0)
    with pytest.raises(ValueError, match=r"`when_full` should be one of \['wait', 'sample'\]"):
        Intake([], capacity=1, when_full="drop")
    with pytest.raises(ValueError, match=r"`seed` should be an integer or None"):
        Intake([], capacity=1, seed=0.5)
