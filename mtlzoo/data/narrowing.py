"""Data with the labels of some of its tasks only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def labels_of(dataset: Any, tasks: Sequence[str]) -> Any:
    """The same rows with the labels and sample weights of some tasks only.

    A model refuses labels of tasks that it does not have, since their names may be misspelt. This
    says that they are left out on purpose: for the baseline of a single task, for instance.

    Args:
        dataset: a `tf.data.Dataset` of batches, or a tuple of arrays: `(x, y)` or
            `(x, y, sample_weight)`, with `y` a dict by task.
        tasks: names of tasks, such as `model.task_names`.

    Returns:
        What was given, in the same order.

    Raises:
        ValueError: if it is neither, or has no labels of one of the tasks.

    Example:
        ```python
        import numpy as np
        from mtlzoo import data

        y = {"click": np.ones(4), "price": np.ones(4)}
        x, y = data.labels_of((np.ones((4, 2)), y), ["click"])
        print(list(y))  # ['click']
        ```
    """
    if isinstance(tasks, str) or not tasks:
        raise ValueError(f"`tasks` should be a list of names. Received: tasks={tasks!r}")

    def chosen(x: Any, y: Any, weight: Any = None) -> tuple:
        if not isinstance(y, Mapping) or not set(tasks) <= set(y):
            there = list(y) if isinstance(y, Mapping) else type(y).__name__
            raise ValueError(
                f"Labels should be a dict with those of the tasks {list(tasks)}. Received: {there}"
            )
        labels = {name: y[name] for name in tasks}
        if weight is None:
            return x, labels
        if isinstance(weight, Mapping):
            weight = {name: weight[name] for name in tasks if name in weight}
        return x, labels, weight

    if isinstance(dataset, list | tuple) and len(dataset) in {2, 3}:
        return chosen(*dataset)
    if hasattr(dataset, "element_spec"):
        return dataset.map(chosen)
    raise ValueError(
        "Data should be a `tf.data.Dataset` or a tuple of inputs and labels. "
        f"Received: data of type {type(dataset).__name__}"
    )
