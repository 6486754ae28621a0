"""The Gramian of lists of gradients, slices of embedding tables among them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.gramian import columns, combine, dense, gramian, unique


@pytest.mark.parametrize("size", [3, 300], ids=["small", "large"])
@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_the_gramian_of_lists_is_that_of_the_flat_matrix(size, count, dtype):
    rng = np.random.default_rng(0)
    rows = [
        [rng.normal(size=(size, 60)).astype(dtype), rng.normal(size=7).astype(dtype)]
        for _ in range(count)
    ]
    flat = np.array([np.concatenate([g.ravel() for g in row]) for row in rows], "float64")
    found = gramian(columns([[tf.constant(g) for g in row] for row in rows]))
    assert found.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_allclose(found, flat @ flat.T, rtol=1e-4, atol=1e-2)


def test_a_missing_gradient_is_zero_in_the_gramian():
    one, two = tf.constant([1.0, 2.0]), tf.constant([[3.0]])
    found = gramian(columns([[one, None], [None, two], [one, two], [None, None]]))
    expected = [[5, 0, 5, 0], [0, 9, 9, 0], [5, 9, 14, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(found, expected)


# -- embedding tables -----------------------------------------------------------------------------

TABLE = np.random.default_rng(1).normal(size=(1000, 3))
IDS = tf.constant([[5, 999, 5], [0, 5, 7]])


def readers(table, kind):
    """Losses that look the same rows up, others too, none, and the whole table."""
    taken = tf.gather(table.value, IDS)
    again = tf.gather(table.value, IDS[:, 0] + 1)
    if kind == "joined":  # the same ids in another order: looked up together, and one by one
        first, second = IDS[:, :1], IDS[:, 1:2]
        left, right = tf.gather(table.value, first), tf.gather(table.value, second)
        both = tf.gather(table.value, tf.concat([first, second], axis=1))
        scales = tf.reshape(tf.range(12.0, dtype=table.dtype), [2, 2, 3])
        apart = tf.reduce_sum(left * scales[:, :1]) + tf.reduce_sum(right * scales[:, 1:])
        return [apart, tf.reduce_sum(both * scales**2), tf.reduce_sum(both)]
    if kind == "same":
        return [tf.reduce_sum(taken**2), tf.reduce_sum(taken[0] ** 3), tf.reduce_sum(taken)]
    if kind == "others":
        return [tf.reduce_sum(taken**2), tf.reduce_sum(again**2), tf.reduce_sum(taken * 2)]
    if kind == "both":
        return [tf.reduce_sum(taken) + tf.reduce_sum(again**2), tf.reduce_sum(again * 3), None]
    return [tf.reduce_sum(table.value**2), tf.reduce_sum(taken), tf.reduce_sum(again)]


def gradients_of(kind):
    table = keras.Variable(TABLE, dtype="float64")
    with tf.GradientTape(persistent=True) as tape:
        losses = readers(table, kind)
    return [None if loss is None else tape.gradient(loss, table.value) for loss in losses], table


def found(kind):
    rows, table = gradients_of(kind)
    (column,) = columns([[g] for g in rows])
    weights = tf.constant([2.0, -1.0, 0.5], "float64")
    combined = combine(column, tf.unstack(weights), table)
    single = unique(combined) if isinstance(combined, tf.IndexedSlices) else combined
    return gramian([column]), dense(combined), dense(single)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("kind", ["same", "joined", "others", "both", "whole"])
def test_tables_give_what_their_dense_gradients_give(kind, mode):
    rows, _ = gradients_of(kind)
    flat = np.array([np.zeros(TABLE.size) if g is None else np.ravel(dense(g)) for g in rows])
    if mode == "eager":
        of_gradients = found(kind)
    else:
        # Variables of a function must be made once, outside.
        table = keras.Variable(TABLE, dtype="float64")

        @tf.function(jit_compile=mode == "xla")
        def compute():
            with tf.GradientTape(persistent=True) as tape:
                losses = readers(table, kind)
            rows = [None if loss is None else tape.gradient(loss, table.value) for loss in losses]
            (column,) = columns([[g] for g in rows])
            combined = combine(column, tf.unstack(tf.constant([2.0, -1.0, 0.5])), table)
            sliced = isinstance(combined, tf.IndexedSlices)
            return (
                gramian([column]),
                dense(combined),
                dense(unique(combined) if sliced else combined),
            )

        of_gradients = compute()
    np.testing.assert_allclose(of_gradients[0], flat @ flat.T, rtol=1e-10)
    expected = np.reshape(np.array([2.0, -1.0, 0.5]) @ flat, TABLE.shape)
    for combined in of_gradients[1:]:
        np.testing.assert_allclose(combined, expected, rtol=1e-10, atol=1e-12)


def test_tasks_that_look_the_same_rows_up_share_their_slots():
    """No task costs slots of its own, in a graph as eagerly, nor do rows that are not read."""
    table = keras.Variable(TABLE, dtype="float64")

    @tf.function
    def slots(kind):
        with tf.GradientTape(persistent=True) as tape:
            losses = readers(table, kind)
        (column,) = columns([[tape.gradient(loss, table.value)] for loss in losses])
        return column.values

    assert slots("same").shape == (6, 3, 3)
    assert slots("others").shape == (6 + 2 + 6, 3, 3)
    rows, _ = gradients_of("same")
    (column,) = columns([[g] for g in rows])
    assert column.values.shape == (6, 3, 3)


def test_unique_rows():
    slices = tf.IndexedSlices(
        tf.constant([[1.0], [2.0], [4.0], [8.0]]), tf.constant([7, 3, 7, 3]), tf.constant([9, 1])
    )
    single = unique(slices)
    ids, values = np.array(single.indices), np.array(single.values)[:, 0]
    assert dict(zip(ids[values > 0], values[values > 0], strict=True)) == {3: 10.0, 7: 5.0}
    np.testing.assert_array_equal(dense(single), dense(slices))
    empty = unique(tf.IndexedSlices(tf.zeros([0, 2]), tf.zeros([0], "int64"), tf.constant([9, 2])))
    assert empty.values.shape == (0, 2)


def test_no_table_is_made_dense_for_the_gramian():
    """The step holds no tensor of the size of the table but the variable itself."""
    table = keras.Variable(TABLE, dtype="float64")

    @tf.function
    def compute():
        with tf.GradientTape(persistent=True) as tape:
            losses = readers(table, "others")
        found = columns([[tape.gradient(loss, table.value)] for loss in losses])
        return gramian(found)

    graph = compute.get_concrete_function().graph
    large = [
        operation.type
        for operation in graph.get_operations()
        for tensor in operation.outputs
        if tensor.shape.rank is not None and tensor.shape[:1] == [1000]
    ]
    assert set(large) <= {"ReadVariableOp"}
