"""Where a network looks."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import AttentionMap


def reference(features):
    squares = (features**2).mean(-1)
    axes = tuple(range(1, squares.ndim))
    return squares / np.sqrt((squares**2).sum(axes, keepdims=True))


@pytest.mark.parametrize("shape", [(4, 5, 3), (6, 3)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e8])
def test_it_is_the_normalized_mean_square(shape, scale):
    features = scale * np.random.default_rng(0).normal(size=(2, *shape))
    found = AttentionMap(dtype="float64")(features)
    np.testing.assert_allclose(found, reference(features), rtol=1e-9)
    np.testing.assert_allclose(AttentionMap()(features), reference(features), rtol=1e-4)
    assert AttentionMap().compute_output_shape((None, *shape)) == (None, *shape[:-1])


def test_nothing_to_look_at():
    import tensorflow as tf

    features = tf.Variable(tf.zeros((1, 2, 2, 3)))
    with tf.GradientTape() as tape:
        found = AttentionMap()(features)
        total = keras.ops.sum(found)
    assert not found.numpy().any()
    assert np.isfinite(tape.gradient(total, features)).all()


def test_half_precision_does_not_overflow():
    features = np.full((1, 8, 8, 4), 6e4, "float16")
    found = AttentionMap(dtype="float16")(features)
    np.testing.assert_allclose(found, np.full((1, 8, 8), 1 / 8), rtol=1e-2)
