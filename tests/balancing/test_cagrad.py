"""CAGrad against a search for its level with SciPy's non-negative least squares."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, shortest_mean, without_conflict
from scipy.optimize import brentq, minimize, nnls

from mtlzoo.balancing import MGDA, CAGrad, DualProj

WELL = ("plain", "wide", "positive", "almost aligned", "all equal")


def shortest_to(gradients, level):
    """The shortest z with gᵢ·(g₀ + z) ≥ level for all i (Lawson & Hanson, chapter 23)."""
    lengths = np.linalg.norm(gradients, axis=1)
    rows, mean = gradients / lengths[:, None], gradients.mean(0)
    bounds = (level / lengths - rows @ mean) / np.linalg.norm(mean)
    bounds = np.maximum(bounds, -10.0)  # farther than any z that matters
    right = np.append(np.zeros(gradients.shape[1]), 1.0)
    solution, residual = nnls(np.concatenate([rows.T, bounds[None]]), right, maxiter=4000)
    if residual < 1e-6:
        return mean + np.inf
    return np.linalg.norm(mean) * (solution @ rows) / (1 - bounds @ solution)


def reference(gradients, c):
    mean = gradients.mean(0)
    radius = c * np.linalg.norm(mean)
    low = (gradients @ mean).min()
    high = (gradients @ mean + radius * np.linalg.norm(gradients, axis=1)).min()
    nearest = shortest_mean(gradients)
    high = min(high, nearest @ mean + radius * np.linalg.norm(nearest))
    level = brentq(
        lambda t: min(np.linalg.norm(shortest_to(gradients, t)), 1e6 * radius) - radius,
        low - 1e-6 * abs(high - low),
        high + 1e-6 * abs(high - low),
        xtol=1e-14 * max(abs(low), abs(high)),
        rtol=1e-14,
    )
    return mean + shortest_to(gradients, level)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_is_the_best_step_in_the_ball(size, dtype):
    for c in (0.1, 0.5, 2.0):
        solve = tf.function(CAGrad(c).weights)
        for seed in range(3):
            for name, gradients in gradient_sets(size, seed).items():
                near = name == "nearly sum to zero"
                if name not in WELL and not near:
                    continue
                if near and dtype == "float32" and c > 1:
                    continue  # MGDA's vector has the square 1e-5: it may count as rounding
                weights = solve(tf.constant((gradients @ gradients.T).astype(dtype)))
                expected = reference(gradients, c)
                error = np.linalg.norm(weights.numpy() @ gradients - expected)
                error /= np.linalg.norm(expected)
                bound = 1e-4 if dtype == "float32" else 1e-6
                if near and dtype == "float32":
                    bound = 2e-2  # of a mean that is a hundredth of the gradients
                assert error < bound, f"{name}, seed {seed}, c {c}: {error}"


@pytest.mark.one_in(5)
@pytest.mark.parametrize("size", [2, 3, 8, 16, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_step_in_the_ball_is_better(size, dtype):
    """By duality: what the worst-served task gets is as much as g_w·g₀ + c |g₀| |g_w| for some w.

    For extremes, where many steps are equally good, this is what can be asked: up to rounding, in
    units of what the shortest gradient gains in the ball. Where lengths are 1e16-fold apart, that
    is less than the rounding of weights in single precision.
    """
    c = 0.4
    solve = tf.function(CAGrad(c).weights)
    bound = 1e-4 if dtype == "float32" else 1e-7
    seen = 0
    for name, gradients in gradient_sets(size, seed=1).items():
        mean = gradients.mean(0)
        radius = c * np.linalg.norm(mean)
        lengths = np.linalg.norm(gradients, axis=1)
        weights = solve(tf.constant((gradients @ gradients.T).astype(dtype)))
        weights = weights.numpy().astype("float64")
        update = weights @ gradients
        assert np.all(weights >= 0)
        assert np.linalg.norm(update - mean) <= radius + bound * lengths.max(), name
        if name == "one zero" or np.linalg.norm(mean) <= 1e-12 * lengths.max():
            continue  # no mean, no radius; a zero gradient has its own test
        seen += 1
        parts = np.maximum(weights - 1 / size, 0)
        combined = parts @ gradients / max(parts.sum(), 1e-300)
        highest = combined @ mean + radius * np.linalg.norm(combined)
        nearest = shortest_mean(gradients)  # which is zero at a Pareto-stationary point
        highest = min(highest, nearest @ mean + radius * np.linalg.norm(nearest))
        lost = highest - (gradients @ update).min()
        unit = lengths.min() * radius
        if name == "scales" and dtype == "float32":
            unit = 1e-4 * lengths.max() * radius
        limit = 5e-3 if dtype == "float32" else 1e-10
        if name == "scales":
            limit = 2e-2
        assert abs(lost) < limit * unit, f"{name}: {lost / unit}"
        if dtype == "float64" and name not in ("low rank", "opposite"):
            # The test would see the mean alone, or a step half as far from it.
            for other in (mean, (mean + update) / 2):
                short = highest - (gradients @ other).min()
                assert short > limit * unit, f"{name}: {short / unit}"
    assert seen >= 12


@pytest.mark.parametrize("size", [2, 3, 5])
def test_agrees_with_a_general_solver(size):
    gradients = gradient_sets(size, seed=3)["plain"]
    mean, count = gradients.mean(0), gradients.shape[1]
    radius = 0.5 * np.linalg.norm(mean)
    found = minimize(
        lambda y: -y[-1],
        np.append(mean, (gradients @ mean).min()),
        constraints=[
            {"type": "ineq", "fun": lambda y: gradients @ y[:count] - y[-1]},
            {"type": "ineq", "fun": lambda y: radius**2 - np.sum((y[:count] - mean) ** 2)},
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    weights = CAGrad().weights(gradients @ gradients.T)
    np.testing.assert_allclose(weights @ gradients, found.x[:count], atol=1e-4)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_without_a_radius_it_is_the_mean_and_with_a_large_one_the_direction_of_mgda(size):
    gradients = gradient_sets(size, seed=2)["plain"]
    gramian = gradients @ gradients.T
    np.testing.assert_array_equal(CAGrad(c=0).weights(gramian), np.full(size, 1 / size))
    shortest = MGDA().weights(gramian) @ gradients
    update = CAGrad(c=1e7).weights(gramian) @ gradients
    length = 1e7 * np.linalg.norm(gradients.mean(0))
    np.testing.assert_allclose(
        update / length, shortest / np.linalg.norm(shortest), atol=1e-6 * np.sqrt(size)
    )


def test_balanced_gradients_give_the_step_of_dual_proj():
    gradients = np.array([[1.0, 0.3, 0.0], [-1.0, -0.3, 0.0], [0.1, 0.0, 2.0]])
    gramian = gradients @ gradients.T
    for dtype in ("float32", "float64"):
        update = CAGrad().weights(gramian.astype(dtype)) @ gradients
        np.testing.assert_allclose(update, DualProj().weights(gramian) @ gradients, atol=1e-6)
    # Where that is too far from the mean, at the end of the radius.
    gradients = np.array([[1.0, 0.0], [-0.5, 0.0]])
    update = CAGrad().weights(gradients @ gradients.T) @ gradients
    np.testing.assert_allclose(update, [0.125, 0.0], atol=1e-9)


def test_a_zero_gradient_is_a_task_that_no_step_serves():
    gradients = np.array([[0.0, 0.0], [1.0, 0.0], [-0.2, 1.0]])
    update = CAGrad().weights(gradients @ gradients.T) @ gradients
    np.testing.assert_allclose(update, gradients.mean(0), atol=1e-12)  # it serves both others
    gradients = np.array([[0.0, 0.0], [4.0, 0.0], [-1.0, 1.0]])
    update = CAGrad(c=0.9).weights(gradients @ gradients.T) @ gradients
    np.testing.assert_allclose(
        update, without_conflict(gradients[1:], gradients.mean(0)), atol=1e-12
    )


def test_golden_values():
    # |g₀|² = 5/4; both are served equally by d = g₀ + p₁ g₁ + p₂ g₂ with
    # 1/2 + p₁ = 2 + 4 p₂ and p₁² + 4 p₂² = 5/16, which has no p₂ ≥ 0: only g₁ is added.
    expected = [0.5 + np.sqrt(5 / 16), 0.5]
    np.testing.assert_allclose(CAGrad().weights(np.diag([1.0, 4.0])), expected, rtol=1e-12)
    # The same with c = 2: p₁ = 3/2 + 4 p₂ and p₁² + 4 p₂² = 5.
    second = (-12 + np.sqrt(12**2 + 4 * 20 * 2.75)) / 40
    expected = [0.5 + 1.5 + 4 * second, 0.5 + second]
    np.testing.assert_allclose(CAGrad(c=2).weights(np.diag([1.0, 4.0])), expected, rtol=1e-10)


def test_rescaling_divides_by_one_and_the_square():
    gramian = np.array([[1.0, -0.5, 0.2], [-0.5, 2.0, -0.8], [0.2, -0.8, 1.5]])
    expected = CAGrad(0.7).weights(gramian) / 1.49
    np.testing.assert_allclose(CAGrad(0.7, rescale=True).weights(gramian), expected, rtol=1e-12)


@pytest.mark.parametrize("c", [-0.1, np.inf, np.nan, "1", True])
def test_arguments_are_checked(c):
    with pytest.raises(ValueError, match=r"`c` should be a number of at least 0. Received: c="):
        CAGrad(c=c)
    with pytest.raises(ValueError, match=r"`rescale` should be a bool. Received: rescale=1"):
        CAGrad(rescale=1)
