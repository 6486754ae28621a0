"""IMTLL against its formula, and where its training leads."""

import numpy as np
import pytest
from gradient_cases import tasks
from loss_cases import built, derivatives, slopes

from mtlzoo.balancing import IMTLL, Uncertainty

LOSSES = np.array([0.3, 2.0, 40.0])


def at(scales):
    method = built(IMTLL())
    method.log_scale.assign(scales)
    return method


def test_is_the_paper_s_formula():
    scales = np.array([0.5, -1.0, 2.0])
    objective, (by_loss, by_scale) = derivatives(at(scales), LOSSES)
    assert objective == pytest.approx(np.sum(np.exp(scales) * LOSSES - scales), rel=1e-12)
    np.testing.assert_allclose(by_loss, np.exp(scales), rtol=1e-12)
    expected = slopes(lambda s: np.sum(np.exp(s) * LOSSES - s), scales)
    np.testing.assert_allclose(by_scale, expected, rtol=1e-6)  # float32, as is the variable


def test_starts_as_the_sum_and_settles_where_all_weighted_losses_are_one():
    method = built(IMTLL())
    objective, (by_loss, _) = derivatives(method, LOSSES)
    assert objective == pytest.approx(LOSSES.sum(), rel=1e-12)
    np.testing.assert_array_equal(by_loss, np.ones(3))
    for _ in range(20):  # Newton's steps: exp(s) L is the second derivative by s
        _, (by_loss, by_scale) = derivatives(method, LOSSES)
        method.log_scale.assign_sub(by_scale / (by_loss * LOSSES))
    np.testing.assert_allclose(by_loss * LOSSES, np.ones(3), rtol=1e-4)


def test_an_absent_task_has_no_term():
    method = at([0.5, -1.0, 2.0])
    objective, (_, by_scale) = derivatives(method, LOSSES, [True, False, False])
    assert objective == pytest.approx(np.exp(0.5) * 0.3 - 0.5, rel=1e-12)
    np.testing.assert_array_equal(by_scale[1:], [0, 0])


def test_is_twice_uncertainty_for_regression():
    scales = np.array([0.5, -1.0, 2.0])
    other = Uncertainty()
    other.build(tasks(a="regression", b="regression", c="regression"))
    other.log_variance.assign(-scales)
    mine, (by_loss, by_scale) = derivatives(at(scales), LOSSES)
    theirs, (their_loss, by_variance) = derivatives(other, LOSSES)
    assert mine == pytest.approx(2 * theirs, rel=1e-12)
    np.testing.assert_allclose(by_loss, 2 * their_loss, rtol=1e-12)
    np.testing.assert_allclose(by_scale, -2 * by_variance, rtol=1e-6)


def test_a_loss_of_zero_or_below_has_no_best_scale():
    method = at([5.0, 5.0, 5.0])
    _, (_, by_scale) = derivatives(method, [0.0, -1.0, 1.0])
    assert by_scale[0] == -1 and by_scale[1] < -1 and by_scale[2] > 0
