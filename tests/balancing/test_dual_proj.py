"""DualProj against SciPy's non-negative least squares on the gradients themselves."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, tasks, without_conflict

from mtlzoo.balancing import DualProj, UPGrad

# As in the tests of UPGrad: directions with an eigenvalue as small as float32's rounding.
LOOSE = {"ill-conditioned": 1e-2, "low rank": 1e-2}


def pointed(size, seed=0):
    """Gradients with one far longer than the others, so that their mean has conflicts."""
    gradients = gradient_sets(size, seed)["wide"][:, : 2 * size]
    return gradients * np.where(np.arange(size) == 0, 10.0, 1.0)[:, None]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("size", [2, 3, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_is_the_projection_of_the_mean(size, dtype):
    method = DualProj()
    solve = tf.function(method.weights)
    conflicts = 0
    for seed in range(3):
        for name, gradients in {
            **gradient_sets(size, seed),
            "pointed": pointed(size, seed),
        }.items():
            weights = solve(tf.constant((gradients @ gradients.T).astype(dtype)))
            mean = gradients.mean(0)
            update, expected = weights.numpy() @ gradients, without_conflict(gradients, mean)
            conflicts += np.any(gradients @ mean < -1e-3)
            longest = np.linalg.norm(gradients, axis=1).max()
            if name in ("plain", "wide", "positive", "almost aligned", "pointed"):
                error = np.linalg.norm(update - expected) / np.linalg.norm(expected)
                bound = 1e-4 if dtype == "float32" else 1e-6
            else:  # the update can be zero, or as short as rounding of the longest gradient
                error = np.linalg.norm(update - expected) / max(longest, 1e-300)
                bound = LOOSE.get(name, 2e-5) if dtype == "float32" else 1e-11
            assert error < bound, f"{name}, seed {seed}: {error}"
    assert conflicts > 6


@pytest.mark.parametrize("size", [2, 3, 8])
def test_without_conflict_it_is_the_mean(size):
    for name in ("positive", "all equal", "all zero", "almost aligned"):
        gradients = gradient_sets(size)[name]
        assert np.all(gradients @ gradients.mean(0) >= 0)
        np.testing.assert_array_equal(
            DualProj().weights(gradients @ gradients.T), np.full(size, 1 / size)
        )


@pytest.mark.parametrize("size", [2, 3, 8])
def test_is_never_longer_than_the_mean(size):
    for name, gradients in gradient_sets(size).items():
        gramian = gradients @ gradients.T
        square = np.sum(gradients.mean(0) ** 2)
        weights = DualProj().weights(gramian)
        assert weights @ gramian @ weights <= square + 1e-12 * gramian.max(), name


def test_with_all_preference_on_one_task_it_is_upgrad():
    names = ("a", "b", "c")
    gradients = gradient_sets(3, seed=3)["sum to zero"]
    gramian = gradients @ gradients.T
    for name in names:
        preference = {other: float(other == name) for other in names}
        updates = []
        for method in (DualProj(preference), UPGrad(preference)):
            method.build(tasks(**dict.fromkeys(names, "regression")))
            updates.append(method.weights(gramian) @ gradients)
        np.testing.assert_allclose(updates[0], updates[1], atol=1e-13)
        expected = without_conflict(gradients, gradients[names.index(name)])
        np.testing.assert_allclose(updates[0], expected, atol=1e-12)


def test_golden_values():
    # The mean has the inner products 1 and -1/4 with the gradients; -1/4 is taken away by 1/6 g₂.
    np.testing.assert_allclose(
        DualProj().weights(np.array([[4.0, -2.0], [-2.0, 1.5]])), [0.5, 2 / 3], rtol=1e-14
    )
    # Of three, the mean conflicts with two.
    gramian = np.array([[4.0, -1.2, -0.7], [-1.2, 1.1, -0.1], [-0.7, -0.1, 0.5]])
    inner = gramian.mean(0)
    assert np.all(inner[1:] < 0)
    moved = np.linalg.solve(gramian[1:, 1:], -inner[1:])
    assert np.all(moved > 0)
    expected = np.array([0, *moved]) + 1 / 3
    np.testing.assert_allclose(DualProj().weights(gramian), expected, rtol=1e-12)


def test_preferences_are_checked():
    with pytest.raises(ValueError, match=r"`preference` should be a dict.*`preference=\{'a': -1\}"):
        DualProj(preference={"a": -1})
    method = DualProj(preference={"a": 1.0, "b": 2.0})
    with pytest.raises(ValueError, match=r"`DualProj` with `preference` should be built"):
        method.weights(np.eye(2))
    method.build(tasks(a="regression", b="regression"))
    np.testing.assert_allclose(method.weights(np.eye(2)), [1 / 3, 2 / 3])
    assert DualProj.from_config(method.get_config()).preference == {"a": 1.0, "b": 2.0}
