"""One number for several tasks, for a search."""

import math

import keras
import keras_tuner
import pytest
from keras_tuner.src.engine import tuner_utils

from mtlzoo.tasks import BinaryClassification, Regression
from mtlzoo.tuning import MultiTaskObjective

TASKS = [BinaryClassification("click"), Regression("price")]
BASELINES = {"click": 0.8, "price": 10.0}


def logs(click, price):
    return {"loss": 1.0, "val_click_auc": click, "val_price_rmse": price}


def test_it_is_delta_m_of_the_validation_logs():
    objective = MultiTaskObjective(TASKS, baselines=BASELINES)
    assert isinstance(objective, keras_tuner.Objective)
    assert (objective.name, objective.direction) == ("val_delta_m", "max")
    assert objective.get_value(logs(0.84, 9.0)) == pytest.approx(7.5)
    assert objective.has_value(logs(0.84, 9.0))
    assert not objective.has_value({"loss": 1.0})


@pytest.mark.parametrize(
    ("target", "name", "direction"),
    [("click", "val_click_auc", "max"), ("price", "val_price_rmse", "min")],
)
def test_it_is_the_metric_of_one_task(target, name, direction):
    objective = MultiTaskObjective(TASKS, target=target)
    assert (objective.name, objective.direction) == (name, direction)
    assert objective.get_value({name: 3.0}) == 3.0


def test_a_trial_that_breaks_a_limit_is_worse_than_every_one_that_does_not():
    objective = MultiTaskObjective(TASKS, target="price", constraints={"click": 0.8})
    assert (objective.name, objective.direction) == ("val_within_limits", "max")
    order = [logs(0.4, 0.1), logs(0.79, 0.1), logs(0.8, 1e6), logs(0.95, 9.0), logs(0.81, 2.0)]
    values = [objective.get_value(each) for each in order]
    assert values == sorted(values)
    assert len(set(values)) == len(values)
    assert values[0] == pytest.approx(-20.5)
    assert values[1] < 0 < values[2] < values[-1] < 2


def test_a_trial_of_several_executions_keeps_a_limit_only_if_all_of_them_do():
    objective = MultiTaskObjective(TASKS, target="price", constraints={"click": 0.8})

    def score(clicks, price):
        histories = [keras.callbacks.History() for _ in clicks]
        for history, click in zip(histories, clicks, strict=True):
            history.history = {key: [value] for key, value in logs(click, price).items()}
        # As a tuner with `executions_per_trial` does.
        return tuner_utils.convert_to_metrics_dict(histories, objective)["val_within_limits"]

    kept = score([0.85, 0.85, 0.85], 5.0)
    assert kept == pytest.approx(1 - 5 / 6)
    assert score([0.7, 0.7, 0.81], 0.1) < score([0.79] + 9 * [0.95], 0.0) < 0 < kept


def test_limits_of_what_should_be_low_are_from_above_and_broken_ones_add_up():
    limits = {"click": 0.8, "price": 10.0}
    objective = MultiTaskObjective(TASKS, baselines=BASELINES, constraints=limits)
    assert objective.get_value(logs(0.4, 15.0)) == pytest.approx(-20 - 0.5 - 0.5)
    assert objective.get_value(logs(0.8, 10.0)) == pytest.approx(1.0)  # a gain of nothing
    assert objective.get_value(logs(0.84, 9.0)) == pytest.approx(1 + 0.075 / 1.075)


def test_what_is_not_finite_is_no_number():
    objective = MultiTaskObjective(TASKS, baselines=BASELINES)
    assert math.isnan(objective.get_value(logs(float("nan"), 9.0)))
    assert math.isnan(objective.get_value(logs(0.8, float("inf"))))


def test_logs_without_validation_are_refused():
    objective = MultiTaskObjective(TASKS, baselines=BASELINES)
    with pytest.raises(
        ValueError, match=r"should have 'val_click_auc', which decides task `click`"
    ):
        objective.get_value({"loss": 1.0, "val_price_rmse": 1.0})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "Either `baselines` or `target` should be given"),
        ({"baselines": BASELINES, "target": "click"}, "Either `baselines` or `target`"),
        ({"target": "buy"}, r"`target` should be one of the tasks \['click', 'price'\]"),
        ({"baselines": {"click": 1.0}}, "`baselines` should have a finite number for task `price`"),
        ({"baselines": {"click": 0.0, "price": 1.0}}, "should not be 0 for task `click`"),
        ({"target": "click", "constraints": {"buy": 1}}, r"as keys. Received: 'buy'"),
        ({"target": "click", "constraints": {"price": "x"}}, r"`constraints\['price'\]` should be"),
        ({"target": "click", "constraints": [1]}, "`constraints` should be a dict by task"),
    ],
)
def test_unusable_arguments_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        MultiTaskObjective(TASKS, **arguments)
