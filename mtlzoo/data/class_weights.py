"""Rare classes that count for more: weights by class, and labels weighed with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtlzoo.data.arguments import is_number
from mtlzoo.data.checking import Report
from mtlzoo.data.elements import check_elements, check_tasks, mapped, spread

if TYPE_CHECKING:
    import tensorflow as tf

    from mtlzoo.tasks import Task

METHODS = ("inverse", "effective")


def class_weights(
    counts: Report | Sequence[float] | np.ndarray,
    task: str | None = None,
    *,
    method: str = "inverse",
    beta: float = 0.999,
) -> np.ndarray:
    r"""Weights by class, larger for rarer ones.

    With $n_c$ labels of class $c$,

    $$w_c \propto \frac{1}{n_c} \quad\text{(inverse)}, \qquad
    w_c \propto \frac{1 - \beta}{1 - \beta^{n_c}} \quad\text{(effective)},$$

    scaled so that their mean over the labels is 1 and the task's loss keeps its size.

    Args:
        counts: What `data.check(dataset, tasks, batches=None)` has found, or the number of labels
            of each class.
        task: Name of the task, for a report only. Defaults to `None`.
        method: `"inverse"`, by which all classes count the same, or `"effective"`, by which each
            further label of a class counts for less. Defaults to `"inverse"`.
        beta: Number from 0 to below 1, of `"effective"`: 0 gives equal weights, near 1 those of
            `"inverse"`. Defaults to 0.999.

    Returns:
        An array `(classes,)`. A class without labels has the weight of one with a single label.

    Raises:
        ValueError: If the task has no classes, there is no label, or an argument is out of its
            range.

    Example:
    ```python
    from mtlzoo import data

    data.class_weights([90, 10])  # [0.556, 5.0]
    ```

    References:
        Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*, CVPR 2019.

    *Differences from the paper*: the weights are scaled to a mean of 1 over the labels, not over
    the classes, so that the size of the loss does not depend on how unbalanced they are.
    """
    if method not in METHODS:
        raise ValueError(f"`method` should be one of {list(METHODS)}. Received: method={method!r}")
    if not is_number(beta) or not 0 <= beta < 1:
        raise ValueError(f"`beta` should be a number from 0 to below 1. Received: beta={beta!r}")
    numbers = _of_report(counts, task) if isinstance(counts, Report) else np.asarray(counts)
    fits = numbers.ndim == 1 and len(numbers) > 1 and numbers.dtype.kind in "iuf"
    if not fits or not np.isfinite(numbers).all() or (numbers < 0).any() or not numbers.any():
        raise ValueError(
            "`counts` should be numbers of labels, of two classes at least, that are not negative "
            f"and not all zero. Received: counts={counts!r}"
        )
    numbers = numbers.astype("float64")
    floor = np.where(numbers > 0, numbers, 1.0)
    if method == "inverse":
        weights = 1 / floor
    else:
        weights = (1 - beta) / -np.expm1(floor * np.log(beta)) if beta else np.ones(len(floor))
    return weights * (numbers.sum() / (numbers * weights).sum())


def _of_report(report: Report, task: str | None) -> np.ndarray:
    """The counts of a task in a report."""
    if task not in report.tasks:
        raise ValueError(
            f"`task` should be one of the report's, {sorted(report.tasks)}. Received: task={task!r}"
        )
    if not report.whole:
        raise ValueError(
            "`counts` should be of the whole data set, by `data.check(..., batches=None)`. "
            f"Received: a report of the first {report.batches} batches"
        )
    found = report.tasks[task]
    if found.counts is None or found.counts.sum() != found.present:
        raise ValueError(
            f"Task `{task}` should have one class per label, to count. "
            "Received: a task that has no such counts"
        )
    return found.counts


def weigh_classes(
    dataset: tf.data.Dataset,
    tasks: Sequence[Task],
    weights: Mapping[str, Sequence[float] | np.ndarray],
) -> tf.data.Dataset:
    """Multiply sample weights by the weight of the label's class.

    Use it on training data only: metrics and losses of other data should count rows as they are.

    Args:
        dataset: Batches `(x, y)` or `(x, y, sample_weight)`.
        tasks: The tasks.
        weights: By task, one number for each class, such as `class_weights` gives.

    Returns:
        Batches `(x, y, sample_weight)` with sample weights of every task in `y`. The weight of a
        missing label stays as it is; between no and yes, and for distributions over the classes,
        it is the mean over the classes.

    Raises:
        ValueError: If a task is unknown or has no classes, or weights are unusable.

    Example:
    ```python
    from mtlzoo import data

    census = data.load("census_income")
    report = data.check(census.train, census.tasks, batches=None)
    weights = {"education": data.class_weights(report, "education", method="effective")}
    train = data.weigh_classes(census.train, census.tasks, weights)
    ```
    """
    labels, _ = check_elements("dataset", dataset)
    by_name = check_tasks(tasks, labels)
    if not isinstance(weights, Mapping):
        raise ValueError(f"`weights` should be a dict by task. Received: weights={weights!r}")
    tables = {n: _table(n, w, by_name) for n, w in weights.items()}

    def weigh(x: Any, y: Any, w: Any) -> tuple:
        for name, table in tables.items():
            w[name] = _weighed(by_name[name], y[name], w[name], table)
        return x, y, w

    return mapped(dataset, weigh)


def _table(name: str, weights: Any, tasks: Mapping[str, Task]) -> np.ndarray:
    """The weights of a task's classes, checked."""
    if name not in tasks:
        raise ValueError(f"`weights` should have keys among {sorted(tasks)}. Received: {name!r}")
    count = number_of_classes(tasks[name])
    try:
        table = np.asarray(weights, "float32")
    except (TypeError, ValueError):
        table = np.zeros(0)
    if table.shape != (count,) or not np.isfinite(table).all() or (table < 0).any():
        raise ValueError(
            f"`weights[{name!r}]` should be {count} numbers that are not negative, one for each "
            f"class. Received: {weights!r}"
        )
    return table


