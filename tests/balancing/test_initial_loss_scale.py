"""InitialLossScale: the first loss of each task, whenever it comes."""

import numpy as np
import pytest
import tensorflow as tf
from loss_cases import built, keep, weights

from mtlzoo.balancing import InitialLossScale


def step(method, losses, present=None):
    """The objective and the weights of a step, after which the method remembers it."""
    losses = np.array(losses, "float32")
    objective = float(method.objective(losses, present))
    found = weights(method, losses, present, "float32")
    keep(method, method.advance(tf.constant(losses), present))
    return objective, found


def test_divides_by_the_losses_of_the_first_step():
    method = built(InitialLossScale())
    first = np.array([200.0, 0.5, 3.0])
    for losses in (first, first / 2, first * [0.1, 2.0, 1.0]):
        objective, found = step(method, losses)
        assert objective == pytest.approx(np.sum(losses / first), rel=1e-6)
        np.testing.assert_allclose(found, 1 / first, rtol=1e-6)
    np.testing.assert_array_equal(method.initial, first)


def test_a_task_that_comes_later_has_a_term_of_one_when_it_comes():
    method = built(InitialLossScale())
    assert step(method, [2.0, np.nan, 3.0], [True, False, True])[0] == pytest.approx(2.0)
    np.testing.assert_array_equal(method.initial, [2, 0, 3])
    objective, found = step(method, [1.0, 50.0, np.inf], [True, True, False])
    assert objective == pytest.approx(0.5 + 1.0)
    np.testing.assert_allclose(found, [0.5, 0.02, 0], rtol=1e-6)
    np.testing.assert_array_equal(method.initial, [2, 50, 3])


def test_a_loss_without_scale_has_weight_one_and_is_not_the_first():
    method = built(InitialLossScale())
    objective, found = step(method, [0.0, -2.0, 4.0])
    assert objective == pytest.approx(0.0 - 2.0 + 1.0)
    np.testing.assert_allclose(found, [1, 1, 0.25])
    np.testing.assert_array_equal(method.initial, [0, 0, 4])
    step(method, [0.25, np.inf, np.nan])
    np.testing.assert_array_equal(method.initial, [0.25, 0, 4])


@pytest.mark.parametrize("jit", [False, True])
def test_remembers_the_same_in_a_graph(jit):
    method = built(InitialLossScale())
    advance = tf.function(method.advance, jit_compile=jit)
    for losses, present in ([[1.0, 2.0, 0.0], [True, False, True]], [[3.0, 4.0, 5.0], [True] * 3]):
        keep(method, advance(tf.constant(losses), tf.constant(present)))
    np.testing.assert_array_equal(method.initial, [1, 4, 5])
