"""TaskPrioritization: indicators out of the logs, their average, the weights."""

import numpy as np
import pytest
from loss_cases import built, weights

from mtlzoo.balancing import TaskPrioritization

METRICS = {"a": "accuracy", "b": "auc", "c": "f1"}


def focal(indicator, gamma=1.0):
    return -((1 - indicator) ** gamma) * np.log(indicator)


def logs(losses=(1.0, 1.0, 1.0), **others):
    return {f"{n}_loss": x for n, x in zip("abc", losses, strict=True)} | others


def ends(method, values, prefix=""):
    keys = [f"{prefix}{n}_{metric}" for n, metric in METRICS.items()]
    method.on_epoch_end(logs(**dict(zip(keys, values, strict=True))))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_is_the_paper_s_formula(gamma, decay):
    method = built(TaskPrioritization(METRICS, gamma, decay))
    np.testing.assert_array_equal(weights(method, [2.0, 3.0, 4.0]), np.ones(3))
    average = None
    for values in np.random.default_rng(0).uniform(0.05, 0.95, (4, 3)):
        ends(method, values)
        average = values if average is None else decay * average + (1 - decay) * values
        np.testing.assert_allclose(method.indicator, average, rtol=1e-6)
        found = weights(method, [2.0, 3.0, 4.0])
        np.testing.assert_allclose(found, focal(average, gamma), rtol=1e-5)
        found = weights(method, [2.0, 3.0, 4.0], [True, False, True])
        np.testing.assert_allclose(found, focal(average, gamma) * [1, 0, 1], rtol=1e-5)


def test_worse_tasks_get_more_weight():
    method = built(TaskPrioritization(METRICS))
    ends(method, [0.2, 0.5, 0.9])
    found = weights(method, [1.0, 1.0, 1.0])
    assert found[0] > found[1] > found[2] > 0


def test_the_ends_of_the_range_are_finite():
    method = built(TaskPrioritization(METRICS, decay=0.0))
    ends(method, [0.0, 0.01, 1.0])
    least = focal(0.01)
    np.testing.assert_allclose(weights(method, [1.0] * 3), [least, least, 0], rtol=1e-5, atol=1e-9)


def test_validation_comes_first():
    method = built(TaskPrioritization(METRICS, decay=0.0))
    known = {"a_accuracy": 0.9, "val_a_accuracy": 0.3, "b_auc": 0.6, "val_c_f1": 0.7}
    method.on_epoch_end(logs(**known))
    np.testing.assert_allclose(method.indicator, [0.3, 0.6, 0.7], rtol=1e-6)


def test_a_task_without_labels_keeps_its_indicator():
    method = built(TaskPrioritization(METRICS))
    ends(method, [0.3, 0.6, 0.7])
    before = np.array(method.indicator)
    method.on_epoch_end({"a_loss": 1.0, "a_accuracy": 0.3, "b_loss": np.nan, "b_auc": 0.0})
    np.testing.assert_allclose(method.indicator, before, rtol=1e-6)
    method.on_epoch_end(logs(a_accuracy=np.nan, b_auc=0.6, c_f1=0.7))
    np.testing.assert_allclose(method.indicator, before, rtol=1e-6)


@pytest.mark.parametrize("value", [1.5, -0.1, np.inf])
def test_a_metric_out_of_range_is_an_error_that_names_task_and_value(value):
    method = built(TaskPrioritization(METRICS))
    with pytest.raises(ValueError, match=rf"The metric of task `b` .* Received: b_auc={value}"):
        ends(method, [0.5, value, 0.5])
    np.testing.assert_array_equal(method.indicator, [-1, -1, -1])


def test_a_metric_that_is_not_logged_is_an_error_that_says_which_are():
    method = built(TaskPrioritization({"b": "accuracy"}))
    expected = r"task `b` that is logged, one of \['auc', 'loss'\]. Received: `metrics\['b'\]='accu"
    with pytest.raises(ValueError, match=expected):
        method.on_epoch_end(logs(b_auc=0.5))


def test_without_metrics_progress_since_the_first_epoch_is_the_indicator():
    method = built(TaskPrioritization(decay=0.0))
    method.on_epoch_end(logs([2.0, 40.0, 1.0]))
    np.testing.assert_array_equal(weights(method, [1.0] * 3), np.ones(3))
    method.on_epoch_end(logs([1.0, 10.0, 1.5]))
    np.testing.assert_allclose(method.indicator, [0.5, 0.75, 0.0], rtol=1e-6)
    np.testing.assert_allclose(weights(method, [1.0] * 3), focal(np.array([0.5, 0.75, 0.01])), 1e-5)
    method.on_epoch_end(logs([-1.0, 0.0, np.nan]))
    np.testing.assert_allclose(method.indicator, [1.0, 1.0, 0.0], rtol=1e-6)


def test_a_first_loss_that_is_not_positive_is_no_measure():
    method = built(TaskPrioritization())
    method.on_epoch_end(logs([0.0, -1.0, 1.0]))
    method.on_epoch_end(logs([4.0, -2.0, 0.5]))
    np.testing.assert_array_equal(method.indicator, [-1, -1, 0.5])
    method.on_epoch_end(logs([1.0, -3.0, 0.5]))
    np.testing.assert_array_equal(method.indicator, [0.75, -1, 0.5])


def test_metrics_of_some_tasks_and_losses_of_the_others():
    method = built(TaskPrioritization({"b": "auc"}, decay=0.0))
    method.on_epoch_end(logs([2.0, 3.0, 4.0], b_auc=0.8))
    np.testing.assert_allclose(method.indicator, [-1, 0.8, -1], rtol=1e-6)
    method.on_epoch_end(logs([1.0, 3.0, 1.0], b_auc=0.7))
    np.testing.assert_allclose(method.indicator, [0.5, 0.7, 0.75], rtol=1e-6)


def test_metrics_name_tasks():
    with pytest.raises(
        ValueError, match=r"entries of the tasks \['a', 'b', 'c'\] only. Received: "
    ):
        built(TaskPrioritization({"d": "accuracy"}))


@pytest.mark.parametrize("metrics", [["accuracy"], {"a": None}, "accuracy", 1])
def test_metrics_are_checked(metrics):
    with pytest.raises(
        ValueError, match=r"`metrics` should be a dict by task name of the names of"
    ):
        TaskPrioritization(metrics)


@pytest.mark.parametrize("gamma", [-1.0, np.nan, np.inf, "1", None])
def test_gamma_is_checked(gamma):
    with pytest.raises(
        ValueError, match=r"`gamma` should be a number of at least 0. Received: gamm"
    ):
        TaskPrioritization(gamma=gamma)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0, np.nan, "1", None])
def test_decay_is_checked(decay):
    with pytest.raises(
        ValueError, match=r"`decay` should be a number from 0 to below 1. Received: "
    ):
        TaskPrioritization(decay=decay)
