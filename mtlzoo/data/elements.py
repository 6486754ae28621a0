"""The elements of a data set: inputs, labels and sample weights, the latter two by task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mtlzoo.data.arguments import task_list

if TYPE_CHECKING:
    import tensorflow as tf

    from mtlzoo.tasks import Task


def check_elements(name: str, dataset: Any) -> tuple[dict, dict]:
    """Check that a data set has batches with labels and sample weights by task.

    Args:
        name: of the argument.
        dataset: what was given.

    Returns:
        The specs of labels and sample weights.

    Raises:
        ValueError: it is no data set, or has elements of another form.
    """
    import tensorflow as tf

    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(
            f"`{name}` should be a `tf.data.Dataset`. Received: {type(dataset).__name__}"
        )
    spec = dataset.element_spec
    fits = isinstance(spec, tuple) and len(spec) in (2, 3)
    if not fits or not all(isinstance(p, dict) for p in spec[1:]) or not spec[1]:
        raise ValueError(
            f"`{name}` should have elements `(x, y)` or `(x, y, sample_weight)`, with dicts by "
            f"task as `y` and `sample_weight`. Received: {spec}"
        )
    labels, weights = spec[1], spec[2] if len(spec) == 3 else {}
    for key, part in {**labels, **weights}.items():
        if getattr(part.shape, "rank", None) == 0:
            raise ValueError(f"`{name}` should have batches. Received: a scalar of `{key}`")
    if unknown := sorted(set(weights) - set(labels)):
        raise ValueError(
            f"`{name}` should have sample weights of tasks that it has labels of. "
            f"Received: {unknown}"
        )
    return labels, weights


def check_tasks(
    tasks: Iterable[Task] | Mapping[str, Task], labels: Mapping[str, Any]
) -> dict[str, Task]:
    """Check that there is a task for all labels, and that they fit.

    Args:
        tasks: what was given.
        labels: the specs of the labels by task.

    Returns:
        The tasks by name, those that there are labels of.

    Raises:
        ValueError: a task is missing, or has labels of another shape or type.
    """
    by_name = {task.name: task for task in task_list(tasks)}
    if unknown := sorted(set(labels) - set(by_name)):
        raise ValueError(f"`tasks` should have all tasks of the labels. Received: no {unknown}")
    for name, spec in labels.items():
        by_name[name].check_labels(spec)
    return {name: by_name[name] for name in labels}


def check_finite(name: str, dataset: tf.data.Dataset) -> None:
    """Check that a data set that is read whole has an end.

    Args:
        name: of the argument.
        dataset: what was given.

    Raises:
        ValueError: it has none, or is empty.
    """
    count = int(dataset.cardinality())
    if count == -1:
        raise ValueError(f"`{name}` should have an end. Received: an endless data set")
    if count == 0:
        raise ValueError(f"`{name}` should have rows. Received: none")


def mapped(dataset: tf.data.Dataset, function: Callable[..., tuple]) -> tf.data.Dataset:
    """Apply a function to the elements, several at once, with sample weights for every task.

    Args:
        dataset: batches `(x, y)` or `(x, y, sample_weight)`.
        function: from `x`, `y` and `sample_weight` to an element.

    Returns:
        The data set of what it gives, in the same order.
    """
    import tensorflow as tf

    return dataset.map(
        lambda *element: function(*_whole(*element)), num_parallel_calls=tf.data.AUTOTUNE
    )


def mapped_with_numbers(
    dataset: tf.data.Dataset, function: Callable[..., tuple], seed: int
) -> tf.data.Dataset:
    """As `mapped`, with a random number for each element that differs from epoch to epoch.

    Args:
        dataset: batches `(x, y)` or `(x, y, sample_weight)`.
        function: from `x`, `y`, `sample_weight` and an int64 from 0 to 2**32 - 1 to an element.
        seed: of the numbers.

    Returns:
        The data set of what it gives, in the same order.
    """
    import tensorflow as tf

    numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(dataset, numbers).map(
        lambda element, number: function(*_whole(*element), number),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _whole(x: Any, y: Mapping, w: Mapping | None = None) -> tuple:
    """The element with float sample weights for every task, of rows `(B,)` or of pixels."""
    import tensorflow as tf

    def floats(weights: tf.Tensor) -> tf.Tensor:
        if weights.shape.rank == 2 and weights.shape[1] == 1:
            weights = weights[:, 0]
        return tf.cast(weights, "float32")

    given = w or {}
    weights = {n: floats(given[n]) if n in given else tf.ones(tf.shape(y[n])[:1]) for n in y}
    return x, y, weights


def in_memory(dataset: tf.data.Dataset) -> tuple:
    """Read all rows of a data set into host memory.

    Args:
        dataset: batches `(x, y)` or `(x, y, sample_weight)`.

    Returns:
        One element with all rows, and with sample weights of all tasks.

    Raises:
        ValueError: there are no rows, or no end of them.
    """
    import tensorflow as tf

    check_finite("dataset", dataset)
    with tf.device("CPU:0"):
        batches = list(mapped(dataset, lambda x, y, w: (x, y, w)))
        if not batches:
            raise ValueError("`dataset` should have rows. Received: none")
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *batches)


def spread(weights: Any, like: Any) -> tf.Tensor:
    """Give weights as many axes as a tensor has, the last ones of size 1.

    Args:
        weights: a tensor.
        like: a tensor with at least as many axes.

    Returns:
        The weights, in their type.
    """
    import tensorflow as tf

    more = len(like.shape) - len(weights.shape)
    return tf.reshape(weights, tf.concat([tf.shape(weights), [1] * more], 0))
