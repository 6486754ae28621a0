"""ConFIG against the pseudo-inverse of the unit gradients."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, tasks

from mtlzoo.balancing import IMTLG, ConFIG


def conflict_free(gradients, preference):
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    units = np.divide(gradients, lengths, out=np.zeros_like(gradients), where=lengths > 0)
    direction = np.linalg.pinv(units, rcond=1e-7) @ preference
    direction /= np.linalg.norm(direction)
    return (gradients @ direction).sum() * direction


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("size", [2, 3, 8, 16])
def test_is_the_paper_s_update(size):
    solve = tf.function(ConFIG().weights)
    for seed in range(3):
        sets = gradient_sets(size, seed)
        for name in ("plain", "wide", "almost aligned", "positive", "all equal", "one zero"):
            gradients = sets[name]
            expected = conflict_free(gradients, np.ones(size))
            for dtype in ("float32", "float64"):
                found = solve(tf.constant(gradients @ gradients.T, dtype)).numpy()
                error = relative(found.astype("float64") @ gradients, expected)
                bound = 1e-9 if dtype == "float64" else 1e-4
                assert error < bound, (name, dtype, error)


@pytest.mark.parametrize("name", ["low rank", "rank 1", "scales", "duplicate, far apart"])
@pytest.mark.parametrize("size", [3, 8])
def test_dependent_gradients_and_far_scales(name, size):
    gradients = gradient_sets(size)[name]
    if name == "rank 1":
        gradients = np.abs(gradients)
    expected = conflict_free(gradients, np.ones(size))
    update = ConFIG().weights(gradients @ gradients.T) @ gradients
    assert relative(update, expected) < 1e-7


@pytest.mark.parametrize("size", [2, 5])
def test_cosines_stand_in_the_wanted_proportion(size):
    names = "abcde"[:size]
    numbers = np.arange(1.0, size + 1)
    method = ConFIG(preference=dict(zip(names, numbers, strict=True)))
    method.build(tasks(**dict.fromkeys(names, "regression")))
    gradients = gradient_sets(size)["plain"]
    update = method.weights(gradients @ gradients.T) @ gradients
    assert relative(update, conflict_free(gradients, numbers)) < 1e-10
    cosines = gradients @ update / np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose(cosines / cosines[0], numbers, rtol=1e-9)
    assert cosines[0] > 0


@pytest.mark.parametrize("size", [2, 3, 8])
def test_has_the_direction_of_imtl_g(size):
    gradients = gradient_sets(size)["wide"] * np.arange(1, size + 1)[:, None]
    gramian = gradients @ gradients.T
    one, other = ConFIG().weights(gramian), IMTLG().weights(gramian)
    np.testing.assert_allclose(one / one.sum(), other, rtol=1e-10)


def test_golden_values():
    gramian = np.array([[4.0, -1.0], [-1.0, 1.0]])  # lengths 2 and 1, cosine -1/2
    # parts 2 and 2, |direction|² = 4, Σ gᵢ·direction = 3: weights 2 · 3/4 over the lengths.
    np.testing.assert_allclose(ConFIG().weights(gramian), [0.75, 1.5], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_that_cancel_have_no_update(dtype):
    gramian = np.array([[1.0, -3.0], [-3.0, 9.0]]).astype(dtype)
    np.testing.assert_array_equal(ConFIG().weights(gramian), [0, 0])
    np.testing.assert_array_equal(ConFIG().weights(np.zeros((3, 3), dtype)), np.zeros(3))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"`preference` should be a dict by task name"):
        ConFIG(preference={})
    with pytest.raises(ValueError, match=r"`ConFIG` with `preference` should be built"):
        ConFIG(preference={"a": 1.0, "b": 1.0}).weights(np.eye(2))
