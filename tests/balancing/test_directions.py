"""Eigenvalues of two gradients in closed form, against NumPy's on the gradients themselves."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets

from mtlzoo.balancing.directions import eigen


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_are_in_closed_form(dtype):
    eps = np.finfo(dtype).eps
    solve = tf.function(eigen)
    for seed in range(3):
        for name, gradients in gradient_sets(2, seed).items():
            gramian = (gradients @ gradients.T).astype(dtype)
            values, vectors = (part.numpy() for part in solve(tf.constant(gramian)))
            assert values.dtype == vectors.dtype == dtype
            np.testing.assert_allclose(vectors.T @ vectors, np.eye(2), atol=4 * eps)
            rebuilt = vectors @ np.diag(values) @ vectors.T
            bound = 8 * eps * np.abs(gramian).max()
            np.testing.assert_allclose(rebuilt, gramian, rtol=0, atol=bound, err_msg=name)
            assert values[0] <= values[1]


def test_the_lesser_of_two_far_apart_is_not_lost():
    gradients = np.array([[1e8, 0.0], [0.6, 0.8]])
    values, _ = eigen(tf.constant(gradients @ gradients.T))
    np.testing.assert_allclose(values, np.linalg.svd(gradients)[1][::-1] ** 2, rtol=1e-6)
