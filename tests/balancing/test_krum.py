"""Krum against a literal version on the gradients."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, tasks

from mtlzoo.balancing import Krum


def nearest(gradients, num_byzantine, num_selected):
    """The chosen rows and all scores."""
    scores = []
    for i, own in enumerate(gradients):
        others = np.delete(gradients, i, axis=0)
        squares = np.sort(((others - own) ** 2).sum(1))
        scores.append(squares[: len(gradients) - num_byzantine - 2].sum())
    return np.sort(np.argsort(scores, kind="stable")[:num_selected]), np.array(scores)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("size", [3, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_takes_the_least_scores(size, dtype):
    for num_byzantine in {0, 1, size - 3} - ({1} if size == 3 else set()):
        for num_selected in (1, 2, size):
            method = Krum(num_byzantine, num_selected)
            solve = tf.function(method.weights)
            for seed in range(3):
                for name in ("plain", "wide", "ill-conditioned", "low rank"):
                    gradients = gradient_sets(size, seed)[name]
                    chosen, scores = nearest(gradients, num_byzantine, num_selected)
                    ordered = np.sort(scores)
                    if num_selected < size and np.diff(ordered)[num_selected - 1] < 1e-4:
                        continue  # two scores that float32 may not tell apart
                    weights = solve(tf.constant(gradients @ gradients.T, dtype)).numpy()
                    np.testing.assert_array_equal(np.flatnonzero(weights), chosen)
                    np.testing.assert_allclose(weights[chosen], 1 / num_selected, rtol=1e-6)


@pytest.mark.parametrize("num_byzantine", [0, 1, 2])
def test_absent_tasks_are_no_neighbours(num_byzantine):
    rng = np.random.default_rng(0)
    method = Krum(num_byzantine)
    for _ in range(20):
        gradients = rng.normal(size=(8, 5))
        present = rng.permutation(8) < 6
        weights = method.weights(gradients @ gradients.T, present=present)
        chosen, _ = nearest(gradients[present], num_byzantine, 1)
        np.testing.assert_array_equal(np.flatnonzero(weights), np.flatnonzero(present)[chosen])


def test_squares_are_summed_not_distances():
    points = np.array([[2.0, 5.0], [5.0, 5.0], [7.0, 7.0], [1.0, 0.0], [1.0, 5.0]])
    # To the three nearest others the distances add up to [9.1, 9.8, 14.5, 16.5, 10.0],
    # and their squares to [36, 33, 77, 92, 42].
    weights = Krum().weights(points @ points.T)
    np.testing.assert_array_equal(np.flatnonzero(weights), [1])


def test_an_outlier_is_left_out():
    gradients = gradient_sets(6)["almost aligned"].copy()
    gradients[3] *= -100
    weights = Krum(num_byzantine=1, num_selected=5).weights(gradients @ gradients.T)
    np.testing.assert_allclose(weights, [0.2, 0.2, 0.2, 0, 0.2, 0.2])


def test_of_equal_scores_the_first_counts_as_less():
    np.testing.assert_array_equal(Krum().weights(np.ones((4, 4))), [1, 0, 0, 0])
    np.testing.assert_array_equal(Krum().weights(np.eye(4)), [1, 0, 0, 0])
    np.testing.assert_array_equal(Krum().weights(np.zeros((3, 3))), [1, 0, 0])


def test_too_few_tasks_are_averaged():
    np.testing.assert_array_equal(Krum().weights(np.diag([1.0, 9.0])), [0.5, 0.5])
    weights = Krum(num_byzantine=1).weights(np.eye(5), present=[True, True, False, True, False])
    np.testing.assert_allclose(weights, [1 / 3, 1 / 3, 0, 1 / 3, 0])


def test_arguments_are_checked():
    for wrong in (-1, 1.0, True, "1"):
        with pytest.raises(ValueError, match="`num_byzantine` should be an integer of at least 0"):
            Krum(num_byzantine=wrong)
    for wrong in (0, 1.0, True):
        with pytest.raises(ValueError, match="`num_selected` should be an integer of at least 1"):
            Krum(num_selected=wrong)
    three = tasks(a="regression", b="regression", c="regression")
    message = r"`num_byzantine` should be at most 0 with 3 tasks.*`num_byzantine=1`"
    with pytest.raises(ValueError, match=message):
        Krum(1).build(three)
    with pytest.raises(ValueError, match=message):
        Krum(1).weights(np.eye(3))
    with pytest.raises(ValueError, match=r"number of tasks, 3. Received: `num_selected=4`"):
        Krum(num_selected=4).build(three)
