"""MGDA against SciPy's non-negative least squares, in both precisions and at extremes."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, shortest_mean

from mtlzoo.balancing import MGDA

# float32 rounds a Gramian by 6e-8 of its entries, which moves the shortest vector of nearly
# dependent gradients by up to the root of that, times the condition: no solver can do better.
LOOSE = {"ill-conditioned": 2e-2, "opposite, far apart": 1e-3, "low rank": 1e-3}


@pytest.mark.one_in(4)
@pytest.mark.parametrize("size", [2, 3, 8, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_is_the_shortest_mean(size, dtype):
    method = MGDA()
    solve = tf.function(method.weights)
    for seed in range(3):
        for name, gradients in gradient_sets(size, seed).items():
            weights = solve(tf.constant((gradients @ gradients.T).astype(dtype)))
            update = weights.numpy().astype("float64") @ gradients
            # All errors in units of the shortest gradient, which bounds the update's length.
            unit = max(np.linalg.norm(gradients, axis=1).min(), 1e-300)
            error = np.linalg.norm(update - shortest_mean(gradients)) / unit
            bound = LOOSE.get(name, 2e-5) if dtype == "float32" else 1e-9
            if name == "ill-conditioned" and dtype == "float64":
                bound = 1e-6  # the condition of the Gramian at T = 40 is 2^88
            assert error < bound, f"{name}, seed {seed}: {error}"


@pytest.mark.parametrize("size", [2, 3, 8])
def test_weights_of_well_conditioned_gradients(size):
    gradients = gradient_sets(size)["wide"]
    gramian = gradients @ gradients.T
    inverse = np.linalg.solve(gramian, np.ones(size))
    assert np.all(inverse > 0), "the minimum is inside, where it has a closed form"
    expected = inverse / inverse.sum()
    np.testing.assert_allclose(MGDA().weights(gramian), expected, rtol=1e-12)
    np.testing.assert_allclose(MGDA().weights(gramian.astype("float32")), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_tasks_in_closed_form(dtype):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 100, 3))
    second[:50] += first[:50]
    difference = first - second
    share = -(second * difference).sum(-1) / (difference**2).sum(-1)
    share = np.clip(share, 0, 1)
    both = np.stack([first, second], axis=1)
    weights = MGDA().weights((both @ both.transpose(0, 2, 1)).astype(dtype))
    assert 5 < np.sum(share == 1) + np.sum(share == 0) < 95
    np.testing.assert_allclose(weights[:, 0], share, atol=20 * np.finfo(dtype).eps)


def test_golden_values():
    gramian = np.array([[1.0, -0.5, 0.2], [-0.5, 2.0, -0.8], [0.2, -0.8, 1.5]])
    expected = np.array([59.0, 55.0, 49.0]) / 163.0
    np.testing.assert_allclose(MGDA().weights(gramian), expected, rtol=1e-12)
    np.testing.assert_allclose(MGDA().weights(np.diag([1.0, 2.0, 4.0])), np.array([4, 2, 1]) / 7)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("size", [2, 3, 8, 40])
@pytest.mark.parametrize("name", ["sum to zero", "opposite", "rank 1", "one zero", "all zero"])
def test_stops_at_pareto_stationary_points(size, name):
    gradients = gradient_sets(size, seed=1)[name]
    if name == "rank 1":
        gradients = np.concatenate([-gradients[:1], gradients[:-1]])
    update = MGDA().weights(gradients @ gradients.T) @ gradients
    assert np.linalg.norm(update) <= 1e-12 * np.linalg.norm(gradients, axis=1).max()


def test_is_the_shortest_gradient_where_all_point_one_way():
    direction = np.random.default_rng(0).normal(size=7)
    gradients = np.array([3.0, 1.0, 2.0, 1e8])[:, None] * direction
    for dtype in ("float32", "float64"):
        weights = MGDA().weights((gradients @ gradients.T).astype(dtype))
        np.testing.assert_allclose(weights, [0, 1, 0, 0], atol=1e-6)


def test_zero_gradients_share_the_weight():
    weights = MGDA().weights(np.diag([0.0, 1.0, 0.0, 1e8]))
    np.testing.assert_allclose(weights, [0.5, 0, 0.5, 0])
    # An absent task's zeros are no zero gradient.
    weights = MGDA().weights(np.diag([0.0, 1.0, 1.0, 1.0]), present=[False, True, True, True])
    np.testing.assert_allclose(weights, [0, 1 / 3, 1 / 3, 1 / 3])


def test_agrees_with_rounding_of_reduced_precision():
    # TF32 rounds products to 10 bits: the Gramian of dependent gradients becomes indefinite.
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(20, 6, 2))
    gramians = gradients @ gradients.swapaxes(1, 2) * (1 + 1e-3 * rng.normal(size=(20, 6, 6)))
    gramians = ((gramians + gramians.swapaxes(1, 2)) / 2).astype("float32")
    assert np.all(np.linalg.eigvalsh(gramians)[:, 0] < 0)
    weights = MGDA().weights(gramians)
    assert np.all(weights >= 0)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)
    for one, rows in zip(weights, gradients, strict=True):
        error = np.linalg.norm(one @ rows - shortest_mean(rows))
        assert error < 0.2 * np.linalg.norm(rows, axis=1).min()
