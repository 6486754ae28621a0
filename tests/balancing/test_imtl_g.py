"""IMTLG against the equations of the paper, solved on the gradients themselves."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets

from mtlzoo.balancing import IMTLG


def impartial(gradients):
    """The paper's T − 1 equations, relative to the first task."""
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    size = len(gradients)
    equations = np.concatenate([(units[:1] - units[1:]) @ gradients.T, np.ones((1, size))])
    return np.linalg.solve(equations, np.eye(size)[-1])


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("size", [2, 3, 8, 16])
def test_solves_the_equations(size):
    solve = tf.function(IMTLG().weights)
    tested = 0
    for seed in range(4):
        for name in ("plain", "wide", "almost aligned", "positive", "short first"):
            gradients = gradient_sets(size, seed).get(name)
            if name == "short first":
                gradients = gradient_sets(size, seed)["wide"].copy()
                gradients[0] *= 1e-6
            weights = impartial(gradients)
            if not 0 < np.abs(weights).sum() < 900:
                continue
            units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
            if units[0] @ (weights @ gradients) < 0:
                continue  # uphill for all: see below
            tested += 1
            for dtype in ("float32", "float64"):
                found = solve(tf.constant(gradients @ gradients.T, dtype)).numpy()
                found = found.astype("float64")
                error = relative(found @ gradients, weights @ gradients)
                bound = 1e-9 if dtype == "float64" else 1e-4
                assert error < bound, (name, dtype, error)
                assert found.sum() == pytest.approx(1.0, abs=1e-4 if dtype == "float32" else 1e-10)
    assert tested >= 12


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_direction_does_not_depend_on_lengths(size):
    gradients = gradient_sets(size)["wide"]
    lengths = 10.0 ** np.linspace(-8, 8, size)
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    rows = gradients * lengths[:, None]
    for dtype, bound in (("float32", 1e-5), ("float64", 1e-10)):
        update = IMTLG().weights((rows @ rows.T).astype(dtype)).astype("float64") @ rows
        gains = units @ update
        np.testing.assert_allclose(gains, gains[0], rtol=bound)
        assert gains[0] > 0


def test_two_tasks_in_closed_form():
    # For two tasks, w₁ : w₂ = |g₂| : |g₁|, whatever their angle.
    for cosine in (-0.9, 0.0, 0.9):
        gramian = np.array([[1.0, 3 * cosine], [3 * cosine, 9.0]])
        np.testing.assert_allclose(IMTLG().weights(gramian), [0.75, 0.25], rtol=1e-12)


def test_golden_values():
    gramian = np.array([[1.0, -0.5, 0.2], [-0.5, 2.0, -0.8], [0.2, -0.8, 1.5]])
    weights = IMTLG().weights(gramian)
    gains = gramian @ weights / np.sqrt(np.diag(gramian))
    np.testing.assert_allclose(gains, gains[0], rtol=1e-12)
    expected = [0.324642217848, 0.356928447543, 0.318429334609]
    np.testing.assert_allclose(weights, expected, rtol=1e-9)


def test_dependent_gradients_have_the_least_squares_solution():
    gradients = gradient_sets(3)["plain"]
    doubled = np.concatenate([gradients[:1], gradients])
    for dtype, bound in (("float32", 1e-4), ("float64", 1e-10)):
        weights = IMTLG().weights((doubled @ doubled.T).astype(dtype)).astype("float64")
        # The two copies share what the one had; only the direction is the same for both problems.
        units = doubled / np.linalg.norm(doubled, axis=1, keepdims=True)
        gains = units @ (weights @ doubled)
        np.testing.assert_allclose(gains, gains[0], rtol=bound)
        assert weights[0] == pytest.approx(weights[1], rel=bound)
    zero = np.concatenate([np.zeros((1, 8)), gradients])
    weights = IMTLG().weights(zero @ zero.T)
    np.testing.assert_allclose(weights, [0, *IMTLG().weights(gradients @ gradients.T)], rtol=1e-9)


