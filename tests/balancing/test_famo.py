"""FAMO against NumPy, step by step, with its own Adam."""

import numpy as np
import pytest
import tensorflow as tf
from loss_cases import Adam, built, derivatives, keep, state_in, weights
from scipy.special import softmax

from mtlzoo.balancing import FAMO

EPSILON = 1e-8
BOUNDS = {"a": 0.1, "b": -2.0, "c": 0.0}


class Reference:
    """The paper's algorithm 2, in float64."""

    def __init__(self, count, rate=0.025, decay=0.001, bounds=0.0):
        self.adam, self.decay, self.bounds = Adam(np.zeros(count), rate), decay, bounds

    def weights(self, losses, present):
        found = np.zeros(len(losses))
        parts = softmax(self.adam.value[present])
        above = (losses - self.bounds + EPSILON)[present]
        found[present] = parts / above / np.sum(parts / above)
        return found

    def objective(self, losses, present):
        parts = softmax(self.adam.value[present])
        above = (losses - self.bounds + EPSILON)[present]
        return np.sum(parts * np.log(above)) / np.sum(parts / above)

    def learn(self, before, after, present):
        fall = np.log(before - self.bounds + EPSILON) - np.log(after - self.bounds + EPSILON)
        parts = softmax(self.adam.value[present])
        jacobian = np.diag(parts) - np.outer(parts, parts)
        gradient = self.decay * self.adam.value
        gradient[present] += jacobian @ fall[present]
        self.adam.step(gradient, present)


def losses_of(point):
    """Three quadratic losses with other minima, in other units."""
    goals = np.array([[1.0, 0.0], [-1.0, 0.5], [0.0, -2.0]])
    units = np.array([1.0, 20.0, 0.01])
    return units * (0.2 + ((point - goals) ** 2).sum(axis=1)), 2 * units[:, None] * (point - goals)


@pytest.mark.one_in(8)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("bounds", [None, BOUNDS])
def test_fifty_steps_are_those_of_the_algorithm(absent, bounds, dtype, bound):
    with state_in(dtype):
        method = built(FAMO(minimum_losses=bounds))
    reference = Reference(3, bounds=np.zeros(3) if bounds is None else np.array([0.1, -2.0, 0.0]))
    learn = tf.function(method.after_update)
    point, rng = np.array([3.0, 3.0]), np.random.default_rng(0)
    for _ in range(50):
        present = rng.random(3) < (0.6 if absent else 2.0)
        present[rng.integers(3)] = True
        before, gradients = losses_of(point)
        expected = reference.weights(before, present)
        objective, (found,) = derivatives(method, before, present)
        assert objective == pytest.approx(reference.objective(before, present), abs=bound)
        np.testing.assert_allclose(found, expected, rtol=bound, atol=1e-15)
        assert found.sum() == pytest.approx(1.0, rel=1e-12)
        point = point - 0.05 * expected @ gradients
        after, _ = losses_of(point)
        reference.learn(before, after, present)
        keep(method, learn(tf.constant(before), tf.constant(after), tf.constant(present)))
        np.testing.assert_allclose(method.logits, reference.adam.value, rtol=bound, atol=bound)
        np.testing.assert_allclose(method.first_moment, reference.adam.first, atol=bound)
        np.testing.assert_array_equal(method.moves, reference.adam.count)
    assert np.abs(reference.adam.value).max() > 0.1, "the algorithm did something"


def test_a_task_that_fell_more_gets_a_smaller_weight():
    method = built(FAMO())
    keep(method, method.after_update(np.array([1.0, 1.0, 1.0]), np.array([0.9, 0.5, 0.99])))
    np.testing.assert_array_equal(np.argsort(np.array(method.logits)), [1, 0, 2])
    found = weights(method, [1.0, 1.0, 1.0])
    assert found[1] < found[0] < found[2]


