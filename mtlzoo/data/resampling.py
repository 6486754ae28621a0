"""Rare classes that are drawn more often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlzoo.data.arguments import check_count
from mtlzoo.data.checking import Report
from mtlzoo.data.class_weights import class_ids, number_of_classes
from mtlzoo.data.elements import check_elements, check_tasks

if TYPE_CHECKING:
    import tensorflow as tf

    from mtlzoo.tasks import Task


def resample(
    dataset: tf.data.Dataset,
    task: Task,
    report: Report,
    *,
    batch_size: int,
    shares: Sequence[float] | np.ndarray | str = "uniform",
    seed: int = 0,
) -> tf.data.Dataset:
    """Draw rows so that the classes of a task have given shares, by rejecting some of the others.

    A row of class $c$, of which there are $n_c$ and which should have the share $q_c$, is kept with
    a probability in proportion to $q_c / n_c$, the largest being 1. Rows without a label of the
    task keep their share of all rows. The data set is read again and again until an epoch has as
    many rows as it has itself: rare rows are in it several times, and of frequent ones each epoch
    has others.

    Rejected rows are read as well. With class weights (`weigh_classes`) each row is seen once,
    which is cheaper; drawn several times, a rare row can be augmented differently each time.

    Args:
        dataset: Batches `(x, y)` or `(x, y, sample_weight)`, reshuffled in each epoch. Use it on
            training data only.
        task: The task, whose labels are one class each.
        report: What `data.check(dataset, tasks, batches=None)` has found.
        batch_size: Rows in a batch.
        shares: `"uniform"`, or by class a number that is not negative; they are scaled to the sum
            1. Defaults to `"uniform"`.
        seed: Integer of at least 0, of the rejections. Defaults to 0.

    Returns:
        Batches of the same form, all of `batch_size` rows; an epoch has as many as the rows of
        `report` fill.

    Raises:
        ValueError: If the task is not in the data or not in the report or has no classes, the
            report is of a part of the data, a class without labels should have a share, or an
            argument is out of its range.

    Example:
    ```python
    from mtlzoo import data

    census = data.load("census_income")
    income = next(task for task in census.tasks if task.name == "income")
    report = data.check(census.train, census.tasks, batches=None)
    train = data.resample(census.train, income, report, batch_size=256)
    ```
    """
    import tensorflow as tf

    labels, weights = check_elements("dataset", dataset)
    check_count("batch_size", batch_size)
    check_count("seed", seed, least=0)
    if not isinstance(report, Report):
        raise ValueError(f"`report` should be what `data.check` gives. Received: {report!r}")
    if task.name not in labels or task.name not in report.tasks:
        known = sorted(set(labels) & set(report.tasks))
        raise ValueError(
            f"`task` should be in the data set and in the report: {known}. Received: `{task.name}`"
        )
    if not report.whole:
        raise ValueError(
            "`report` should be of the whole data set, by `data.check(..., batches=None)`. "
            f"Received: a report of the first {report.batches} batches"
        )
    check_tasks([task], {task.name: labels[task.name]})
    kept = _kept(task, report, shares)

    def choose(element: tuple, number: tf.Tensor) -> tuple:
        places = class_ids(task, element[1][task.name], missing=len(kept) - 1)
        if task.name in weights:
            counts = tf.reshape(tf.cast(element[2][task.name], "float32"), (-1,)) > 0
            places = tf.where(counts, places, len(kept) - 1)
        numbers = tf.random.stateless_uniform(tf.shape(places), tf.stack([seed, number]))
        chosen = tf.where(numbers < tf.gather(tf.constant(kept), places))[:, 0]
        return tf.nest.map_structure(lambda part: tf.gather(part, chosen), element)

    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return (
        tf.data.Dataset.zip(dataset.repeat(), numbers)
        .map(choose, num_parallel_calls=tf.data.AUTOTUNE)
        .rebatch(batch_size)
        .take(-(-report.rows // batch_size))
        .prefetch(tf.data.AUTOTUNE)
    )


def _kept(task: Task, report: Report, shares: Any) -> np.ndarray:
    """By class the probability that a row is kept; the last one is of rows without a label."""
    classes = number_of_classes(task)
    if task.loss_rank > 1:
        raise ValueError(
            f"Task `{task.name}` should have one label per row. "
            f"Received: a task of type {type(task).__name__}"
        )
    counts = report.tasks[task.name].counts
    if counts is None or not counts.any():
        raise ValueError(f"Task `{task.name}` should have labels in the report. Received: none")
    given = np.ones(classes) if isinstance(shares, str) and shares == "uniform" else shares
    numbers = np.asarray(given)
    fits = numbers.shape == (classes,) and numbers.dtype.kind in "iuf"
    if not fits or not np.isfinite(numbers).all() or (numbers < 0).any() or not numbers.any():
        raise ValueError(
            f"`shares` should be 'uniform', or {classes} numbers that are not negative and not all "
            f"zero, one for each class of task `{task.name}`. Received: shares={shares!r}"
        )
    empty = np.flatnonzero((counts == 0) & (numbers > 0)).tolist()
    if empty:
        raise ValueError(
            f"`shares` should be 0 for classes of task `{task.name}` without a label. "
            f"Received: a share of the classes {empty}"
        )
    ratios = numbers / np.maximum(counts, 1)
    kept = ratios / ratios.max()
    return np.append(kept, (kept * counts).sum() / counts.sum()).astype("float32")
