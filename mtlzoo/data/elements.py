"""The elements of a data set: inputs, labels and sample weights, the latter two by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def check_elements(name: str, dataset: Any) -> tuple[dict, dict]:
    """Check that a data set has labels and sample weights by task.

    Args:
        name: of the argument.
        dataset: what was given.

    Returns:
        The specs of labels and sample weights.

    Raises:
        ValueError: it has elements of another form.
    """
    spec = getattr(dataset, "element_spec", dataset)
    fits = isinstance(spec, tuple) and len(spec) in (2, 3)
    if not fits or not all(isinstance(p, dict) for p in spec[1:]) or not spec[1]:
        raise ValueError(
            f"`{name}` should have elements `(x, y)` or `(x, y, sample_weight)`, with dicts by "
            f"task as `y` and `sample_weight`. Received: {spec}"
        )
    return spec[1], spec[2] if len(spec) == 3 else {}


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
    """The element with sample weights for every task."""
    import tensorflow as tf

    given = w or {}
    return x, y, {n: given[n] if n in given else tf.ones(tf.shape(y[n])[:1]) for n in y}


def in_memory(dataset: tf.data.Dataset) -> tuple:
    """Read all rows of a data set into host memory.

    Args:
        dataset: batches `(x, y)` or `(x, y, sample_weight)`.

    Returns:
        One element with all rows, and with sample weights of all tasks.

    Raises:
        ValueError: there are no rows.
    """
    import tensorflow as tf

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
