"""The projection onto the simplex against a quadratic program."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import brentq

from mtlzoo.balancing.simplex import nearest_on_simplex


def nearest(point):
    """The level that makes the sum one, by bisection."""
    level = brentq(
        lambda level: np.maximum(point - level, 0).sum() - 1, point.min() - 2, point.max()
    )
    return np.maximum(point - level, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_is_the_nearest_point(size, dtype):
    rng = np.random.default_rng(0)
    for scale in (1e-6, 0.1, 1.0, 100.0):
        points = rng.normal(size=(20, size)) * scale
        found = nearest_on_simplex(tf.constant(points, dtype), tf.ones((20, size), bool)).numpy()
        expected = np.array([nearest(point) for point in points.astype(dtype).astype(float)])
        np.testing.assert_allclose(found, expected, atol=1e-6 if dtype == "float32" else 1e-13)


def test_absent_tasks_are_left_out():
    point = np.array([5.0, 0.3, 0.1, 0.2])
    present = np.array([False, True, True, True])
    found = nearest_on_simplex(tf.constant(point), tf.constant(present)).numpy()
    np.testing.assert_allclose(found, [0, *nearest(point[1:])], atol=1e-12)
    nobody = nearest_on_simplex(tf.constant(point), tf.zeros(4, bool)).numpy()
    np.testing.assert_array_equal(nobody, np.zeros(4))


@pytest.mark.parametrize("jit", [False, True])
def test_extremes_and_modes(jit):
    project = tf.function(nearest_on_simplex, jit_compile=jit)
    for point, expected in (
        ([1e30, 0.0, -1e30], [1, 0, 0]),
        ([2.0, 2.0, 2.0], [1 / 3] * 3),
        ([1.0, 0.0, 0.0], [1, 0, 0]),
        ([0.5, 0.5, -0.1], [0.5, 0.5, 0]),
        ([-7.0, -7.5, -20.0], [0.75, 0.25, 0]),
    ):
        found = project(tf.constant(point, "float32"), tf.ones(3, bool)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
