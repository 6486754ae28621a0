"""GradVac against a literal version on the gradients, step by step."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, surgery, tasks

from mtlzoo.balancing import GradVac, PCGrad


def vaccinated(gradients, orders, goals, beta):
    """The paper's update and the new goals: gradient vectors, one after the other."""
    goals = goals.copy()
    total = np.zeros(gradients.shape[1])
    for i, own in enumerate(gradients):
        turned = own.copy()
        for j in np.argsort(orders[i])[: len(gradients) - 1]:
            other = gradients[j]
            lengths = np.linalg.norm(turned) * np.linalg.norm(other)
            if np.linalg.norm(own) == 0 or np.linalg.norm(other) == 0:
                continue
            cosine = np.clip(turned @ other / lengths, -1, 1) if lengths > 0 else 0.0
            goal = min(goals[i, j], 0.999)
            if cosine < goal:
                along = goal * np.sqrt(1 - cosine**2) - cosine * np.sqrt(1 - goal**2)
                size = np.linalg.norm(turned) / np.linalg.norm(other)
                turned = turned + size * along / np.sqrt(1 - goal**2) * other
            goals[i, j] = (1 - beta) * goals[i, j] + beta * cosine
        total += turned
    return total, goals


def built(size, **options):
    method = GradVac(**options)
    method.build(tasks(**{f"t{i:02}": "regression" for i in range(size)}))
    return method


@pytest.mark.one_in(5)
@pytest.mark.parametrize("size", [2, 3, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_the_literal_version_over_several_steps(size, dtype):
    method = built(size, beta=0.3, seed=size)
    advance = tf.function(method.advance)
    goals = np.zeros((size, size))
    # The goals are kept in float32.
    bound = 1e-4 if dtype == "float32" else 1e-6
    for step in range(6):
        method.step.assign(step)
        name = ("plain", "wide", "almost aligned", "one zero", "low rank", "positive")[step]
        if (name, size) == ("low rank", 3):
            continue  # on a line: cosines of what is left of a gradient, which is rounding
        gradients = gradient_sets(size, seed=step)[name]
        weights, state = advance(tf.constant(gradients @ gradients.T, dtype))
        orders = np.asarray(method.orders(size))
        expected, goals = vaccinated(gradients, orders, goals, 0.3)
        update = weights.numpy().astype("float64") @ gradients
        # In units of what is added up: for dependent gradients the sum may be near zero.
        unit = np.linalg.norm(gradients, axis=1).max()
        assert np.linalg.norm(update - expected) / unit < size * bound, name
        np.testing.assert_allclose(state["cosines"], goals, atol=1e-4)
        method.cosines.assign(goals)
    assert np.abs(goals).max() > 0.1


@pytest.mark.one_in(2)
@pytest.mark.parametrize("size", [2, 3, 8])
def test_with_goals_of_zero_it_is_pcgrad(size):
    for name in ("plain", "sum to zero", "low rank", "scales", "opposite", "positive", "one zero"):
        gradients = gradient_sets(size)[name]
        gramian = gradients @ gradients.T
        for method in (GradVac(seed=3), built(size, seed=3)):
            expected = PCGrad(seed=3).weights(gramian)
            np.testing.assert_allclose(method.weights(gramian), expected, rtol=1e-7, atol=1e-9)
    orders = np.asarray(GradVac(seed=3).orders(size))
    gradients = gradient_sets(size)["plain"]
    update = GradVac(seed=3).weights(gradients @ gradients.T) @ gradients
    np.testing.assert_allclose(update, surgery(gradients, orders), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("goal", [-0.5, 0.2, 0.7, 0.99])
def test_two_gradients_reach_the_goal(goal):
    method = built(2)
    method.cosines.assign(np.full((2, 2), goal))
    gradients = np.array([[1.0, 0.0], [-1.2, 1.6]])  # cosine -0.6
    weights = method.weights(gradients @ gradients.T)
    # Each gradient is lengthened by part of the other; by symmetry both parts are known.
    part = goal * 0.8 / np.sqrt(1 - goal**2) + 0.6
    np.testing.assert_allclose(weights, [1 + 2 * part, 1 + part / 2], rtol=1e-6)
    turned = gradients[0] + part / 2 * gradients[1]
    cosine = turned @ gradients[1] / np.linalg.norm(turned) / 2
    assert cosine == pytest.approx(goal)


def test_goals_follow_cosines():
    method = built(2, beta=0.25)
    method.cosines.assign([[0.0, 0.4], [-0.8, 0.0]])
    _, state = method.advance(np.array([[1.0, 1.2], [1.2, 4.0]]))  # cosine 0.6
    expected = [[0, 0.75 * 0.4 + 0.25 * 0.6], [-0.75 * 0.8 + 0.25 * 0.6, 0]]
    np.testing.assert_allclose(state["cosines"], expected, rtol=1e-6)


def test_goals_of_absent_tasks_and_zero_gradients_stay():
    method = built(4, beta=0.5)
    before = np.random.default_rng(0).uniform(-0.9, 0.9, (4, 4)).astype("float32")
    method.cosines.assign(before)
    gradients = gradient_sets(4)["plain"].copy()
    gradients[2] = 0
    gramian = gradients @ gradients.T
    _, state = method.advance(gramian, present=[True, False, True, True])
    moved = np.asarray(state["cosines"]) != before
    expected = np.zeros((4, 4), bool)
    expected[0, 3] = expected[3, 0] = True
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.slow
def test_goals_near_one_are_finite():
    for dtype in ("float32", "float64"):
        method = built(3)
        method.cosines.assign(np.ones((3, 3)))
        for name, gradients in gradient_sets(3).items():
            weights = method.weights((gradients @ gradients.T).astype(dtype))
            assert np.all(np.isfinite(weights)), name
    weights = method.weights(np.diag([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(weights[:2], 1 + 0.999 / np.sqrt(1 - 0.999**2), rtol=1e-6)


def test_groups_have_goals_of_their_own():
    method = GradVac(groups={"first": ["a"]})
    paths = [type("V", (), {"path": path})() for path in ("a/kernel", "b/kernel")]
    method.build(tasks(x="regression", y="regression"), paths)
    assert method.cosines.shape == (2, 2, 2)
    both = np.array([[[1.0, 0.5], [0.5, 1.0]], [[1.0, -0.5], [-0.5, 1.0]]])
    weights, state = method.advance(both)
    np.testing.assert_allclose(weights, [[1, 1], [1.5, 1.5]])
    np.testing.assert_allclose(state["cosines"][:, 0, 1], [0.005, -0.005], rtol=1e-5)


def test_arguments_are_checked():
    for beta in (-0.1, 1.1, "1", True, float("nan")):
        with pytest.raises(ValueError, match="`beta` should be a number from 0 to 1"):
            GradVac(beta=beta)
    for seed in (-1, 1.0, True):
        with pytest.raises(ValueError, match="`seed` should be an integer of at least 0"):
            GradVac(seed=seed)