def number_of_classes(task: Task) -> int:
    """How many classes the labels of a task have, each label one.

    Raises:
        ValueError: if they have none.
    """
    from mtlzoo.tasks import BinaryClassification
    from mtlzoo.tasks.class_ids import ClassIds

    if isinstance(task, ClassIds):
        return task.num_classes
    if isinstance(task, BinaryClassification):
        return 2
    raise ValueError(
        f"Task `{task.name}` should have one class per label. "
        f"Received: a task of type {type(task).__name__}"
    )


def class_ids(task: Task, labels: Any, missing: int) -> tf.Tensor:
    """The class of each label.

    Args:
        task: a task with one class per label.
        labels: its labels, one for each row.
        missing: what stands for a label that is missing.

    Returns:
        Integers `(B,)`; of a distribution over the classes the most probable one.
    """
    import tensorflow as tf

    read = task.read_labels(labels)
    values = read.values
    if not values.dtype.is_integer:
        soft = values.shape[-1] > 1
        values = tf.argmax(values, -1) if soft else tf.cast(values[:, 0] > 0.5, "int32")
    return tf.where(read.present, tf.cast(values, "int32"), missing)


def _weighed(task: Task, labels: Any, weights: Any, table: np.ndarray) -> tf.Tensor:
    """Sample weights times the weights of the labels' classes."""
    import tensorflow as tf

    read = task.read_labels(labels)
    values, present = read.values, read.present
    if values.dtype.is_integer:
        factors = tf.gather(tf.constant(table), values)
    elif values.shape[-1] == 1:  # from no, 0, to yes, 1
        factors = table[0] + (table[1] - table[0]) * values[:, 0]
    else:
        factors = tf.linalg.matvec(values, tf.constant(table, values.dtype))
    factors = tf.where(present, tf.cast(factors, weights.dtype), tf.ones((), weights.dtype))
    return spread(weights, factors) * factors
