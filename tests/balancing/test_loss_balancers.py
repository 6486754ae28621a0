"""What every method of losses promises, and Equal, Uncertainty and DWA: values, derivatives."""

import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import tasks
from loss_cases import LOSSES, derivatives, keep, slopes

from mtlzoo.balancing import (
    COSMOS,
    DWA,
    FAMO,
    GLS,
    IMTLL,
    PBI,
    RLW,
    STCH,
    AutoLambda,
    Equal,
    InitialLossScale,
    ScaleInvariant,
    TaskPrioritization,
    Uncertainty,
)

TASKS = tasks(a="classification", b="regression", c="classification")
KINDS = [
    *(Equal, Uncertainty, DWA, RLW, GLS, ScaleInvariant, IMTLL, InitialLossScale, STCH),
    *(TaskPrioritization, COSMOS, PBI, FAMO, AutoLambda),
]
# They draw the losses to a direction, and so raise one that is small for it.
SIGNED = (COSMOS, PBI)
# Without state or arguments by task they need no tasks.
NEED_TASKS = [Uncertainty, DWA, IMTLL, InitialLossScale, TaskPrioritization, FAMO, AutoLambda]
# State away from its start, so that the tests see what it does.
STATE = {
    Uncertainty: {"log_variance": [0.5, -1.0, 2.0]},
    DWA: {"history": [[1.0, 2.0], [3.0, 2.0], [1.0, 1.0]]},
    IMTLL: {"log_scale": [0.5, -1.0, 2.0]},
    InitialLossScale: {"initial": [0.5, 3.0, 10.0]},
    TaskPrioritization: {"indicator": [0.2, -1.0, 0.7]},
    FAMO: {"logits": [0.5, -1.0, 2.0]},
    AutoLambda: {"lambda": [0.5, 0.1, 2.0]},
}


def built(method):
    method.build(TASKS)
    keep(method, STATE.get(type(method), {}))
    return method


methods = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.one_in(8)
@methods
@pytest.mark.parametrize("hidden", [0.0, -1.0, 1e30, np.nan, np.inf])
def test_an_absent_task_contributes_nothing(kind, hidden):
    method = built(kind())
    seen, (by_loss, *by_state) = derivatives(method, [2.0, hidden, 5.0], [True, False, True])
    assert np.isfinite(seen)
    assert by_loss[1] == 0 and np.all(by_loss[[0, 2]] != 0)
    assert kind in SIGNED or np.all(by_loss >= 0)
    for gradient in by_state:
        assert gradient[1] == 0 and np.all(gradient[[0, 2]] != 0)
    other, _ = derivatives(method, [2.0, 7.0, 5.0], [True, False, True])
    assert seen == other


@methods
def test_nobody_present(kind):
    objective, gradients = derivatives(built(kind()), [1.0, 2.0, 3.0], [False] * 3)
    assert objective == 0
    assert all(np.all(g == 0) for g in gradients)


@pytest.mark.one_in(11)
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


@pytest.mark.one_in(12)
@methods
@pytest.mark.parametrize("name", LOSSES)
def test_extremes_are_finite(kind, name):
    for dtype in ("float32", "float64"):
        for present in (None, [True, False, True], [False, True, False]):
            method = built(kind())
            objective, gradients = derivatives(method, LOSSES[name], present, dtype)
            assert objective.dtype == gradients[0].dtype == dtype
            assert np.all(np.isfinite(objective)), (dtype, present)
            assert all(np.all(np.isfinite(g)) for g in gradients), (dtype, present)
            losses = tf.constant(LOSSES[name], dtype)
            learned = method.advance(losses, present) | method.after_update(losses, losses, present)
            assert all(np.all(np.isfinite(value)) for value in learned.values())


# FAMO takes a factor of its objective for a constant: see its own tests.
@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", [k for k in KINDS if k is not FAMO])
def test_derivatives_are_slopes(kind):
    method = built(kind())
    losses = np.array([1.0, 2.5, 4.0])
    for present in (None, [True, False, True]):
        _, (by_loss, *_) = derivatives(method, losses, present)
        found = slopes(lambda point, p=present: float(method.objective(point, p)), losses)
        np.testing.assert_allclose(by_loss, found, rtol=1e-8, atol=1e-8)
        _, (single, *_) = derivatives(method, losses, present, "float32")
        np.testing.assert_allclose(single, by_loss, rtol=2e-6, atol=2e-6)


@pytest.mark.one_in(2)
@methods
def test_what_was_learned_resumes_by_name(kind):
    method, again = kind(), kind()
    for each in (method, again):
        each.build(TASKS)
    rng = np.random.default_rng(0)
    for _ in range(3):
        before, after = rng.uniform(0.5, 2.0, (2, 3)).astype("float32")
        keep(method, method.advance(tf.constant(before)))
        keep(method, method.after_update(before, after))
        keep(method, {"step": method.step + 1})
        method.on_epoch_end({f"{n}_loss": x for n, x in zip("abc", after, strict=True)})
    keep(again, {name: np.array(variable) for name, variable in method.state.items()})
    losses, present = [1.0, 2.5, 4.0], [True, True, False]
    expected, gradients = derivatives(method, losses, present)
    found, others = derivatives(again, losses, present)
    assert found == expected
    for one, other in zip(gradients, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", NEED_TASKS)
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
