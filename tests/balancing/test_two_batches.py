"""MoDo and SDMGrad, step by step against NumPy."""

import numpy as np
import pytest
from gradient_cases import tasks
from test_simplex import nearest

from mtlzoo.balancing import MGDA, MoDo, SDMGrad

THREE = tasks(a="regression", b="regression", c="regression")


def steps_of(method, products):
    """The weights of successive steps, with the state kept as the training step keeps it."""
    method.build(THREE)
    for matrix in products:
        weights, state = method.advance(matrix)
        for name, value in state.items():
            method.state[name].assign(value)
        yield np.array(weights)


def products(count=6, seed=0):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, count, 3, 5))
    return first @ second.swapaxes(1, 2)  # not symmetric


def test_modo_is_the_paper_s_step():
    method = MoDo(learning_rate=0.2, regularization=0.05)
    weights = np.full(3, 1 / 3)
    for found, matrix in zip(steps_of(method, products()), products(), strict=True):
        weights = nearest(weights - 0.2 * (matrix @ weights + 0.05 * weights))
        np.testing.assert_allclose(found, weights, atol=1e-6)
    np.testing.assert_allclose(method.state["lambda"], weights, atol=1e-6)


def test_sdmgrad_is_the_paper_s_iteration():
    preference = {"a": 2.0, "b": 1.0, "c": 1.0}
    method = SDMGrad(preference, strength=0.5, learning_rate=0.3, momentum=0.4, iterations=7)
    preferred, weights = np.array([0.5, 0.25, 0.25]), np.full(3, 1 / 3)
    for found, matrix in zip(steps_of(method, products()), products(), strict=True):
        scaled = matrix / (np.linalg.norm(matrix) / np.sqrt(3))
        velocity = np.zeros(3)
        for _ in range(7):
            velocity = 0.4 * velocity + scaled @ (weights + 0.5 * preferred)
            weights = nearest(weights - 0.3 * velocity)
        np.testing.assert_allclose(found, (weights + 0.5 * preferred) / 1.5, atol=1e-5)
    np.testing.assert_allclose(method.state["inner_weights"], weights, atol=1e-5)


def test_a_diagonal_that_noise_has_made_small_or_negative_does_not_lengthen_sdmgrad_s_steps():
    """One inner step moves w by at most the learning rate times the root of T, times its length."""
    rng = np.random.default_rng(0)
    for place in range(20):
        matrix = rng.normal(size=(3, 3)) * 10.0 ** rng.uniform(-6, 6)
        if place % 2:
            np.fill_diagonal(matrix, -1e-9 * np.abs(np.diag(matrix)))
        method = SDMGrad(strength=0.0, learning_rate=0.1, iterations=1)
        weights = method.weights(matrix)
        assert np.linalg.norm(weights - 1 / 3) <= 0.1 * np.sqrt(3) * np.sqrt(1 / 3) + 1e-12
        scaled = matrix * np.sqrt(3) / np.linalg.norm(matrix)
        expected = nearest(1 / 3 - 0.1 * scaled @ np.full(3, 1 / 3))
        np.testing.assert_allclose(weights, expected, atol=1e-9)
    weights = SDMGrad(learning_rate=0.1, iterations=1).weights(
        np.diag([1.0, 4.0, 1e30]), present=[True, True, False]
    )
    scaled = np.diag([1.0, 4.0]) * np.sqrt(2 / 17)
    expected = (nearest(0.5 - 0.1 * scaled @ np.full(2, 0.65)) + 0.15) / 1.3
    np.testing.assert_allclose(weights, [*expected, 0], atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MoDo, SDMGrad])
def test_repeated_steps_come_to_the_shortest_mean(kind):
    """On one Gramian again and again, without what draws them away from it."""
    gradients = np.random.default_rng(1).normal(size=(3, 8))
    gramian = gradients @ gradients.T
    if kind is MoDo:
        method = MoDo(learning_rate=0.05, regularization=0.0)
    else:
        method = SDMGrad(strength=0.0, learning_rate=0.3)
    *_, last = steps_of(method, [gramian] * (300 if kind is MoDo else 40))
    np.testing.assert_allclose(last, MGDA().weights(gramian), atol=1e-4)


@pytest.mark.parametrize("method", [MoDo(), SDMGrad()])
def test_an_absent_task_keeps_its_weight(method):
    method.build(THREE)
    name = "lambda" if isinstance(method, MoDo) else "inner_weights"
    method.state[name].assign([0.2, 0.3, 0.5])
    weights, state = method.advance(products()[0], present=[True, False, True])
    kept = np.array(state[name])
    assert weights[1] == 0 and np.sum(weights) == pytest.approx(1.0)
    assert kept[1] == pytest.approx(0.3)
    assert kept.sum() == pytest.approx(1.0)  # the others share what they had


def test_a_strong_preference_wins():
    preference = {"a": 1.0, "b": 0.0, "c": 3.0}
    method = SDMGrad(preference, strength=1e6)
    (weights,) = steps_of(method, products(1))
    np.testing.assert_allclose(weights, [0.25, 0, 0.75], atol=1e-5)


def test_arguments_are_checked():
    for kind in (MoDo, SDMGrad):
        with pytest.raises(ValueError, match=rf"`wrt` should be 'parameters' for {kind.__name__}"):
            kind(wrt="features")
        with pytest.raises(ValueError, match="`learning_rate` should be a positive number"):
            kind(learning_rate=0.0)
    with pytest.raises(ValueError, match="`regularization` should be a number of at least 0"):
        MoDo(regularization=-0.1)
    with pytest.raises(ValueError, match="`strength` should be a number of at least 0"):
        SDMGrad(strength=-1)
    with pytest.raises(ValueError, match="`iterations` should be a positive integer"):
        SDMGrad(iterations=0)
    with pytest.raises(ValueError, match="`preference` should be a dict by task name of numbers"):
        SDMGrad({"a": -1.0, "b": 2.0})
    method = SDMGrad({"a": 1.0, "z": 2.0, "b": 1.0})
    with pytest.raises(ValueError, match="`SDMGrad` with `preference` should be built with its"):
        method.weights(np.eye(3))
    with pytest.raises(ValueError, match=r"one entry for each of the tasks \['a', 'b', 'c'\]"):
        method.build(THREE)
