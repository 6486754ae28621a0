"""FairGrad and NashMTL against the maximum of fairness over directions, from SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets
from scipy.optimize import minimize

from mtlzoo.balancing import FairGrad, NashMTL

GOLDEN = [1.199094815996, 1.161464164402, 1.077998370324]
sizes = pytest.mark.parametrize(
    "size",
    [2, 8, pytest.param(3, marks=pytest.mark.slow), pytest.param(16, marks=pytest.mark.slow)],
)
WELL_POSED = ["plain", "wide", "almost aligned", "positive", "all equal"]


def fair_direction(gradients, alpha):
    """The d with d = Σᵢ wᵢ gᵢ, wᵢ = (gᵢ·d)^(−α), by Newton's method over d itself.

    It minimises ½|d|² − Σᵢ ψ(gᵢ·d) with ψ' (s) = s^(−α), a function of directions, not of weights.
    """
    basis = np.linalg.qr(gradients.T)[0]
    rows = gradients @ basis
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    start = np.linalg.pinv(units) @ np.ones(len(rows))
    assert np.all(rows @ start > 0)
    scale = np.mean(rows @ start)
    rows = rows / scale  # so that the tolerance means something

    def value(d):
        gains = rows @ d
        if np.any(gains <= 0):
            return np.inf
        of = np.log(gains) if alpha == 1 else gains ** (1 - alpha) / (1 - alpha)
        return d @ d / 2 - of.sum()

    def slope(d):
        return d - rows.T @ (rows @ d) ** -alpha

    def bend(d):
        return np.eye(len(d)) + (rows.T * (alpha * (rows @ d) ** (-alpha - 1))) @ rows

    d = minimize(value, start, jac=slope, hess=bend, method="trust-exact").x
    for _ in range(3):
        d = d - np.linalg.solve(bend(d), slope(d))
    # gradients c times longer: d is c^((1−α)/(1+α)) times as long
    return basis @ d * scale ** ((1 - alpha) / (1 + alpha))


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.one_in(8)
@sizes
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_is_the_fair_direction(size, alpha):
    solve = tf.function(FairGrad(alpha).weights)
    for seed in range(2):
        for name in WELL_POSED:
            gradients = gradient_sets(size, seed)[name]
            expected = fair_direction(gradients, alpha)
            gramian = gradients @ gradients.T
            update = solve(tf.constant(gramian)).numpy() @ gradients
            assert relative(update, expected) < 1e-8, name
            update = solve(tf.constant(gramian, "float32")).numpy().astype("float64") @ gradients
            assert relative(update, expected) < 1e-4, name


@pytest.mark.one_in(5)
@sizes
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_solves_the_equation_where_lengths_are_far_apart(size, alpha):
    # Both sides of (G w)ᵢ = wᵢ^(−1/α) in units of what is summed up on the left.
    solve = tf.function(FairGrad(alpha).weights)
    rng = np.random.default_rng(size)
    for name in ("plain", "wide"):
        far = 10.0 ** rng.permutation(np.linspace(-4, 4, size))
        gradients = gradient_sets(size)[name] * far[:, None]
        gramian = gradients @ gradients.T
        for dtype, bound in (("float32", 4e-6), ("float64", 1e-14)):
            weights = solve(tf.constant(gramian, dtype)).numpy().astype("float64")
            terms = gramian * weights
            right = weights ** (-1 / alpha)
            error = np.abs(terms.sum(1) - right) / (np.abs(terms).sum(1) + right)
            assert error.max() < bound, (name, dtype, error.max())


@pytest.mark.one_in(2)
@sizes
def test_proportional_fairness_does_not_mind_lengths(size):
    gradients = gradient_sets(size)["plain"]
    expected = fair_direction(gradients, 1.0)
    solve = tf.function(FairGrad().weights)
    for dtype, bound in (("float32", 1e-4), ("float64", 1e-8)):
        for seed in range(3):
            far = 10.0 ** np.random.default_rng(seed).permutation(np.linspace(-8, 8, size))
            rows = gradients * far[:, None]
            weights = solve(tf.constant(rows @ rows.T, dtype)).numpy().astype("float64")
            assert relative((weights * far) @ gradients, expected) < bound


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 2.0, 10.0])
def test_orthogonal_gradients_in_closed_form(alpha):
    squares = np.array([1e-4, 1.0, 9.0, 1e4])
    # |g|² w = w^(−1/α)
    expected = squares ** (-alpha / (1 + alpha))
    np.testing.assert_allclose(FairGrad(alpha).weights(np.diag(squares)), expected, rtol=1e-12)


@pytest.mark.parametrize("alpha", [30.0, pytest.param(100.0, marks=pytest.mark.slow)])
def test_large_alpha_finds_the_minimum_in_both_precisions(alpha):
    """Where weights come down to 1e-200, which single precision rounds to zero at once."""
    rng = np.random.default_rng(0)
    power = 1 / alpha
    solve = tf.function(FairGrad(alpha).weights)
    for _ in range(10):
        gradients = rng.normal(size=(5, 14)) * 10.0 ** rng.uniform(-2, 2, size=(5, 1))
        gramian = gradients @ gradients.T
        found = []
        for dtype in ("float64", "float32"):
            weights = solve(tf.constant(gramian, dtype)).numpy().astype("float64")
            reward = np.sum(np.maximum(weights, 1e-300) ** (1 - power)) / (1 - power)
            found.append(0.5 * weights @ gramian @ weights - reward)
        assert found[0] <= found[1] + 1e-9 * abs(found[1])
        assert found[1] <= found[0] + 1e-4 * abs(found[0])


# With weights of 7e-53 and 1e-182 of the second task, which Newton's method in single precision
# took for zero while it was still on its way.
HARD = [
    [[200.0, -100.0, 0.0], [-3.0, -1.0, 1.0], [-0.01, -0.01, -0.01]],
    [[300.0, 0.0, -200.0], [2.0, -1.0, 3.0], [-0.02, -0.03, 0.01]],
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("alpha", [5.0, 30.0, 100.0])
def test_large_alpha_gives_every_task_its_gain_in_both_precisions(alpha):
    rng = np.random.default_rng(0)
    scales = np.array([[100.0], [1.0], [0.01]])
    sets = [np.array(rows) for rows in HARD]
    sets += [rng.normal(size=(3, 3)) * scales[rng.permutation(3)] for _ in range(20)]
    solve = tf.function(FairGrad(alpha).weights)
    tested = 0
    for place, gradients in enumerate(sets):
        units = gradients / np.linalg.norm(gradients, axis=1)[:, None]
        if place >= len(HARD) and np.linalg.eigvalsh(units @ units.T)[0] < 1e-2:
            continue  # rounding of the Gramian alone changes the answer
        tested += 1
        gramian = gradients @ gradients.T
        exact = solve(tf.constant(gramian)).numpy()
        there = exact > 0  # 7000^(−100) is zero in double precision, too
        right = exact[there] ** (-1 / alpha)
        np.testing.assert_allclose((gramian @ exact)[there], right, rtol=1e-7)
        update = exact @ gradients
        found = solve(tf.constant(gramian, "float32")).numpy().astype("float64")
        assert relative(found @ gradients, update) < 1e-5
        assert np.all(gramian @ found > 0)
        # Gains, in units of the greatest that each gradient could have of such an update.
        gains = units @ (found @ gradients) / np.linalg.norm(update)
        np.testing.assert_allclose(gains, units @ update / np.linalg.norm(update), atol=1e-5)
    assert tested >= 10


def test_two_tasks_in_closed_form():
    # w² |g|² + w₁ w₂ g₁·g₂ = 1 for both, so that w₁ |g₁| = w₂ |g₂| = (1 + cos)^(−½).
    gramian = np.array([[4.0, -1.0], [-1.0, 1.0]])
    expected = np.array([1 / 2, 1.0]) / np.sqrt(1 - 0.5)
    np.testing.assert_allclose(FairGrad().weights(gramian), expected, rtol=1e-12)


def test_golden_values():
    gramian = np.array([[1.0, -0.5, 0.2], [-0.5, 2.0, -0.8], [0.2, -0.8, 1.5]])
    weights = FairGrad().weights(gramian)
    np.testing.assert_allclose(gramian @ weights, 1 / weights, rtol=1e-12)
    np.testing.assert_allclose(weights, GOLDEN, rtol=1e-9)


def test_alpha_zero_is_the_sum():
    weights = FairGrad(0).weights(np.diag([1.0, 4.0, 9.0]), present=[True, False, True])
    np.testing.assert_array_equal(weights, [1, 0, 1])


@pytest.mark.one_in(2)
@pytest.mark.parametrize("size", [2, 5])
def test_nash_mtl_is_proportional_fairness_with_another_length(size):
    for name in WELL_POSED:
        gradients = gradient_sets(size)[name]
        gramian = gradients @ gradients.T
        fair = FairGrad().weights(gramian)
        free = NashMTL(max_norm=None).weights(gramian)
        np.testing.assert_allclose(free, np.sqrt(np.linalg.norm(gramian)) * fair, rtol=1e-12)
        np.testing.assert_array_equal(NashMTL(max_norm=0).weights(gramian), free)
        length = np.sqrt(size * np.linalg.norm(gramian))
        assert np.linalg.norm(free @ gradients) == pytest.approx(length, rel=1e-9)
        assert np.linalg.norm(fair @ gradients) == pytest.approx(np.sqrt(size), rel=1e-9)
        # All gain the same share: gᵢ·d = ‖G‖ / wᵢ.
        np.testing.assert_allclose(gramian @ free * free, np.linalg.norm(gramian), rtol=1e-9)


def test_max_norm_shortens_only():
    gradients = gradient_sets(3)["plain"]
    free = NashMTL(max_norm=None).weights(gradients @ gradients.T)
    length = np.linalg.norm(free @ gradients)
    for max_norm in (0.3, 0.9 * length, 1.1 * length):
        weights = NashMTL(max_norm=max_norm).weights(gradients @ gradients.T)
        expected = free * min(1, max_norm / length)
        np.testing.assert_allclose(weights, expected, rtol=1e-12)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sum to zero", "opposite", "opposite, far apart"])
def test_where_there_is_no_solution_the_update_is_rounding(name, dtype):
    solve = tf.function(FairGrad().weights)
    for size in (2, 3, 8):
        gradients = gradient_sets(size)[name]
        lengths = np.linalg.norm(gradients, axis=1)
        weights = solve(tf.constant(gradients @ gradients.T, dtype)).numpy().astype("float64")
        # At w = v/|g| with v of the root of 1/rounding, rounding moves the update by its root.
        parts = weights * lengths
        caught = parts > 0.01 * parts.max()
        assert caught.sum() >= 2
        assert parts.max() < 1.0 / np.sqrt(np.finfo(dtype).eps)
        update = parts @ (gradients / lengths[:, None])
        assert np.linalg.norm(update) < 2 * np.sqrt(size)


def test_zero_gradients_are_left_out():
    weights = FairGrad().weights(np.diag([0.0, 1.0, 4.0]))
    np.testing.assert_allclose(weights, [0.75, 1, 0.5], rtol=1e-12)
    weights = FairGrad().weights(np.diag([0.0, 1.0, 4.0]), present=[False, True, True])
    np.testing.assert_allclose(weights, [0, 1, 0.5], rtol=1e-12)
    for method in (FairGrad(), NashMTL()):
        np.testing.assert_array_equal(method.weights(np.zeros((3, 3))), np.ones(3))


def test_arguments_are_checked():
    for alpha in (-1, 0.001, 1e3, float("nan"), "1", True, None):
        with pytest.raises(ValueError, match=r"`alpha` should be 0, or a number from 0.01 to 100"):
            FairGrad(alpha)
    for max_norm in (-1, float("inf"), float("nan"), "1", True):
        with pytest.raises(ValueError, match=r"`max_norm` should be None or .*Received: max_norm"):
            NashMTL(max_norm)
    assert FairGrad(2, every=3).get_config()["alpha"] == 2.0
    assert NashMTL(None).get_config()["max_norm"] is None
