import pytest

from mtlzoo.metrics import delta_m
from mtlzoo.tasks import BinaryClassification, Regression

TASKS = [BinaryClassification("click"), Regression("price")]


def test_positive_is_better_in_both_directions():
    baselines = {"click": 0.8, "price": 10.0}
    assert delta_m({"click": 0.88, "price": 10.0}, baselines, TASKS) == pytest.approx(5)
    assert delta_m({"click": 0.8, "price": 9.0}, baselines, TASKS) == pytest.approx(5)
    assert delta_m({"click": 0.84, "price": 11.0}, baselines, TASKS) == pytest.approx(-2.5)
    assert delta_m(baselines, baselines, TASKS) == 0


def test_negative_baselines_keep_the_direction():
    assert delta_m({"price": -12.0}, {"price": -10.0}, TASKS[1:]) == pytest.approx(20)


@pytest.mark.parametrize(
    ("results", "baselines", "tasks", "text"),
    [
        ({"price": 1.0}, {"price": 0.0}, TASKS[1:], r"not be 0 for task `price`.*Received: 0\.0"),
        ({}, {"price": 1.0}, TASKS[1:], r"`results` should have a finite.*`price`.*None"),
        ({"price": 1.0}, {"price": float("nan")}, TASKS[1:], r"`baselines` .*`price`.*nan"),
        ({"price": 1.0, "x": 2.0}, {"price": 1.0}, TASKS[1:], r"only the tasks \['price'\].*'x'"),
        ({}, {}, [], r"at least one task. Received: tasks=\[\]"),
    ],
)
def test_bad_input(results, baselines, tasks, text):
    with pytest.raises(ValueError, match=text):
        delta_m(results, baselines, tasks)
