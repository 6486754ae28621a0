"""GradNorm against NumPy on the gradients themselves, step by step, and where it leads."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, tasks
from loss_cases import Adam, keep, state_in

from mtlzoo.balancing import GradNorm


def built(method, count=3, variables=()):
    method.build(tasks(**{f"t{i:02}": "regression" for i in range(count)}), variables)
    return method


class Reference:
    """The paper's algorithm 1, in float64; L_grad is differentiated by differences."""

    def __init__(self, count, alpha=1.5, rate=0.025):
        self.adam, self.alpha, self.first = Adam(np.ones(count), rate), alpha, np.zeros(count)

    def step(self, gradients, losses, present):
        weights = self.adam.value.copy()
        self.first = np.where((self.first == 0) & present, losses, self.first)
        norms = np.linalg.norm(weights[:, None] * gradients, axis=1)
        ratio = (losses / np.where(present, self.first, 1))[present]
        target = norms[present].mean() * (ratio / ratio.mean()) ** self.alpha

        def loss(weight):
            found = np.linalg.norm(weight[:, None] * gradients[present], axis=1)
            return np.abs(found - target).sum()

        derivative = np.zeros(len(weights))
        steps = 1e-7 * np.eye(present.sum())
        derivative[present] = [
            (loss(weights[present] + s) - loss(weights[present] - s)) / 2e-7 for s in steps
        ]
        self.adam.step(derivative, present)
        self.adam.value = np.maximum(self.adam.value, 0)
        rest = weights[~present].sum()
        self.adam.value[present] *= (len(weights) - rest) / self.adam.value[present].sum()
        return np.where(present, weights, 0)


@pytest.mark.one_in(8)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("float64", 1e-6)])
@pytest.mark.parametrize("count", [2, 3, 8, 16])
@pytest.mark.parametrize("absent", [False, True])
def test_steps_are_those_of_the_algorithm(count, dtype, bound, absent):
    with state_in(dtype):
        method = built(GradNorm(), count)
    reference = Reference(count)
    advance = tf.function(method.advance)
    rng = np.random.default_rng(count)
    lengths = 10.0 ** rng.uniform(-1, 1, count)
    for _ in range(15):
        present = rng.random(count) < (0.6 if absent else 2.0)
        present[rng.permutation(count)[:2]] = True
        gradients = lengths[:, None] * rng.normal(size=(count, 6))
        losses = rng.uniform(0.5, 2.0, count)
        gramian = (gradients @ gradients.T).astype(dtype)
        found, learned = advance(gramian, losses.astype(dtype), present)
        expected = reference.step(gradients, losses, present)
        keep(method, learned)
        combined = found.numpy().astype("float64") @ gradients
        error = np.linalg.norm(combined - expected @ gradients)
        assert error <= bound * np.linalg.norm(expected @ gradients)
        np.testing.assert_array_equal(found.numpy()[~present], 0)
        np.testing.assert_allclose(method.scale, reference.adam.value, atol=bound)
        np.testing.assert_allclose(method.initial_losses, reference.first, rtol=1e-6)
        np.testing.assert_array_equal(method.moves, reference.adam.count)
        assert np.sum(np.array(method.scale)) == pytest.approx(count, rel=1e-5)


