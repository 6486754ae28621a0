"""The trials that no other one beats."""

import itertools

import numpy as np
import pytest

from mtlzoo.analysis import Finding
from mtlzoo.tasks import BinaryClassification, Regression
from mtlzoo.tuning import ParetoFront
from mtlzoo.tuning.pareto import Trial, non_dominated

TASKS = [BinaryClassification("click"), Regression("price")]


def trial(number, click, price, architecture="MMoE"):
    settings = {"architecture": architecture, "balancer": "equal", "learning_rate": 0.001234}
    return Trial(str(number), settings, {"click": click, "price": price}, click)


@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_the_front_is_what_a_definition_says(tasks):
    points = np.random.default_rng(tasks).integers(0, 4, (30, tasks)).astype("float64")

    def beats(a, b):
        return all(x >= y for x, y in zip(a, b, strict=True)) and any(
            x > y for x, y in zip(a, b, strict=True)
        )

    expected = [not any(beats(other, each) for other in points) for each in points]
    assert non_dominated(points).tolist() == expected


def test_lower_is_better_where_the_task_says_so():
    trials = [trial(0, 0.9, 5.0), trial(1, 0.8, 3.0), trial(2, 0.8, 4.0), trial(3, 0.9, 5.0)]
    front = ParetoFront(trials, TASKS)
    assert [each.name for each in front.front] == ["0", "1", "3"]
    assert isinstance(front, Finding)
    assert front.title == "Pareto front of 4 trials, 3 of which are on it"
    said = front.words()
    assert "Trial 1 (MMoE, equal): click auc 0.8, price rmse 3." in said
    assert "Best for task click is trial 0. Best for task price is trial 1." in said
    rows = front.rows()
    assert rows[0] == ["trial", "front", "score", "click auc", "price rmse", "settings"]
    assert rows[3][:5] == ["2", "", "0.8000", "0.8000", "4.0000"]
    assert rows[1][-1] == "architecture=MMoE, balancer=equal, learning_rate=0.00123"


@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_the_picture_has_a_panel_for_each_pair(tasks):
    kinds = [Regression(f"t{i}") for i in range(tasks)]
    draws = np.random.default_rng(0).normal(size=(6, tasks))
    trials = [
        Trial(
            str(i),
            {"architecture": "AB"[i % 2]},
            {task.name: float(v) for task, v in zip(kinds, row, strict=True)},
            0.0,
        )
        for i, row in enumerate(draws)
    ]
    front = ParetoFront(trials, kinds)
    shown = [panel for panel in front.figure().axes if panel.get_visible()]
    assert len(shown) == min(6, max(1, len(list(itertools.combinations(kinds, 2)))))
    first, second = kinds[0].name, kinds[min(1, tasks - 1)].name
    assert shown[0].get_xlabel() == f"task {first}: validation rmse\n(lower is better)"
    assert shown[0].get_ylabel() == f"task {second}: validation rmse\n(lower is better)"
    assert {text.get_text() for text in shown[0].texts} == {each.name for each in front.front}


def test_what_is_not_finite_is_not_on_the_front():
    front = ParetoFront([trial(0, float("nan"), 9.0), trial(1, 0.9, 10.0)], TASKS)
    assert [each.name for each in front.front] == ["1"]
    assert "Not on it for a metric that is not finite: 0." in front.words()
    assert "Best for task price is trial 1." in front.words()
    with pytest.raises(ValueError, match="with finite metrics at least"):
        ParetoFront([trial(0, float("nan"), 9.0)], TASKS)


def test_trials_without_a_metric_are_refused():
    with pytest.raises(ValueError, match="`trials` should have a completed trial at least"):
        ParetoFront([], TASKS)
    with pytest.raises(ValueError, match="Trial 7 should have the deciding metric of task `price`"):
        ParetoFront([Trial("7", {}, {"click": 0.5}, 0.0)], TASKS)
