"""What tasks cost: how it is summed up, that it is measured, and that measuring leaves no trace."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import HardSharing, Regression
from mtlzoo.training import TaskCosts, measure_task_costs, model_state
from mtlzoo.training.task_scheduling import costs as costs_file
from mtlzoo.training.task_scheduling.live_bytes import most_live_bytes

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
BATCH = X, {"a": X[:, :1], "b": X[:, 1:2]}


def test_what_tasks_have_in_common_is_counted_once():
    seconds = {"a": 3.0, "b": 4.0, "c": 5.0}
    costs = TaskCosts(seconds, all_seconds=8.0, temporaries=seconds, shared_parameters=7)
    assert costs.tasks == ["a", "b", "c"]
    assert costs.shared_seconds == 2.0
    for chosen in (["a"], ["b", "a"], ["a", "b", "c"], []):
        own = sum(seconds[name] - 2.0 for name in chosen)
        assert costs.seconds_of(chosen) == pytest.approx(own + 2.0 * bool(chosen))
        assert costs.memory_of(chosen) == 7 + sum(seconds[name] for name in chosen)
    assert TaskCosts({"a": 3.0}, all_seconds=1.0).shared_seconds == 0.0
    # All together take longer than one after the other: nothing is saved.
    longer = TaskCosts({"a": 1.0, "b": 1.0}, all_seconds=3.0)
    assert (longer.shared_seconds, longer.seconds_of("ab")) == (0.0, 3.0)


def test_no_task_costs_less_than_what_all_have_in_common():
    costs = TaskCosts({"a": 0.001, "b": 0.01, "c": 0.01}, all_seconds=0.0125)
    assert costs.shared_seconds == 0.001  # not (0.021 - 0.0125) / 2
    assert costs.seconds_of("abc") == 0.0125
    assert costs.seconds_of("bc") == pytest.approx(0.019)
    assert TaskCosts({"a": 1.0, "b": 1.0}, all_seconds=0.1).shared_seconds == 0.1


def test_costs_of_unknown_tasks_are_refused():
    costs = TaskCosts({"a": 1.0, "b": 1.0})
    for of in (costs.seconds_of, costs.memory_of):
        with pytest.raises(ValueError, match=r"among \['a', 'b'\], .* Received: 'z'"):
            of(["a", "z"])


REFUSED = {
    "empty": ({}, {}, r"`seconds` should be a dict by task. Received: seconds=\{\}"),
    "negative": ({"a": -1}, {}, r"`seconds` of task `a` should be a number that is not negative"),
    "others": (
        {"a": 1.0},
        {"slots": {"b": 1}},
        r"`slots` should have a number for each of the tasks \['a'\]",
    ),
    "shared": ({"a": 1.0}, {"shared_slots": "1"}, r"`shared_slots` should be a number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_costs_are_refused(case):
    seconds, others, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        TaskCosts(seconds, **others)


@pytest.fixture(scope="module")
def measured():
    """A model that was measured in the middle of a training, and what it was before and after."""
    keras.utils.set_random_seed(0)
    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=(6,), dropout=0.2)
    model.compile(keras.optimizers.Adam(0.1), balancer="dwa", run_eagerly=True, jit_compile=False)
    model.train_on_batch(*BATCH)
    model.select_tasks(["b"])
    before = model_state.read(model)
    tf.config.run_functions_eagerly(True)  # tracing takes longer than all the rest
    try:
        found = measure_task_costs(model, BATCH, repeats=2)
    finally:
        tf.config.run_functions_eagerly(False)
    return model, before, found


@pytest.mark.slow
def test_measuring_leaves_no_trace(measured):
    model, before, _ = measured
    after = model_state.read(model)
    for group, values in before["values"].items():
        for old, new in zip(values, after["values"][group], strict=True):
            np.testing.assert_array_equal(new, old)
    assert after["initial_losses"] == before["initial_losses"]
    assert model.selected_tasks == ["b"]


def of(variable):
    return int(np.prod(variable.shape)) * np.dtype(variable.dtype).itemsize


@pytest.mark.slow
def test_bytes_are_those_of_variables_and_slots(measured):
    model, _, costs = measured
    inside = {n: [la for la in model.layers if la.name.startswith(n)] for n in ("a", "b")}
    sizes = {n: sum(of(v) for la in each for v in la.variables) for n, each in inside.items()}
    assert costs.parameters == sizes
    own = 4 * (6 * 1 + 1)  # what is trained of a task
    assert costs.slots == {"a": 2 * own, "b": 2 * own}  # Adam's
    everything = sum(of(v) for v in model.variables)
    assert costs.shared_parameters == everything - sum(sizes.values())
    assert costs.shared_slots == sum(of(v) for v in model.optimizer.variables) - 4 * own
    assert costs.temporaries_by == "graph"
    assert 0 < costs.temporaries["a"] < costs.all_temporaries


@pytest.mark.slow
def test_there_are_seconds_of_each_task_and_of_all(measured):
    costs = measured[2]
    assert sorted(costs.seconds) == ["a", "b"]
    assert all(seconds > 0 for seconds in [*costs.seconds.values(), costs.all_seconds])


@pytest.mark.slow
def test_the_most_bytes_that_live_at_a_time():
    def branches(x):
        first = tf.exp(x)  # 40 bytes, until the end
        second = tf.reshape(tf.exp(first), (5, 2))  # a view
        third = tf.matmul(second, second, transpose_b=True)  # 100 bytes
        return first, tf.reduce_sum(third)

    graph = tf.function(branches).get_concrete_function(tf.zeros(10)).graph
    assert most_live_bytes(graph) == 40 + 40 + 100


def test_memory_of_a_device_is_the_peak_above_what_is_there(monkeypatch):
    info = {"current": 100, "peak": 100}
    memory = tf.config.experimental
    monkeypatch.setattr(memory, "reset_memory_stats", lambda device: info.update(peak=100))
    monkeypatch.setattr(memory, "get_memory_info", lambda device: dict(info))
    run = lambda: info.update(peak=170)  # noqa: E731
    assert costs_file._peak_of_device(run, "/device:GPU:0") == 70


@pytest.mark.slow
def test_what_cannot_be_measured_is_refused(measured):
    model = measured[0]
    with pytest.raises(ValueError, match=r"`repeats` should be an integer of at least 1"):
        measure_task_costs(model, BATCH, repeats=0)
    with pytest.raises(ValueError, match=r"`batch` should be a tuple \(x, y\) or"):
        measure_task_costs(model, list(BATCH))
    with pytest.raises(ValueError, match=r"`memory` should be a bool"):
        measure_task_costs(model, BATCH, memory=1)
    with pytest.raises(ValueError, match=r"`model` should be a multi-task model"):
        measure_task_costs(keras.Sequential(), BATCH)
    with pytest.raises(ValueError, match=r"`batch` should have labels of task `b`. Received: None"):
        measure_task_costs(model, (X, {"a": X[:, :1], "b": None}))
    with pytest.raises(ValueError, match=r"`batch` should have labels as a dict by task"):
        measure_task_costs(model, (X, None))


@pytest.mark.slow
def test_weights_of_none_are_no_weights(measured, monkeypatch):
    seen = []
    monkeypatch.setattr(costs_file, "_time", lambda model, batch, *_: seen.append(batch) or TIMES)
    found = measure_task_costs(measured[0], (*BATCH, None), memory=False)
    assert len(seen[0]) == 2
    assert (found.seconds, found.all_seconds) == ({"a": 1.0, "b": 2.0}, 2.5)


TIMES = {"a": 1.0, "b": 2.0, None: 2.5}
