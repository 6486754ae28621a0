"""Adapters: their formulas against NumPy, how they start, their precision."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import BottleneckAdapter, LowRankUpdate

RNG = np.random.default_rng(0)
PICTURES = RNG.normal(size=(2, 5, 5, 3)).astype("float32")


def test_a_bottleneck_adds_to_the_identity_over_the_last_axis():
    layer = BottleneckAdapter(2, "tanh", stddev=1.0)
    found = layer(PICTURES)
    w1, b1, w2, b2 = (np.array(v, "float64") for v in layer.variables)
    assert b1.shape == (2,) and b2.shape == (3,)
    expected = PICTURES + np.tanh(PICTURES @ w1 + b1) @ w2 + b2
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_bottleneck_starts_near_the_identity():
    found = BottleneckAdapter(2)(PICTURES)
    assert 0 < np.abs(found - PICTURES).max() < 0.01


def test_low_rank_changes_a_dense_kernel_by_a_product():
    dense = keras.layers.Dense(4, "tanh")
    x = RNG.normal(size=(3, 5)).astype("float32")
    layer = LowRankUpdate(dense_built(dense, 5), rank=2, scale=3.0)
    np.testing.assert_allclose(layer(x), dense(x), rtol=1e-6)  # B is 0
    layer.b.assign(RNG.normal(size=(2, 4)))
    a, b, kernel = (np.array(v, "float64") for v in (layer.a, layer.b, dense.kernel))
    expected = np.tanh(x @ (kernel + 3.0 / 2 * a @ b) + np.array(dense.bias))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def dense_built(dense, width):
    dense.build((None, width))
    return dense


def test_low_rank_changes_a_kernel_of_a_convolution():
    convolution = keras.layers.Conv2D(4, 3, strides=2, padding="same")
    convolution.build((None, 5, 5, 3))
    layer = LowRankUpdate(convolution, rank=2)
    layer(PICTURES)
    assert layer.a.shape == (3 * 3 * 3, 2) and layer.b.shape == (2, 4)
    layer.b.assign(RNG.normal(size=(2, 4)))
    found = layer(PICTURES)
    update = (np.array(layer.a) @ np.array(layer.b)).reshape(3, 3, 3, 4) / 2
    convolution.kernel.assign_add(update)
    np.testing.assert_allclose(found, convolution(PICTURES), rtol=1e-4, atol=1e-5)


def test_configs_rebuild_them():
    for layer in (
        BottleneckAdapter(2, "tanh", name="mine"),
        LowRankUpdate(dense_built(keras.layers.Dense(4), 3), rank=2, scale=0.5, name="mine"),
    ):
        layer(PICTURES[:, 0, 0])
        serialized = keras.saving.serialize_keras_object(layer)
        again = keras.saving.deserialize_keras_object(serialized)
        again(PICTURES[:, 0, 0])
        again.set_weights(layer.get_weights())
        assert again.name == "mine"
        np.testing.assert_array_equal(again(PICTURES[:, 0, 0]), layer(PICTURES[:, 0, 0]))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`units` should be a positive integer"):
        BottleneckAdapter(0)
    with pytest.raises(ValueError, match="`layer` should be a built layer with a kernel"):
        LowRankUpdate(keras.layers.ReLU())
    with pytest.raises(ValueError, match="`rank` should be a positive integer"):
        LowRankUpdate(dense_built(keras.layers.Dense(4), 3), rank=0)


def test_losses_of_the_layer_are_added():
    dense = keras.layers.Dense(2, activity_regularizer=keras.regularizers.L2(0.5))
    dense.build((None, 3))
    layer = LowRankUpdate(dense, rank=2)
    x = RNG.normal(size=(4, 3)).astype("float32")
    outputs = layer(x, training=True)
    (loss,) = layer.losses
    np.testing.assert_allclose(loss, 0.5 * np.sum(np.square(outputs)) / len(x), rtol=1e-5)


def test_inputs_are_not_cast_before_a_layer_that_computes_in_full():
    dense = keras.layers.Dense(2)
    dense.build((None, 3))
    found = LowRankUpdate(dense, rank=2, dtype="mixed_float16")(np.full((4, 3), 1e5, "float32"))
    assert found.dtype == "float32" and np.isfinite(found).all()


@pytest.mark.parametrize("make", [BottleneckAdapter, LowRankUpdate])
def test_masks_are_handed_on(make):
    if make is LowRankUpdate:
        dense = keras.layers.Dense(4)
        dense.build((None, None, 4))
        layer = make(dense, rank=2)
    else:
        layer = make(2)
    ids = keras.Input((5,), dtype="int32")
    adapted = layer(keras.layers.Embedding(9, 4, mask_zero=True)(ids))
    model = keras.Model(ids, keras.layers.GlobalAveragePooling1D()(adapted))
    tokens = keras.Model(ids, adapted)(np.array([[3, 4, 0, 0, 0]]))
    np.testing.assert_allclose(
        model(np.array([[3, 4, 0, 0, 0]]))[0], np.array(tokens)[0, :2].mean(0), rtol=1e-5
    )