def test_golden_values():
    method = built(GradNorm(learning_rate=0.1), 2)
    gramian, losses = np.diag([1.0, 16.0]), np.array([3.0, 5.0])
    # Norms 1 and 4, mean 2.5: Adam's first step is +0.1 and −0.1, and the sum stays 2.
    found, learned = method.advance(gramian, losses)
    np.testing.assert_array_equal(found, [1, 1])
    np.testing.assert_allclose(learned["scale"], [1.1, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(learned["initial_losses"], losses)
    keep(method, learned)
    np.testing.assert_allclose(method.weights(gramian, losses), [1.1, 0.9], rtol=1e-6)


def train(method, lengths, ratios=None, steps=300):
    """The weights after steps with gradients of these lengths and these parts of the losses."""
    gramian = tf.constant(np.diag(np.square(lengths)))
    advance = tf.function(method.advance)
    first = np.ones(len(lengths))
    for step in range(steps):
        losses = first if step == 0 or ratios is None else np.array(ratios)
        keep(method, advance(gramian, tf.constant(losses))[1])
    return np.array(method.scale)


@pytest.mark.slow
def test_weighted_gradients_become_equally_long():
    lengths = np.array([1.0, 3.0, 10.0])
    found = train(built(GradNorm(learning_rate=0.004)), lengths, steps=600) * lengths
    np.testing.assert_allclose(found, found.mean(), rtol=0.03)  # Adam swings by its rate


@pytest.mark.one_in(2)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_slower_task_gets_a_longer_gradient(alpha):
    method = built(GradNorm(alpha=alpha, learning_rate=0.004), 2)
    # With rates r the lengths should be as r^alpha: three to one here.
    found = train(method, [1.0, 1.0], [0.9, 0.3], steps=400)
    assert found[0] / found[1] == pytest.approx(3.0**alpha, rel=0.03)


@pytest.mark.slow
def test_weights_are_never_negative():
    method = built(GradNorm(learning_rate=0.3), 2)
    gramian = tf.constant(np.diag([1e8, 1e-8]))
    for _ in range(50):
        keep(method, method.advance(gramian, tf.constant([1.0, 1.0], "float64"))[1])
        scale = np.array(method.scale)
        assert np.all(scale >= 0) and scale.sum() == pytest.approx(2.0, rel=1e-5)
    assert scale[0] < scale[1]


def test_absent_tasks_keep_all_that_they_have():
    method = built(GradNorm())
    keep(method, {"scale": [0.5, 1.0, 1.5], "moves": [3, 4, 5], "initial_losses": [1.0, 0.0, 2.0]})
    old = {name: np.array(value) for name, value in method.learned.items()}
    gramian, losses = np.diag([1.0, np.nan, 4.0]), np.array([1.0, np.nan, 1.0])
    found, learned = method.advance(gramian, losses, [True, False, True])
    np.testing.assert_allclose(found, [0.5, 0, 1.5])
    for name, value in learned.items():
        assert value[1] == old[name][1], name
    assert np.sum(np.array(learned["scale"])) == pytest.approx(3.0, rel=1e-6)
    assert np.array(learned["scale"])[0] != 0.5
    # One alone is not balanced, and nothing is learned.
    found, learned = method.advance(gramian, losses, [True, False, False])
    np.testing.assert_array_equal(found, [1, 0, 0])
    for name, value in learned.items():
        np.testing.assert_array_equal(value, old[name])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("losses", [[0.0, 0.0, 0.0], [-1.0, 2.0, 0.0], [1e-30, 1e30, 1.0]])
def test_extreme_losses_and_gradients_leave_sound_weights(losses):
    for dtype in ("float32", "float64"):
        for name, gradients in gradient_sets(3).items():
            method = built(GradNorm())
            gramian = tf.constant((gradients @ gradients.T).astype(dtype))
            for _ in range(3):
                found, learned = method.advance(gramian, tf.constant(losses, dtype))
                keep(method, learned)
                scale = np.array(method.scale)
                assert np.all(np.isfinite(found)) and found.dtype == dtype, name
                assert np.all(scale >= 0) and scale.sum() == pytest.approx(3.0, rel=1e-5), name


def test_a_loss_without_a_first_one_counts_as_unchanged():
    method = built(GradNorm(alpha=1.0, learning_rate=0.1), 2)
    for _ in range(2):
        keep(method, method.advance(np.eye(2), np.array([0.0, 4.0]))[1])
    np.testing.assert_array_equal(method.initial_losses, [0, 4])
    np.testing.assert_allclose(method.scale, [1, 1])  # both rates are 1, both norms the mean


def test_each_group_has_weights_of_its_own():
    class Variable:
        def __init__(self, path):
            self.path = path

    method = GradNorm(learning_rate=0.1, groups="layers")
    built(method, 2, [Variable("one/kernel"), Variable("two/kernel")])
    assert method.scale.shape == (2, 2)
    gramian = np.stack([np.diag([1.0, 16.0]), np.diag([16.0, 1.0])])
    found, learned = method.advance(gramian, np.array([3.0, 5.0]))
    np.testing.assert_array_equal(found, np.ones((2, 2)))
    np.testing.assert_allclose(learned["scale"], [[1.1, 0.9], [0.9, 1.1]], rtol=1e-6)
    np.testing.assert_array_equal(learned["initial_losses"], [[3, 5], [3, 5]])


@pytest.mark.one_in(2)
@pytest.mark.parametrize("jit", [False, True])
def test_graph_and_xla_learn_the_same(jit):
    method = built(GradNorm())
    keep(method, {"scale": [0.5, 1.0, 1.5], "moves": [3, 4, 5], "initial_losses": [1.0, 0.0, 2.0]})
    gramian, losses = tf.constant(np.diag([1.0, 2.0, 4.0])), tf.constant([0.5, 1.0, 2.0], "float64")
    compiled = tf.function(method.advance, jit_compile=jit)
    for present in ([True] * 3, [True, False, True]):
        expected, learned = method.advance(gramian, losses, present)
        found, others = compiled(gramian, losses, tf.constant(present))
        np.testing.assert_allclose(found, expected, rtol=1e-7)
        for name, value in others.items():
            np.testing.assert_allclose(value, learned[name], rtol=1e-6, err_msg=name)


def test_it_weighs_the_heads_and_needs_losses():
    assert GradNorm.weighs_heads and GradNorm.needs == {"losses", "gramian"}
    with pytest.raises(ValueError, match="`losses` should be given to `GradNorm`"):
        GradNorm().weights(np.eye(2))


@pytest.mark.parametrize("alpha", [-1.0, np.nan, np.inf, "1", None])
def test_alpha_is_checked(alpha):
    with pytest.raises(
        ValueError, match=r"`alpha` should be a number of at least 0. Received: alph"
    ):
        GradNorm(alpha=alpha)


@pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, np.inf, "1", None])
def test_learning_rate_of_gradnorm_is_checked(rate):
    with pytest.raises(
        ValueError, match=r"`learning_rate` should be a positive number. Received: "
    ):
        GradNorm(learning_rate=rate)
