"""What a model answers for test data, beside the labels."""

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

BATCH_SIZE = 256


class TaskAnswers(NamedTuple):
    """One task's answers and labels, of all test rows.

    Attributes:
        outputs: Raw outputs, as `predict` gives them.
        values: The labels, harmless where there is none.
        present: Bool, of the shape of the loss values: where there is a label.
        weights: Float, of the same shape: the sample weights, 0 where there is no label.
    """

    outputs: np.ndarray
    values: np.ndarray
    present: np.ndarray
    weights: np.ndarray


class Latency(NamedTuple):
    """How long the answer to one call of the model took, in milliseconds.

    Attributes:
        row: For a single row.
        batch: For a whole batch.
        batch_size: How many rows that has.
    """

    row: float
    batch: float
    batch_size: int


def collect(model: Any, test: Any) -> dict[str, TaskAnswers]:
    """Answer all test rows; they and the answers are held in memory.

    Args:
        model: A compiled multi-task model.
        test: Batches `(x, y)` or `(x, y, sample_weight)`, or such a tuple of arrays.

    Returns:
        By task. Labels of other tasks are left out, and tasks without any label are not there.

    Raises:
        ValueError: If `test` is something else, has no rows, or labels that are none of a task.
    """
    objectives = model._step.objectives
    parts: dict[str, list[TaskAnswers]] = {name: [] for name in model.task_names}
    for x, y, weight in _batches(test):
        if not isinstance(y, Mapping):
            raise ValueError(
                "`test` should have labels as a dict by task name. "
                f"Received: labels of type {type(y).__name__}"
            )
        chosen = {name: y[name] for name in model.task_names if name in y}
        if not chosen:
            raise ValueError(
                f"`test` should have labels of one of the tasks {list(model.task_names)} at least. "
                f"Received: labels of {sorted(y)}"
            )
        if isinstance(weight, Mapping):
            weight = {name: weight[name] for name in chosen if name in weight}
        outputs = model.predict_on_batch(x)
        rows = len(next(iter(outputs.values())))
        read = objectives.read(chosen, weight, rows)
        for name in chosen:
            parts[name].append(_of_task(name, outputs[name], read[name]))
    if not any(parts.values()):
        raise ValueError("`test` should have rows. Received: no batch")
    joined = {
        name: TaskAnswers(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))
        for name, found in parts.items()
        if found
    }
    return {name: answers for name, answers in joined.items() if answers.present.any()}


def measure_latency(model: Any, test: Any, calls: int) -> Latency:
    """The median time of a call, for one row and for the first batch.

    Args:
        model: A compiled multi-task model.
        test: As of `collect`.
        calls: How many calls are timed.
    """
    x, *_ = next(_batches(test))
    size = len(keras.tree.flatten(x)[0])
    one = keras.tree.map_structure(lambda t: t[:1], x)
    return Latency(_median(model, one, calls), _median(model, x, calls), size)


def _median(model, x, calls):
    model.predict_on_batch(x)  # traces
    found = []
    for _ in range(calls):
        started = time.perf_counter()
        model.predict_on_batch(x)
        found.append(1000 * (time.perf_counter() - started))
    return statistics.median(found)


def _of_task(name, outputs, read):
    present, invalid = (np.asarray(t) for t in (read.present, read.invalid))
    if invalid.any():
        raise ValueError(
            f"`test` should have labels of task `{name}` that are labels or missing ones. "
            f"Received: {int(invalid.sum())} that are neither"
        )
    weights = present.astype("float32") if read.weights is None else np.asarray(read.weights)
    return TaskAnswers(np.asarray(outputs), np.asarray(read.values), present, weights)


def _batches(test: Any) -> Iterator[tuple[Any, Any, Any]]:
    if isinstance(test, tf.data.Dataset):
        for batch in test:
            yield keras.utils.unpack_x_y_sample_weight(batch)
    elif isinstance(test, tuple) and len(test) in (2, 3):
        arrays = keras.tree.map_structure(np.asarray, test)
        rows = len(keras.tree.flatten(arrays)[0])
        for start in range(0, rows, BATCH_SIZE):
            end = start + BATCH_SIZE
            part = keras.tree.map_structure(lambda t, s=start, e=end: t[s:e], arrays)
            yield keras.utils.unpack_x_y_sample_weight(part)
    else:
        raise ValueError(
            "`test` should be a `tf.data.Dataset` of batches with labels, or a tuple "
            f"`(x, y)` or `(x, y, sample_weight)` of arrays. Received: {type(test).__name__}"
        )
