"""The metrics of one training on test data, each as what groups of rows add to it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.reporting import intervals
from mtlzoo.reporting.answers import TaskAnswers
from mtlzoo.reporting.intervals import Interval

GROUPS = 100


@dataclasses.dataclass(frozen=True)
class Score:
    """One metric of one task.

    Attributes:
        value: The metric of all test rows.
        states: `(groups, size)`, what each group of rows adds to the metric's state; `None` if the
            state is no sum over rows.
        of_states: From `(N, size)`, such sums, to their metrics, `(N,)`.
    """

    value: float
    states: np.ndarray | None = None
    of_states: Callable[[np.ndarray], np.ndarray] | None = None

    @functools.cached_property
    def interval(self) -> Interval:
        """The value with a bootstrap interval over test rows, if there can be one."""
        if self.states is None or self.of_states is None or len(self.states) < 2:
            return Interval(self.value, float("nan"), float("nan"), "none")
        return intervals.of_rows(self.states, self.of_states)


def score(
    model: Any, name: str, answers: TaskAnswers, *, by_groups: bool
) -> tuple[dict[str, Score], list[str]]:
    """The loss and all metrics of a task.

    Rows are dealt at random to groups, since test data may be sorted; each group is read once.

    Args:
        model: A compiled multi-task model.
        name: The task.
        answers: Of `collect`.
        by_groups: Whether the states of groups are wanted, which takes most of the time, that of
            tracing each metric.

    Returns:
        By name of the metric, as in the logs after the task's. Then the names of metrics that are
        no single number, and so left out.
    """
    objectives = model._step.objectives
    task, rows = model.tasks[name], len(answers.present)
    size = -(-rows // min(GROUPS, rows)) if by_groups else rows
    order = np.random.default_rng(0).permutation(rows)
    groups = [order[start : start + size] for start in range(0, rows, size)]
    loss = objectives.losses[name]
    found = {"loss": _loss(task, loss, answers, groups)}
    left_out = []
    chosen = [(metric, False) for metric in objectives.metrics[name]]
    chosen += [(metric, True) for metric in objectives.weighted_metrics[name]]
    for metric, weighted in chosen:
        own = _again(metric)
        weights = answers.weights if weighted else answers.present.astype("float32")
        scored = _metric(task, own, answers, weights, groups, size)
        found |= {key or metric.name: value for key, value in scored.items()}
        if not scored:
            left_out.append(metric.name)
    return found, left_out


def _again(metric):
    """A new object of a metric, with a state of its own."""
    if type(metric) is keras.metrics.MeanMetricWrapper:  # of a function that Keras may not find
        return type(metric)(metric._fn, metric.name, metric.dtype, **metric._fn_kwargs)
    return type(metric).from_config(metric.get_config())


def _loss(task, loss, answers, groups):
    states = np.zeros((len(groups), 2))
    for i, rows in enumerate(groups):
        values = task.loss_values(loss, answers.values[rows], answers.outputs[rows])
        present, weights = answers.present[rows], answers.weights[rows]
        values = np.where(present, np.asarray(values) * weights, 0.0)
        states[i] = values.sum(), present.sum()

    def means(states):
        with np.errstate(invalid="ignore"):
            return states[:, 0] / states[:, 1]

    return Score(float(means(states.sum(0)[None])[0]), states, means)


def _metric(task, metric, answers, weights, groups, size) -> dict[str, Score]:
    """By key of its result, or "" if that is one number; empty if it is neither."""

    def update(values, outputs, given):
        metric.reset_state()
        task.update_metric(metric, values, outputs, given)

    update(answers.values, answers.outputs, weights)
    whole = _numbers(metric.result())
    if len(groups) < 2 or not metric.variables:
        return {key: Score(value) for key, value in whole.items()}
    sizes = [int(np.prod(v.shape)) for v in metric.variables]
    of_all = _flat(metric)

    @tf.function
    def updated(values, outputs, given):
        update(values, outputs, given)
        return [tf.identity(v.value) for v in metric.variables]

    # Functions are traced once, by hand, since TensorFlow warns of many that trace themselves.
    like = [_spec(each, size) for each in (answers.values, answers.outputs, weights)]
    traced = updated.get_concrete_function(*like)

    def read(rows):
        # All groups have one size, so that one trace serves them: what is added counts nothing.
        padded = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
        given = np.array(weights[padded])
        given[len(rows) :] = 0
        parts = traced(
            tf.constant(answers.values[padded]),
            tf.constant(answers.outputs[padded]),
            tf.constant(given),
        )
        return np.concatenate([np.reshape(np.asarray(p, "float64"), -1) for p in parts])

    states = np.stack([read(rows) for rows in groups])
    # Up to the rounding of long sums.
    near = 1e-5 * float(np.abs(of_all).max(initial=0.0))
    is_sum = np.allclose(states.sum(0), of_all, rtol=1e-3, atol=near)

    @tf.function(input_signature=[tf.TensorSpec([None, sum(sizes)], tf.float32)])
    def results(sums):
        def one(state):
            for v, part in zip(metric.variables, tf.split(state, sizes), strict=True):
                v.assign(tf.cast(tf.reshape(part, v.shape), v.dtype))
            found = _parts(metric.result())
            return {key: tf.cast(tf.reshape(found[key], []), "float32") for key in whole}

        return tf.map_fn(one, sums, fn_output_signature=dict.fromkeys(whole, tf.float32))

    @functools.cache
    def traced_results():
        return results.get_concrete_function()

    def of_states(key):
        return lambda sums: traced_results()(tf.constant(sums, "float32"))[key].numpy()

    if not is_sum:
        return {key: Score(value) for key, value in whole.items()}
    return {key: Score(value, states, of_states(key)) for key, value in whole.items()}


def _spec(array, rows):
    return tf.TensorSpec([rows, *array.shape[1:]], tf.as_dtype(array.dtype))


def _flat(metric):
    found = [np.reshape(keras.ops.convert_to_numpy(v), -1) for v in metric.variables]
    return np.concatenate(found).astype("float64")


def _parts(result: Any) -> dict[str, Any]:
    return result if isinstance(result, dict) else {"": result}


def _numbers(result: Any) -> dict[str, float]:
    """The single numbers of a metric's result."""
    arrays = {key: keras.ops.convert_to_numpy(value) for key, value in _parts(result).items()}
    return {key: float(value.item()) for key, value in arrays.items() if value.size == 1}
