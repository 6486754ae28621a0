"""The pure step of Adam against Keras's optimizer, and against its own formula with pauses."""

import keras
import numpy as np
from loss_cases import Adam

from mtlzoo.balancing.adam import Moments, adam_step


def test_is_keras_s_adam():
    rng = np.random.default_rng(0)
    variable = keras.Variable(rng.normal(size=5), dtype="float32")
    # Keras divides by √v + ε before the correction of v, so that ε counts differently.
    optimizer = keras.optimizers.Adam(0.1, epsilon=1e-12)
    value, moments = np.array(variable), Moments(*np.zeros((3, 5), "float32"))
    for _ in range(20):
        gradient = rng.normal(size=5).astype("float32")
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        value, moments = adam_step(value, gradient, moments, 0.1, np.ones(5, bool))
    np.testing.assert_allclose(value, variable, rtol=1e-4, atol=1e-5)


def test_entries_that_do_not_move_keep_all_that_they_have():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(2, 3))
    reference = Adam(start, 0.05)
    value, moments = start, Moments(*np.zeros((3, 2, 3)))
    for _ in range(20):
        gradient, moves = (
            rng.normal(size=(2, 3)) * 10.0 ** rng.integers(-8, 8),
            rng.random((2, 3)) < 0.5,
        )
        reference.step(gradient, moves)
        value, moments = adam_step(value, gradient, moments, 0.05, moves)
        np.testing.assert_allclose(value, reference.value, rtol=1e-10)
    np.testing.assert_allclose(moments.first, reference.first, rtol=1e-10)
    np.testing.assert_allclose(moments.second, reference.second, rtol=1e-10)
    np.testing.assert_array_equal(moments.count, reference.count)


def test_the_first_step_is_the_learning_rate_and_a_zero_gradient_is_none():
    zeros = Moments(*np.zeros((3, 3)))
    gradient = np.array([1e-3, -1e8, 0.0])
    value, _ = adam_step(np.zeros(3), gradient, zeros, 0.1, np.ones(3, bool))
    np.testing.assert_allclose(value, [-0.1, 0.1, 0.0], rtol=1e-4)
