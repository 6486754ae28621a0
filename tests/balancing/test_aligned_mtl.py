"""AlignedMTL against the singular value decomposition of the gradients themselves."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, tasks

from mtlzoo.balancing import AlignedMTL

SCALES = ["min", "median", "rmse"]


def aligned(gradients, scale, preference=None):
    """The mean of the polar factor's rows, times the singular value that `scale` says."""
    size = len(gradients)
    left, values, right = np.linalg.svd(gradients, full_matrices=False)
    there = values > 1e-12 * values.max()
    left, values, right = left[:, there], values[there], right[there]
    if scale == "rmse":
        factor = np.sqrt(np.mean(values**2))
    else:  # the values are in descending order
        factor = values[-1] if scale == "min" else values[len(values) // 2]
    preference = np.full(size, 1 / size) if preference is None else preference
    return factor * preference @ left @ right


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("size", [2, 3, 8, 16])
@pytest.mark.parametrize("scale", SCALES)
def test_is_the_mean_of_the_polar_factor(size, scale):
    solve = tf.function(AlignedMTL(scale).weights)
    for seed in range(3):
        for name in ("plain", "wide", "positive", "low rank", "rank 1", "sum to zero", "all equal"):
            gradients = gradient_sets(size, seed)[name]
            if name == "rank 1":
                gradients = np.abs(gradients)  # else the mean may be zero
            expected = aligned(gradients, scale)
            if np.linalg.norm(expected) < 1e-9:
                continue  # two tasks that sum to zero
            for dtype in ("float32", "float64"):
                weights = solve(tf.constant(gradients @ gradients.T, dtype)).numpy()
                error = relative(weights.astype("float64") @ gradients, expected)
                bound = 1e-10 if dtype == "float64" else 1e-4
                assert error < bound, (name, dtype, error)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [2, 3, 8])
def test_short_gradients_are_not_lost(size, dtype):
    rng = np.random.default_rng(size)
    for span in (1e2, 1e4, 1e6):
        lengths = span ** rng.permutation(np.linspace(-0.5, 0.5, size))
        gradients = gradient_sets(size)["wide"] * lengths[:, None]
        expected = aligned(gradients, "min")
        weights = AlignedMTL().weights((gradients @ gradients.T).astype(dtype)).astype("float64")
        # float64 knows the least eigenvalue to 1e-16 span² of itself.
        bound = (1e-4 if dtype == "float32" else 1e-10) + 1e-15 * span**2
        assert relative(weights @ gradients, expected) < bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copy_of_a_gradient_is_no_component_of_its_own(dtype):
    gradients = gradient_sets(3)["plain"]
    doubled = np.concatenate([1e3 * gradients[:1], gradients])
    expected = aligned(doubled, "min")
    weights = AlignedMTL().weights((doubled @ doubled.T).astype(dtype)).astype("float64")
    assert relative(weights @ doubled, expected) < (1e-4 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_every_task_gains_its_share_of_the_aligned_gradients(scale):
    method = AlignedMTL(scale, preference={"a": 1.0, "b": 0.0, "c": 3.0})
    method.build(tasks(a="regression", b="regression", c="regression"))
    gradients = gradient_sets(3)["plain"]
    update = method.weights(gradients @ gradients.T) @ gradients
    expected = aligned(gradients, scale, np.array([0.25, 0, 0.75]))
    np.testing.assert_allclose(update, expected, rtol=1e-9)
    left, _, right = np.linalg.svd(gradients, full_matrices=False)
    gains = (left @ right) @ update
    np.testing.assert_allclose(gains / gains.sum(), [0.25, 0, 0.75], atol=1e-12)


def test_orthogonal_gradients_in_closed_form():
    gramian = np.diag([1.0, 4.0, 9.0, 16.0])
    inverse = 1 / np.array([1.0, 2.0, 3.0, 4.0]) / 4
    np.testing.assert_allclose(AlignedMTL("min").weights(gramian), inverse, rtol=1e-12)
    np.testing.assert_allclose(AlignedMTL("median").weights(gramian), 2 * inverse, rtol=1e-12)
    rmse = np.sqrt(7.5) * inverse
    np.testing.assert_allclose(AlignedMTL("rmse").weights(gramian), rmse, rtol=1e-12)
    # The median is that of the components that are there.
    some = np.diag([0.0, 0.0, 4.0, 9.0, 16.0])
    expected = 3 / 5 * np.array([0, 0, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(AlignedMTL("median").weights(some), expected, rtol=1e-12)


def test_golden_values():
    gramian = np.array([[1.0, -0.5, 0.2], [-0.5, 2.0, -0.8], [0.2, -0.8, 1.5]])
    expected = [0.344163296987, 0.332906096377, 0.311431001800]
    np.testing.assert_allclose(AlignedMTL().weights(gramian), expected, rtol=1e-8)


def test_orthonormal_gradients_are_averaged_and_nothing_is_nothing():
    np.testing.assert_allclose(AlignedMTL().weights(np.eye(4)), np.full(4, 0.25), rtol=1e-12)
    for scale in SCALES:
        np.testing.assert_array_equal(AlignedMTL(scale).weights(np.zeros((3, 3))), np.zeros(3))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"one of \['min', 'median', 'rmse'\].*`scale='max'`"):
        AlignedMTL("max")
    with pytest.raises(ValueError, match=r"`preference` should be a dict by task name"):
        AlignedMTL(preference={"a": -1.0})
    with pytest.raises(ValueError, match=r"`AlignedMTL` with `preference` should be built"):
        AlignedMTL(preference={"a": 1.0, "b": 1.0}).weights(np.eye(2))
