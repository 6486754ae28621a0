"""Equal, Uncertainty and DWA: values, derivatives, absent tasks."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import tasks

from mtlzoo.balancing import DWA, Equal, Uncertainty

TASKS = tasks(a="classification", b="regression", c="classification")


def built(method):
    method.build(TASKS)
    if isinstance(method, Uncertainty):
        method.log_variance.assign([0.5, -1.0, 2.0])
    if isinstance(method, DWA):
        method.history.assign([[1.0, 2.0], [3.0, 2.0], [1.0, 1.0]])
    return method


def derivatives(method, losses, present=None):
    losses = tf.constant(losses, "float64")
    with tf.GradientTape() as tape:
        tape.watch(losses)
        objective = method.objective(losses, present)
    sources = [losses, *(v.value for v in method.trainable_variables)]
    return objective.numpy(), [g.numpy() for g in tape.gradient(objective, sources)]


methods = pytest.mark.parametrize("kind", [Equal, Uncertainty, DWA])


@methods
@pytest.mark.parametrize("hidden", [0.0, -1.0, 1e30, np.nan, np.inf])
def test_an_absent_task_contributes_nothing(kind, hidden):
    method = built(kind())
    seen, (by_loss, *by_state) = derivatives(method, [2.0, hidden, 5.0], [True, False, True])
    assert np.isfinite(seen)
    assert by_loss[1] == 0 and np.all(by_loss[[0, 2]] > 0)
    for gradient in by_state:
        assert gradient[1] == 0 and np.all(gradient[[0, 2]] != 0)
    other, _ = derivatives(method, [2.0, 7.0, 5.0], [True, False, True])
    assert seen == other


@methods
def test_nobody_present(kind):
    objective, gradients = derivatives(built(kind()), [1.0, 2.0, 3.0], [False] * 3)
    assert objective == 0
    assert all(np.all(g == 0) for g in gradients)


@methods
@pytest.mark.parametrize("jit", [False, True])
def test_graph_and_xla_give_what_eager_gives(kind, jit):
    method = built(kind())
    losses, present = tf.constant([1.0, 2.0, 3.0]), tf.constant([True, False, True])
    compiled = tf.function(method.objective, jit_compile=jit)
    np.testing.assert_allclose(
        compiled(losses, present), method.objective(losses, present), rtol=1e-6
    )
    np.testing.assert_allclose(compiled(losses), method.objective(losses), rtol=1e-6)


@methods
def test_shapes_are_checked(kind):
    method = built(kind())
    with pytest.raises(ValueError, match=r"one axis, the tasks. Received: `losses.shape=\(1, 3\)`"):
        method.objective([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match=r"`losses` should have 3 entries, one per task"):
        method.objective([1.0, 2.0])
    with pytest.raises(ValueError, match=r"`present` should have 3 entries, one per task"):
        method.objective([1.0, 2.0, 3.0], [True, True])


@pytest.mark.parametrize("kind", [Uncertainty, DWA])
def test_use_before_build_is_an_error(kind):
    with pytest.raises(ValueError, match=rf"`{kind.__name__}` should be built with its tasks"):
        kind().objective([1.0, 2.0])


def test_equal_is_the_sum():
    objective, (by_loss,) = derivatives(built(Equal()), [1.0, 2.0, 4.0])
    assert objective == 7
    np.testing.assert_array_equal(by_loss, np.ones(3))
    assert float(Equal().objective(np.array([1.0, 2.0]))) == 3  # unbuilt


def test_uncertainty_is_the_paper_s_formula():
    losses, s = np.array([1.0, 2.0, 4.0]), np.array([0.5, -1.0, 2.0])
    factor = np.array([1.0, 0.5, 1.0])  # b is the regression
    objective, (by_loss, by_state) = derivatives(built(Uncertainty()), losses)
    assert objective == pytest.approx(np.sum(factor * np.exp(-s) * losses + s / 2), rel=1e-7)
    np.testing.assert_allclose(by_loss, factor * np.exp(-s), rtol=1e-6)
    np.testing.assert_allclose(by_state, 0.5 - factor * np.exp(-s) * losses, rtol=1e-6)


def test_uncertainty_refuses_a_family_that_it_has_no_formula_for():
    with pytest.raises(ValueError, match=r"of task `n` should be one of .*`loss_family='count'`"):
        Uncertainty().build(tasks(m="regression", n="count"))


def test_uncertainty_starts_with_the_losses_and_settles_at_one_half():
    method = Uncertainty()
    method.build(TASKS)
    losses = np.array([0.3, 2.0, 40.0])
    _, (by_loss, _) = derivatives(method, losses)
    np.testing.assert_allclose(by_loss, [1, 0.5, 1])
    for _ in range(100):
        _, (by_loss, by_state) = derivatives(method, losses)
        method.log_variance.assign_sub(by_state)
    np.testing.assert_allclose(by_loss * losses, np.full(3, 0.5), rtol=1e-4)


def test_dwa_is_the_paper_s_formula():
    method = DWA(temperature=0.7)
    method.build(TASKS)
    epochs = np.array([[1.0, 2.0, 3.0], [0.5, 2.0, 3.3], [0.4, 1.0, 3.3]])
    weights = []
    for losses in epochs:
        _, (by_loss,) = derivatives(method, [1.0, 1.0, 1.0])
        weights.append(by_loss)
        method.on_epoch_end({f"{n}_loss": x for n, x in zip("abc", losses, strict=True)})
    _, (by_loss,) = derivatives(method, [1.0, 1.0, 1.0])
    weights.append(by_loss)
    np.testing.assert_allclose(weights[0], np.ones(3), rtol=1e-6)
    np.testing.assert_allclose(weights[1], np.ones(3), rtol=1e-6)
    for epoch in (2, 3):
        powers = np.exp(epochs[epoch - 1] / epochs[epoch - 2] / 0.7)
        np.testing.assert_allclose(weights[epoch], 3 * powers / powers.sum(), rtol=1e-5)


def test_dwa_with_equal_ratios_gives_ones():
    method = DWA()
    method.build(TASKS)
    for factor in (1.0, 0.8, 0.64):
        method.on_epoch_end({"a_loss": factor, "b_loss": 20 * factor, "c_loss": 1e-3 * factor})
    np.testing.assert_allclose(method.epoch_weights(), np.ones(3), rtol=1e-5)


def test_dwa_keeps_the_ratio_of_a_task_without_a_loss():
    method = DWA()
    method.build(TASKS)
    method.on_epoch_end({"a_loss": 1.0, "b_loss": 1.0, "c_loss": 1.0})
    method.on_epoch_end({"a_loss": 0.5, "b_loss": 0.5, "c_loss": 0.5})
    before = np.array(method.history)
    for missing in ({}, {"b_loss": np.nan}, {"b_loss": np.inf}, {"b_loss": None}):
        method.on_epoch_end({"a_loss": 0.25, "c_loss": 0.5, "loss": 9.0, **missing})
        np.testing.assert_array_equal(np.array(method.history)[1], before[1])
    np.testing.assert_array_equal(np.array(method.history)[0], [0.25, 0.25])


def test_dwa_counts_a_ratio_without_meaning_as_one():
    method = DWA()
    method.build(TASKS)
    method.history.assign([[1.0, 0.0], [-1.0, -2.0], [3.0, 3.0]])
    np.testing.assert_allclose(method.epoch_weights(), np.ones(3), rtol=1e-6)
    method.history.assign([[1e30, 1e-30], [1.0, 1.0], [1.0, 1e30]])
    np.testing.assert_allclose(method.epoch_weights(), [3, 0, 0], atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf, "hot", None])
def test_dwa_temperature_is_checked(temperature):
    with pytest.raises(ValueError, match=r"`temperature` should be a positive number. Received"):
        DWA(temperature=temperature)
