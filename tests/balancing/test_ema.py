"""EMA: averages of weights, and the state of the method inside."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradient_cases import gradient_sets, tasks

from mtlzoo import balancing
from mtlzoo.balancing import (
    DWA,
    EMA,
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    GradDrop,
    GradVac,
    PCGrad,
    UPGrad,
)

THREE = tasks(a="regression", b="regression", c="regression")


def keep(method, state):
    for name, value in state.items():
        method.state[name].assign(value)


def gramian(seed, name="plain"):
    gradients = gradient_sets(3, seed)[name]
    return gradients @ gradients.T


def test_averages_the_weights_from_the_first_on():
    method = EMA(MGDA(), decay=0.7)
    method.build(THREE)
    expected = None
    for step in range(5):
        own = MGDA().weights(gramian(step))
        expected = own if expected is None else 0.7 * expected + 0.3 * own
        weights, state = method.advance(gramian(step))
        np.testing.assert_allclose(weights, expected, rtol=1e-6)
        np.testing.assert_allclose(np.sum(weights), 1.0, rtol=1e-6)
        keep(method, state)
    assert np.abs(expected - own).max() > 0.01


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", [UPGrad, CAGrad, AlignedMTL])
def test_a_sum_that_varies_is_averaged_too(kind):
    method = EMA(kind(), decay=0.9)
    method.build(THREE)
    expected, sums = None, []
    for step in range(4):
        conflict = np.diag([1.0, 4.0, 1.0])
        conflict[0, 1] = conflict[1, 0] = -0.6 * step
        own = kind().weights(conflict)
        expected = own if expected is None else 0.9 * expected + 0.1 * own
        weights, state = method.advance(conflict)
        np.testing.assert_allclose(weights, expected, rtol=1e-6)
        sums.append(np.sum(own))
        keep(method, state)
    assert np.ptp(sums) > 0.01


def test_weights_of_any_sign_do_not_explode_where_a_task_is_absent():
    method = EMA(IMTLG(), decay=0.9)
    method.build(THREE)
    keep(method, {"average": [-1.43, 1.17, 1.26], "seen": [1.0, 1.0, 1.0]})
    present = [True, False, True]
    weights, _ = method.advance(gramian(0), present=present)
    np.testing.assert_allclose(weights, IMTLG().weights(gramian(0), present=present), rtol=1e-6)


def test_the_weights_of_those_present_have_the_sum_of_the_method_s():
    method = EMA(MGDA(), decay=0.5)
    method.build(THREE)
    keep(method, {"average": [0.5, 0.25, 0.25], "seen": [1.0, 1.0, 1.0]})
    weights, _ = method.advance(np.eye(3), present=[True, True, False])
    np.testing.assert_allclose(weights, [0.5 / 0.875, 0.375 / 0.875, 0.0], rtol=1e-6)


def test_an_absent_task_keeps_its_average_and_a_new_one_starts_with_its_own():
    method = EMA(PCGrad(), decay=0.5)
    method.build(THREE)
    two = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, 0.0], [-0.5, 0.0, 1.0]])
    weights, state = method.advance(two, present=[True, False, True])
    np.testing.assert_allclose(weights, [1.5, 0, 1.5])
    np.testing.assert_array_equal(state["seen"], [1, 0, 1])
    keep(method, state)
    weights, state = method.advance(np.eye(3), present=[True, True, False])
    np.testing.assert_allclose(weights, [1.25, 1, 0])
    np.testing.assert_allclose(state["average"], [1.25, 1, 1.5])
    np.testing.assert_array_equal(state["seen"], [1, 1, 1])
    keep(method, state)
    # One task alone has the weight 1, and nothing is learned from it.
    weights, state = method.advance(np.eye(3), present=[False, False, True])
    np.testing.assert_array_equal(weights, [0, 0, 1])
    np.testing.assert_allclose(state["average"], [1.25, 1, 1.5])


def test_without_decay_or_before_build_it_is_the_method():
    method = EMA(MGDA(), decay=0)
    np.testing.assert_array_equal(method.weights(gramian(0)), MGDA().weights(gramian(0)))
    method.build(THREE)
    for step in range(3):
        weights, state = method.advance(gramian(step))
        np.testing.assert_allclose(weights, MGDA().weights(gramian(step)), rtol=1e-6)
        keep(method, state)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("depth", [1, 2])
def test_the_method_inside_learns_as_it_does_alone(depth):
    alone = GradVac(beta=0.5, seed=2)
    inside = GradVac(beta=0.5, seed=2)
    method = inside
    for _ in range(depth):
        method = EMA(method, decay=0.0)
    for each in (alone, method):
        each.build(THREE)
    prefix = depth * "balancer_"
    assert method.state[f"{prefix}cosines"] is inside.cosines
    assert inside.step is method.step
    advance = tf.function(method.advance)
    for step in range(4):
        for each in (alone, method):
            each.step.assign(step)
        expected, state = alone.advance(gramian(step))
        weights, learned = advance(gramian(step))
        np.testing.assert_allclose(weights, expected, rtol=1e-6)
        np.testing.assert_allclose(learned[f"{prefix}cosines"], state["cosines"], rtol=1e-6)
        assert set(learned) == set(method.learned)
        keep(alone, state)
        keep(method, learned)
    assert np.abs(inside.cosines).max() > 0.1


def test_weights_that_fail_inside_are_equal_ones_in_the_average():
    class Failing(MGDA):
        def _weights(self, gramian, losses, present):
            return gramian[..., 0] * np.nan

    method = EMA(Failing(), decay=0.5)
    method.build(THREE)
    weights, state = method.advance(np.eye(3))
    np.testing.assert_allclose(weights, np.full(3, 1 / 3))
    np.testing.assert_allclose(state["average"], np.full(3, 1 / 3), rtol=1e-6)


def test_options_are_those_of_the_method():
    method = EMA(PCGrad(wrt="features", every=3))
    assert (method.wrt, method.every, method.groups) == ("features", 3, None)
    assert not method.averages and EMA(MGDA()).averages
    assert method.needs == PCGrad().needs
    method.build(THREE)
    assert set(method.learned) == {"average", "seen"}


def test_groups_have_averages_of_their_own():
    method = EMA(GradVac(groups="layers"), decay=0.5)
    paths = [type("V", (), {"path": path})() for path in ("a/kernel", "b/kernel")]
    method.build(tasks(x="regression", y="regression"), paths)
    assert method.average.shape == (2, 2)
    assert method.balancer.cosines.shape == (2, 2, 2)
    both = np.array([[[1.0, 0.5], [0.5, 1.0]], [[1.0, -0.5], [-0.5, 1.0]]])
    weights, state = method.advance(both)
    np.testing.assert_allclose(weights, [[1, 1], [1.5, 1.5]])
    keep(method, state)
    weights, _ = method.advance(both[::-1])
    np.testing.assert_allclose(weights, [[1.25, 1.25], [1.25, 1.25]], rtol=1e-2)


@pytest.mark.slow
def test_trains_and_is_saved_with_the_model(tmp_path):
    import mtlzoo

    def model():
        keras.utils.set_random_seed(0)
        both = [mtlzoo.Regression("a"), mtlzoo.Regression("b")]
        model = mtlzoo.HardSharing(keras.Input((3,)), both, shared_units=(4,))
        model.compile("sgd", balancer=EMA(GradVac(beta=0.5), decay=0.5))
        return model

    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3)).astype("float32")
    y = {n: rng.normal(size=(32, 1)).astype("float32") for n in "ab"}
    one = model()
    one.fit(x, y, batch_size=8, epochs=2, verbose=0)
    assert np.all(np.asarray(one.balancer.seen) == 1)
    assert np.abs(one.balancer.balancer.cosines).max() > 0
    one.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.balancer.get_config() == one.balancer.get_config()
    for name, variable in one.balancer.state.items():
        np.testing.assert_array_equal(variable, again.balancer.state[name])


def test_arguments_are_checked():
    for wrong in (DWA(), DWA, "dwa", GradDrop()):
        with pytest.raises(ValueError, match="`balancer` should be a `GradientBalancer`"):
            EMA(wrong)
    with pytest.raises(ValueError, match="`balancer` should be a name"):
        EMA(None)
    for decay in (-0.1, 1.0, True, "1", float("nan")):
        with pytest.raises(ValueError, match="`decay` should be a number from 0 to below 1"):
            EMA(MGDA(), decay=decay)
    config = keras.saving.serialize_keras_object(EMA(GradVac(seed=4), decay=0.3))
    again = balancing.get(config)
    assert repr(again) == repr(EMA(GradVac(seed=4), decay=0.3))
