"""All rows in memory: inputs by name, labels by task, of arrays or data sets."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.tasks import Task


class Rows(NamedTuple):
    """Rows as arrays.

    Attributes:
        x: inputs by name.
        y: labels by task.
        weights: sample weights by task; 1 for tasks that are not there.
    """

    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.x.values())))


def read(x: Any, y: Any, sample_weight: Any, unlabelled: Any, tasks: Mapping[str, Task]) -> Rows:
    """Read labelled and unlabelled rows.

    Args:
        x: inputs by name, or a data set of batches `(x, y)` or `(x, y, sample_weight)`.
        y: labels by task, unless `x` is a data set.
        sample_weight: weights by task or for all, or `None`.
        unlabelled: further rows without labels: inputs by name, or a data set of batches of them,
            alone or first in a tuple; or `None`.
        tasks: the tasks by name.

    Returns:
        All rows, the further ones last.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(x, tf.data.Dataset):
        if y is not None or sample_weight is not None:
            raise ValueError(
                "`y` and `sample_weight` should be in the batches where `x` is a data set. "
                f"Received: y of type {type(y).__name__}, sample_weight of type "
                f"{type(sample_weight).__name__}"
            )
        x, y, sample_weight = _collected("x", x)
    x = _columns("x", x)
    count = _count("x", x)
    if not isinstance(y, Mapping) or not y:
        raise ValueError(f"`y` should be a dict of labels by task. Received: {_kind(y)}")
    weights = sample_weight
    if weights is None:
        weights = {}
    elif not isinstance(weights, Mapping):
        weights = dict.fromkeys(y, weights)
    for what, by_task in (("y", y), ("sample_weight", weights)):
        for name in by_task:
            if name not in tasks:
                raise ValueError(
                    f"`{what}` should have only the tasks {list(tasks)} as keys. Received: {name!r}"
                )
    y = {
        name: np.asarray(y[name]) if name in y else _none(task, count)
        for name, task in tasks.items()
    }
    weights = {name: np.asarray(w) for name, w in weights.items() if w is not None}
    for name, values in [*y.items(), *weights.items()]:
        if values.shape[:1] != (count,):
            raise ValueError(
                f"Labels and sample weights of task `{name}` should be there for each of the "
                f"{count} rows, or say that they are missing. Received: shape={values.shape}"
            )
    for name, values in weights.items():
        if values.ndim > 1 and values.shape[1:] not in {(1,), y[name].shape[1 : values.ndim]}:
            raise ValueError(
                f"Sample weights of task `{name}` should have one number for each row, or for each "
                f"label of shape {y[name].shape}. Received: shape={values.shape}"
            )
    if unlabelled is None:
        return Rows(x, y, weights)
    if isinstance(unlabelled, tf.data.Dataset):
        unlabelled, _, _ = _collected("unlabelled", unlabelled)
    more = _columns("unlabelled", unlabelled)
    number = _count("unlabelled", more)
    for name in x:
        if name not in more:
            raise ValueError(
                f"`unlabelled` should have the inputs {list(x)}. Received: none named {name!r}"
            )
        if more[name].shape[1:] != x[name].shape[1:]:
            raise ValueError(
                f"`unlabelled` should have inputs of the shapes of `x`. Received: {name!r} of "
                f"shape {more[name].shape}, which is {x[name].shape} in `x`"
            )
    x = {name: np.concatenate([values, more[name]]) for name, values in x.items()}
    y = {name: np.concatenate([y[name], _fitting(y[name], tasks[name], number)]) for name in y}
    weights = {
        name: np.concatenate([w, np.ones((number, *w.shape[1:]), w.dtype)])
        for name, w in weights.items()
    }
    return Rows(x, y, weights)


def of_view(model: Any, x: Mapping[str, Any]) -> Any:
    """What a model reads of inputs by name, in the structure in which it reads it.

    Args:
        model: a functional model.
        x: inputs by name, arrays or tensors.
    """
    return keras.tree.map_structure(lambda tensor: x[tensor.name], model.input)


def validation(model: Any, data: Any) -> Any:
    """Validation data with the inputs of one view.

    Args:
        model: a functional model.
        data: a data set of batches, or a tuple of inputs by name, labels by task and perhaps
            weights.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(data, tf.data.Dataset):
        return data.map(lambda x, *others: (of_view(model, x), *others))
    if not isinstance(data, tuple) or len(data) not in (2, 3) or not isinstance(data[0], Mapping):
        raise ValueError(
            "`validation_data` should be a data set of batches, or a tuple of inputs by name, "
            f"labels by task and perhaps weights. Received: a {type(data).__name__}"
        )
    x, *others = data
    by_view({model.name: model}, list(x), "validation_data")
    return (keras.tree.map_structure(np.asarray, of_view(model, x)), *others)


def _none(task: Task, count: int) -> np.ndarray:
    return keras.ops.convert_to_numpy(task.missing_labels(count))


def _fitting(labels: np.ndarray, task: Task, count: int) -> np.ndarray:
    """Missing labels in the shape that the others have."""
    return np.full((count, *labels.shape[1:]), task.missing, _none(task, 1).dtype)


def _collected(argument: str, batches: tf.data.Dataset) -> tuple[Any, Any, Any]:
    """The batches of a data set, joined."""
    if int(batches.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"`{argument}` should be a data set that ends, since all rows are kept. Received: one "
            "that repeats for ever"
        )
    found = list(batches.as_numpy_iterator())
    if not found:
        raise ValueError(f"`{argument}` should have rows. Received: an empty data set")
    joined = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *found)
    return keras.utils.unpack_x_y_sample_weight(joined)


def _columns(argument: str, x: Any) -> dict[str, np.ndarray]:
    if not isinstance(x, Mapping) or not x:
        raise ValueError(
            f"`{argument}` should be a dict by input name, since each view reads inputs of its "
            f"own, or a data set of such batches. Received: {_kind(x)}"
        )
    return {name: np.asarray(values) for name, values in x.items()}


def _count(argument: str, x: Mapping[str, np.ndarray]) -> int:
    counts = {name: values.shape[:1] for name, values in x.items()}
    (first, *others) = counts.values()
    if first in [(), (0,)] or any(other != first for other in others):
        raise ValueError(
            f"`{argument}` should have the same number of rows in all inputs, at least one. "
            f"Received: {counts}"
        )
    return first[0]


def _kind(value: Any) -> str:
    return "an empty dict" if isinstance(value, Mapping) else f"a {type(value).__name__}"


def by_view(views: Mapping[str, Any], x: Sequence[str], argument: str = "x") -> None:
    """Check that all inputs of the views are there.

    Args:
        views: models by name.
        x: the names of the inputs.
        argument: what gave them, for the message. Defaults to `"x"`.

    Raises:
        ValueError: if one is not.
    """
    for name, model in views.items():
        for tensor in model.inputs:
            if tensor.name not in x:
                raise ValueError(
                    f"`{argument}` should have the inputs of view `{name}`, "
                    f"{[t.name for t in model.inputs]}. Received: none named {tensor.name!r}; "
                    f"there are {sorted(x)}"
                )
