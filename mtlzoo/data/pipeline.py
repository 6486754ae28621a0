"""From arrays in memory to batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def batches(arrays: Any, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
    """Serve rows of arrays in batches; the last one may be smaller.

    What is shuffled is the row numbers, and each batch is gathered in one operation, so that the
    order of an epoch is a full permutation and costs next to nothing.

    Args:
        arrays: nested dicts and tuples of arrays `(n, ...)` with the same `n`.
        batch_size: rows in a batch.
        seed: None for the rows' own order, else the rows are shuffled, differently in each epoch.
            Two data sets with one seed give the same orders epoch by epoch (if TensorFlow's
            global seed is set it takes part as well).

    Returns:
        Batches of the same structure.

    Raises:
        ValueError: `batch_size` is not a positive integer, or `seed` a negative one or none.

    Example:
        ```python
        import numpy as np

        from mtlzoo.data.pipeline import batches

        for x, y in batches((np.arange(5), {"task": np.ones(5)}), batch_size=2, seed=0):
            print(x.numpy(), y["task"].shape)
        ```
    """
    import tensorflow as tf

    check_batching(batch_size, seed)
    with tf.device("CPU:0"):  # the rows stay in host memory also where there is a GPU
        tensors = tf.nest.map_structure(tf.convert_to_tensor, arrays)
        count = len(tf.nest.flatten(tensors)[0])
        order = tf.data.Dataset.range(count)
        if seed is not None:
            order = order.shuffle(count, seed=seed, reshuffle_each_iteration=True)
        return (
            order.batch(batch_size)
            .map(
                lambda rows: tf.nest.map_structure(lambda t: tf.gather(t, rows), tensors),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            .prefetch(tf.data.AUTOTUNE)
        )


def check_batching(batch_size: int, seed: int | None) -> None:
    """Check the options of `batches`, before anything is read.

    Args:
        batch_size: as for `batches`.
        seed: as for `batches`.

    Raises:
        ValueError: one of them has an unusable value.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"`batch_size` should be a positive integer. Received: batch_size={batch_size!r}"
        )
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
        raise ValueError(
            f"`seed` should be an integer of at least 0, or None. Received: seed={seed!r}"
        )


def preprocess(preprocessor: Callable, columns: dict[str, Any]) -> tf.Tensor:
    """Run a preprocessor once over all rows and keep the result in memory.

    Args:
        preprocessor: a model, or a function of TensorFlow, from raw columns to one tensor.
        columns: the raw columns by input name, each `(n,)`.

    Returns:
        The tensor `(n, ...)`.
    """
    import tensorflow as tf

    with tf.device("CPU:0"):
        done = tf.data.Dataset.from_tensor_slices(columns).batch(4096).map(preprocessor)
        return tf.concat(list(done), axis=0)
