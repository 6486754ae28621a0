"""The Gramian of task gradients, made from lists of gradients as they come off the tape.

A gradient is a tensor, `None` (nothing depends on the variable), or, by an embedding table, an
`IndexedSlices` of the rows that were looked up. Tables stay slices here: what is done costs in the
number of looked-up rows, not in the size of the table.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

# A `tf.Tensor`, a `tf.IndexedSlices` or `None`.
Gradient: TypeAlias = Any
# The gradients of T tasks by one variable: T tensors (or `None`), or one `IndexedSlices` whose
# values have the tasks as their second axis.
Column: TypeAlias = Any

# Large gradients are multiplied pair by pair, where they lie: stacking them into a matrix took 3.9
# times as long for 2 tasks and 1.9 times for 8, and no longer for 16 (`benchmarks/gramian.py`).
# Small ones, and those of many tasks, are stacked: there the number of operations decides.
LARGE, MANY_TASKS = 16384, 8


def columns(rows: Sequence[Sequence[Gradient]]) -> list[Column]:
    """Sort the gradients of T tasks by variable.

    Args:
        rows: T lists, the gradients of each task by all variables.
    """
    return [_column(column) for column in zip(*rows, strict=True)]


def _column(column: Sequence[Gradient]) -> Column:
    given = [g for g in column if g is not None]
    if given and all(isinstance(g, tf.IndexedSlices) for g in given):
        return _joined(column)
    return [dense(g) for g in column]


def _joined(column: Sequence[Gradient]) -> tf.IndexedSlices:
    given = [g for g in column if g is not None]
    zeros = [tf.zeros_like(g.values) for g in given]
    if len({_origin(g.indices) for g in given}) == 1:
        # The tasks read the same lookups, as they do below a shared trunk.
        of_tasks = [zeros[0] if g is None else g.values for g in column]
        return tf.IndexedSlices(tf.stack(of_tasks, axis=1), given[0].indices)
    of_tasks = []
    for gradient in column:
        parts = [g.values if g is gradient else z for g, z in zip(given, zeros, strict=True)]
        of_tasks.append(tf.concat(parts, axis=0))
    indices = tf.concat([tf.cast(g.indices, "int64") for g in given], axis=0)
    return tf.IndexedSlices(tf.stack(of_tasks, axis=1), indices)


def _origin(indices: tf.Tensor) -> tuple | Any:
    """A key that two tensors of indices share only if their entries are the same, in order.

    Each backward pass flattens the indices of a lookup anew, and joins those of several lookups; in
    a graph the operations that did so lead back to the same tensors.
    """
    if tf.executing_eagerly():
        return tuple(indices.numpy().tolist())
    operation = indices.op
    if operation.type in {"Reshape", "Identity"}:  # neither changes the order
        return _origin(operation.inputs[0])
    if operation.type == "ConcatV2" and indices.shape.rank == 1:
        return tuple(_origin(part) for part in operation.inputs[:-1])
    return indices.ref()


def unique(slices: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same gradient with each row at most once, in as many slots as there were.

    Slots that are not needed hold zeros for row 0. All shapes are static where those of `slices`
    are, so that XLA can compile it.
    """
    ids = slices.indices
    order = tf.argsort(ids)
    ids = tf.gather(ids, order)
    starts = tf.concat([tf.zeros_like(ids[:1]), tf.cast(ids[1:] != ids[:-1], ids.dtype)], 0)
    slots = tf.cumsum(starts)
    count = tf.shape(ids)[0] if ids.shape[0] is None else ids.shape[0]
    values = tf.math.unsorted_segment_sum(tf.gather(slices.values, order), slots, count)
    used = tf.range(count, dtype=slots.dtype) <= slots[-1:]
    ids = tf.where(used, tf.math.unsorted_segment_max(ids, slots, count), 0)
    return tf.IndexedSlices(values, ids, slices.dense_shape)


def dense(gradient: Gradient) -> tf.Tensor | None:
    """The gradient as a tensor of its variable's shape."""
    return tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient


def combine(column: Column, weights: Sequence, source: Any) -> Gradient:
    """`sum_i w_i g_i` for one variable; `None` where no task depends on it.

    Args:
        column: the gradients by the variable.
        weights: T scalars.
        source: the variable.
    """
    if isinstance(column, tf.IndexedSlices):
        weights = tf.cast(tf.stack(weights), column.values.dtype)
        values = tf.tensordot(column.values, weights, [[1], [0]])
        shape = tuple(source.shape)
        shape = tf.shape(source) if None in shape else tf.constant(shape)
        return tf.IndexedSlices(values, column.indices, tf.cast(shape, column.indices.dtype))
    terms = [tf.cast(w, g.dtype) * g for w, g in zip(weights, column, strict=True) if g is not None]
    return tf.add_n(terms) if terms else None


def gramian(found: Sequence[Column]) -> tf.Tensor:
    """`G[i, j] = <g_i, g_j>`, accumulated variable by variable.

    Args:
        found: the gradients by each variable, from `columns`.

    Returns:
        `(T, T)`, in float64 where the gradients are, else in float32.

    Raises:
        ValueError: if there is no gradient at all.
    """
    total = summed([products(column) for column in found])
    if total is None:
        raise ValueError("`rows` should hold at least one gradient. Received: only `None`.")
    return total


def summed(parts: Sequence[tf.Tensor | None]) -> tf.Tensor | None:
    """The Gramian that several variables make together; `None` where none has a gradient.

    Args:
        parts: what each of them adds, from `products`.
    """
    given = [part for part in parts if part is not None]
    if not given:
        return None
    total = given[0]
    for part in given[1:]:
        total += part
    return total


def products(column: Column) -> tf.Tensor | None:
    """What one variable or boundary tensor adds to the Gramian; `None` for nothing.

    Args:
        column: the gradients by it, from `columns`.
    """
    if isinstance(column, tf.IndexedSlices):
        values = unique(column).values
        values = tf.cast(values, tf.float64 if values.dtype == tf.float64 else tf.float32)
        tasks = values.shape[1]
        matrix = tf.reshape(tf.experimental.numpy.moveaxis(values, 1, 0), [tasks, -1])
        return tf.matmul(matrix, matrix, transpose_b=True)
    given = [g for g in column if g is not None]
    if not given:
        return None
    dtype = tf.float64 if given[0].dtype == tf.float64 else tf.float32
    flat = [None if g is None else tf.cast(tf.reshape(g, [1, -1]), dtype) for g in column]
    size = given[0].shape.num_elements()
    if len(column) > MANY_TASKS or (size is not None and size < LARGE):
        zero = tf.zeros_like(tf.reshape(given[0], [1, -1]), dtype)
        matrix = tf.concat([zero if g is None else g for g in flat], 0)
        return tf.matmul(matrix, matrix, transpose_b=True)
    zero = tf.zeros([], dtype)
    entries = {}
    for i, a in enumerate(flat):
        for j, b in enumerate(flat[: i + 1]):
            product = zero
            if a is not None and b is not None:
                product = tf.reshape(tf.matmul(a, b, transpose_b=True), [])
            entries[i, j] = entries[j, i] = product
    count = range(len(flat))
    return tf.reshape(tf.stack([entries[i, j] for i in count for j in count]), [len(flat)] * 2)