def test_absent_tasks_and_lost_losses_stay():
    method = built(FAMO())
    keep(method, {"logits": [0.5, -1.0, 2.0], "second_moment": [1.0, 1.0, 1.0]})
    before = {name: np.array(variable) for name, variable in method.state.items()}
    ones = np.ones(3)
    for after, present in (([0.5, 0.1, 0.2], [True, False, True]), ([0.5, np.nan, 0.2], None)):
        new = method.after_update(ones, np.array(after), present)
        for name, value in new.items():
            assert value[1] == before[name][1], name
            assert np.all(np.array(value)[[0, 2]] != before[name][[0, 2]]), name
    alone = method.after_update(ones, np.array([0.5, 0.1, 0.2]), [False] * 3)
    assert all(np.all(value == before[name]) for name, value in alone.items())


def test_decay_draws_the_logits_to_zero():
    method = built(FAMO(decay=1.0))
    keep(method, {"logits": [0.5, -1.0, 0.0]})
    keep(method, method.after_update(np.ones(3), np.ones(3)))
    np.testing.assert_allclose(method.logits, [0.475, -0.975, 0.0], atol=1e-6)


def test_losses_at_and_below_the_bound():
    method = built(FAMO(minimum_losses=BOUNDS))
    objective, (found,) = derivatives(method, [0.1, 1.0, 3.0])
    assert np.isfinite(objective)
    np.testing.assert_allclose(found, [1.0, EPSILON / 3, EPSILON / 3], rtol=1e-6)
    objective, (found,) = derivatives(method, [0.0, 1.0, 3.0])
    assert np.isfinite(objective) and found[0] == 0 and np.all(found[1:] > 0)


def test_the_unit_of_a_loss_does_not_decide_what_is_learned():
    rng = np.random.default_rng(0)
    before, after = rng.uniform(0.5, 2.0, (2, 3))
    plain = built(FAMO()).after_update(before, after)
    units = np.array([1e-3, 1.0, 1e6])
    scaled = built(FAMO()).after_update(units * before, units * after)
    for name, value in plain.items():
        np.testing.assert_allclose(scaled[name], value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("jit", [False, True])
def test_graph_and_xla_learn_the_same(jit):
    method = built(FAMO())
    keep(method, {"logits": [0.5, -1.0, 2.0], "moves": [3.0, 0.0, 1.0]})
    arguments = (tf.constant([1.0, 2.0, 3.0]), tf.constant([0.9, 2.1, 1.0]))
    compiled = tf.function(method.after_update, jit_compile=jit)
    for present in ([True] * 3, [True, False, True]):
        expected = method.after_update(*arguments, present)
        for name, value in compiled(*arguments, tf.constant(present)).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-7)


def test_needs_a_second_forward_pass():
    assert FAMO.needs == {"losses", "second_forward"}
    with pytest.raises(ValueError, match="`FAMO` should be built with its tasks"):
        FAMO().after_update(np.ones(2), np.ones(2))


@pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, np.inf, "1", None])
def test_learning_rate_is_checked(rate):
    with pytest.raises(
        ValueError, match=r"`learning_rate` should be a positive number. Received: "
    ):
        FAMO(learning_rate=rate)


@pytest.mark.parametrize("decay", [-1.0, np.nan, np.inf, "1", None])
def test_decay_of_famo_is_checked(decay):
    with pytest.raises(
        ValueError, match=r"`decay` should be a number of at least 0. Received: deca"
    ):
        FAMO(decay=decay)


def test_minimum_losses_are_checked():
    with pytest.raises(
        ValueError, match=r"`minimum_losses` should be a dict by task name of finite"
    ):
        FAMO(minimum_losses={"a": np.nan})
    with pytest.raises(ValueError, match=r"`minimum_losses` should have one entry for each of the"):
        built(FAMO(minimum_losses={"a": 0.0})).objective([1.0, 2.0, 3.0])


def test_a_loss_below_its_bound_leaves_the_others_their_weights():
    method = built(FAMO(minimum_losses={"a": 5.0, "b": 0.0, "c": 0.0}))
    alone = built(FAMO())
    found = weights(method, [1.0, 2.0, 4.0])
    expected = weights(alone, [1.0, 2.0, 4.0], [False, True, True])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.sum() == pytest.approx(1.0)
