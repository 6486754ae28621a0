"""BlendedStage: blended weights, exact gradients, in any mode and precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtlzoo.layers import BlendedStage


def part(width=2, seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(width, "tanh")])


def blended(sharing, **arguments):
    return BlendedStage(part(seed=1), part(seed=2), sharing, **arguments)


X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


@pytest.mark.parametrize("xla", [False, True])
def test_gradients_are_those_of_the_blend(xla):
    layer = blended("learned")
    layer(X)
    layer.logit.assign(0.8)

    @tf.function(jit_compile=xla)
    def gradients():
        with tf.GradientTape() as tape:
            output = layer(X, training=True)
            total = ops.sum(output**2)
        sources = [layer.own.variables[0], layer.shared.variables[0], layer.logit]
        return output, tape.gradient(total, [v.value for v in sources])

    output, (by_own, by_shared, by_logit) = gradients()
    alpha = 1 / (1 + np.exp(-0.8))
    own, shared = (np.array(p.variables[0], "float64") for p in (layer.own, layer.shared))
    expected = np.tanh(X @ (alpha * shared + (1 - alpha) * own))
    np.testing.assert_allclose(output, expected, rtol=1e-5)
    by_kernel = X.T @ (2 * expected * (1 - expected**2))
    np.testing.assert_allclose(by_own, (1 - alpha) * by_kernel, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(by_shared, alpha * by_kernel, rtol=1e-4, atol=1e-6)
    by_alpha = (by_kernel * (shared - own)).sum()
    np.testing.assert_allclose(by_logit, alpha * (1 - alpha) * by_alpha, rtol=1e-4)


def test_only_the_own_state_moves_and_only_in_training():
    def normalized():
        return keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization()])

    layer = BlendedStage(normalized(), normalized(), 0.5)
    layer(X)
    np.testing.assert_array_equal(layer.own.non_trainable_variables[0], np.zeros(3))
    layer(X, training=True)
    found = layer.own.non_trainable_variables[0]
    np.testing.assert_allclose(found, 0.01 * X.mean(0), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(layer.shared.non_trainable_variables[0], np.zeros(3))


def test_frozen_weights_are_still_blended():
    layer = blended(0.25)
    expected = layer(X)
    layer.trainable = False
    np.testing.assert_array_equal(layer(X), expected)
    assert not layer.trainable_variables


def test_weights_are_blended_in_single_precision():
    keras.config.set_dtype_policy("mixed_float16")
    layer = blended(0.5)
    keras.config.set_dtype_policy("float32")
    own, shared = layer.own.variables[0], layer.shared.variables[0]
    own.assign(np.full((3, 2), 1e5))  # not a number of float16
    shared.assign(np.full((3, 2), -1e5 + 2.0))
    assert layer(X).dtype == "float16"
    expected = np.tanh(X.sum(1, keepdims=True) * np.ones((1, 2)))
    np.testing.assert_allclose(layer(X), expected, atol=0.01)


def test_the_config_rebuilds_it():
    for sharing in (0.5, (1.0, 0.0, 5), keras.optimizers.schedules.CosineDecay(1.0, 5), "learned"):
        layer = blended(sharing, name="mine")
        layer(X, training=True)
        again = BlendedStage.from_config(layer.get_config())
        again(X)
        again.set_weights(layer.get_weights())
        np.testing.assert_array_equal(again(X), layer(X))
        assert again.strength() == layer.strength()


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`shared` should have variables of the shapes of those"):
        BlendedStage(part(2), part(3))


def regularized(scale):
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(2, activity_regularizer=keras.regularizers.L2(scale))
    return keras.Sequential([keras.Input((3,)), layer])


def test_losses_of_the_layers_inside_are_added():
    layer = BlendedStage(regularized(0.5), regularized(0.5), 0.5)
    outputs = layer(X, training=True)
    (loss,) = layer.losses
    np.testing.assert_allclose(loss, 0.5 * np.sum(np.square(outputs)) / len(X), rtol=1e-5)


def test_inputs_are_not_cast_before_a_part_that_computes_in_full():
    layer = blended(0.5, dtype="mixed_float16")  # around parts in float32
    found = layer(X + 1e5)  # not a number of float16
    assert found.dtype == "float32" and np.isfinite(found).all()