def test_a_sum_that_is_not_positive_gives_equal_weights():
    # Two gradients close together and one between them, off to the side: it has a negative part.
    units = np.array([[1.0, 0.2, 0.0], [1.0, -0.2, 0.0], [1.0, 0.0, 0.05]])
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    parts = np.linalg.solve(units @ units.T, np.ones(3))
    negative = int(np.argmin(parts))
    assert parts[negative] < 0 < np.delete(parts, negative).min()
    rest = np.delete(parts, negative).sum()
    for total in (0.5, 0.01, 1e-4, 0.0, -0.5):
        lengths = np.ones(3)
        lengths[negative] = -parts[negative] / (rest * (1 - total))
        gradients = units * lengths[:, None]
        weights = IMTLG().weights(gradients @ gradients.T)
        assert weights.sum() == pytest.approx(1.0)
        if total >= 0.01:
            np.testing.assert_allclose(weights, impartial(gradients), rtol=1e-8)
        else:
            np.testing.assert_allclose(weights, np.full(3, 1 / 3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_opposite_or_equal_gradients_have_the_weights_of_the_closed_form(dtype):
    for cosine in (-1.0, 1.0):
        gramian = np.array([[1.0, 3 * cosine], [3 * cosine, 9.0]], dtype)
        np.testing.assert_allclose(IMTLG().weights(gramian), [0.75, 0.25], rtol=1e-6)
        # The same where there is a zero gradient or an absent task beside them, and in batches.
        three = np.zeros((3, 3), dtype)
        three[np.ix_([0, 2], [0, 2])] = gramian
        np.testing.assert_allclose(IMTLG().weights(three), [0.75, 0, 0.25], rtol=1e-6)
        three[1, 1] = 5.0
        found = IMTLG().weights(np.stack([three] * 2), present=[True, False, True])
        np.testing.assert_allclose(found, [[0.75, 0, 0.25]] * 2, rtol=1e-6)
    np.testing.assert_allclose(IMTLG().weights(np.zeros((4, 4))), np.full(4, 0.25))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("size", [3, 4, 8])
def test_the_only_solution_of_dependent_gradients_has_a_zero_update(size):
    """Of T gradients in T − 1 dimensions the paper's equations have one solution."""
    solve = tf.function(IMTLG().weights)
    tested = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        units = rng.normal(size=(size, size - 1))
        gradients = units * 10.0 ** rng.uniform(-2, 2, size=(size, 1))
        expected = impartial(gradients)
        kernel = np.linalg.svd(gradients / np.linalg.norm(gradients, axis=1)[:, None])[0][:, -1]
        if np.abs(expected).sum() > 100 or np.abs(kernel.sum()) < 0.1:
            continue
        tested += 1
        for dtype, bound in (("float32", 1e-4), ("float64", 1e-9)):
            weights = solve(tf.constant(gradients @ gradients.T, dtype)).numpy().astype("float64")
            assert relative(weights, expected) < bound
            parts = np.abs(weights) @ np.linalg.norm(gradients, axis=1)
            assert np.linalg.norm(weights @ gradients) < bound * parts
    assert tested >= 5


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_of_several_solutions_it_is_that_of_nearly_dependent_gradients(rank):
    tested = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        gradients = rng.normal(size=(5, rank))
        lengths = np.linalg.norm(gradients, axis=1)
        cosines = (gradients / lengths[:, None]) @ (gradients / lengths[:, None]).T
        # The same with a length of 1e-4 for each in a dimension of its own.
        expected = np.linalg.solve(cosines + 1e-8 * np.eye(5), np.ones(5)) / lengths
        if np.abs(expected).sum() > 50 * abs(expected.sum()):
            continue
        tested += 1
        expected /= expected.sum()
        gramian = gradients @ gradients.T
        for dtype in ("float32", "float64"):
            weights = IMTLG().weights(gramian.astype(dtype)).astype("float64")
            assert relative(weights, expected) < 1e-4
            assert np.linalg.norm(weights @ gradients) < 1e-5 * (np.abs(weights) @ lengths)
    assert tested >= 4


def test_copies_and_an_opposite_gradient_share_the_weight():
    gradients = np.array([[1.0], [1.0], [-1.0]])
    for lengths in ([1, 1, 1], [1, 1e4, 1e-4]):
        rows = gradients * np.array(lengths)[:, None]
        weights = IMTLG().weights(rows @ rows.T)
        # Parts (1, 1, 2) of unit vectors, which cancel.
        expected = np.array([1, 1, 2]) / lengths
        np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_do_not_jump_where_gradients_become_dependent(dtype):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(3, 2))
    before = IMTLG().weights((gradients @ gradients.T).astype(dtype))
    for off in np.logspace(-10, -2, 33):
        rows = np.concatenate([gradients, off * np.array([[1.0], [0.5], [-0.3]])], axis=1)
        weights = IMTLG().weights((rows @ rows.T).astype(dtype))
        unit = 5e-5 if dtype == "float32" else 1e-8
        np.testing.assert_allclose(weights, before, atol=20 * off**2 + unit)
