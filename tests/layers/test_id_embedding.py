"""Embeddings of ids in and out of their table."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.layers import IdEmbedding

TABLE = np.arange(10.0).reshape(5, 2)


def layer(**arguments):
    made = IdEmbedding(5, 2, **arguments)
    made.build()
    made.embeddings.assign(TABLE)
    return made


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float32"])
def test_an_id_outside_is_read_as_0(dtype):
    ids = np.array([[0, 1, 4], [5, 100, 4]])
    expected = TABLE[[[0, 1, 4], [0, 0, 4]]]
    made = layer()
    np.testing.assert_array_equal(made(ids.astype(dtype)), expected)
    in_graph = tf.function(made, jit_compile=True)
    np.testing.assert_array_equal(in_graph(tf.constant(ids.astype(dtype))), expected)
    if dtype != "uint8":
        negative = np.array([-1, -5, 3]).astype(dtype)
        np.testing.assert_array_equal(made(negative), TABLE[[0, 0, 3]])


def test_ids_that_do_not_fit_into_32_bits_are_outside():
    """Cut to 32 bits they would be 1 and 3."""
    ids = np.array([2**32 + 1, 2**40 + 3, -(2**32) + 1, 2])
    np.testing.assert_array_equal(layer()(ids), TABLE[[0, 0, 0, 2]])


def test_more_rows_than_the_type_of_the_ids_counts():
    made = IdEmbedding(300, 1)
    found = made(np.array([7, 255], "uint8"))
    np.testing.assert_array_equal(found, made.embeddings.numpy()[[7, 255]])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_of_rows_not_of_ids(policy):
    """bfloat16 has no 301, float16 no 2049."""
    made = IdEmbedding(3000, 1, dtype=policy)
    made.build()
    made.embeddings.assign(np.arange(3000.0)[:, None] / 4096)
    found = made(np.array([301.0, 2049.0, 3000.0], "float32"))
    assert keras.backend.standardize_dtype(found.dtype) == policy.removeprefix("mixed_")
    assert made.embeddings.dtype == "float32"
    expected = np.array([301.0, 2049.0, 0.0]) / 4096
    cut = tf.cast(tf.constant(expected), found.dtype)
    np.testing.assert_array_equal(tf.cast(found[:, 0], "float32"), tf.cast(cut, "float32"))


def test_gradients_of_ids_outside_go_to_row_0():
    made = layer()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(made(np.array([7, -2, 3])))
    gradient = np.asarray(tf.convert_to_tensor(tape.gradient(total, made.embeddings.value)))
    np.testing.assert_array_equal(gradient[:, 0], [2, 0, 0, 1, 0])


def test_masks():
    ids = np.array([[0, 1, 5, -1, 4]])
    np.testing.assert_array_equal(
        layer(mask_zero=True).compute_mask(ids), [[False, True, False, False, True]]
    )
    assert layer().compute_mask(ids) is None
    inputs = keras.Input((5,), dtype="int32")
    pooled = keras.layers.GlobalAveragePooling1D()(layer(mask_zero=True)(inputs))
    found = keras.Model(inputs, pooled)(ids)
    np.testing.assert_allclose(found, TABLE[[1, 4]].mean(0)[None])


def test_config():
    made = layer(mask_zero=True, embeddings_initializer="zeros", name="ids", dtype="float64")
    again = IdEmbedding.from_config(made.get_config())
    assert again.get_config() == made.get_config()
    assert (again.input_dim, again.output_dim, again.mask_zero) == (5, 2, True)
    assert again.compute_output_shape((None, 3)) == (None, 3, 2)
    assert keras.saving.get_registered_name(IdEmbedding) == "mtlzoo>IdEmbedding"
