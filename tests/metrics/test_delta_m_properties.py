"""What holds for `delta_m` whatever the numbers are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlzoo.metrics import delta_m
from mtlzoo.tasks import BinaryClassification, Regression

# Nothing so large or so small that a ratio of two of them leaves float64.
numbers = st.floats(-1e6, 1e6).filter(lambda number: abs(number) > 1e-6)


@st.composite
def comparisons(draw, at_least=1):
    """Results, baselines and tasks, some of which are better when higher and some when lower."""
    kinds = draw(st.lists(st.booleans(), min_size=at_least, max_size=6))
    tasks = [
        (BinaryClassification if higher else Regression)(f"task_{place}")
        for place, higher in enumerate(kinds)
    ]
    results = {task.name: draw(numbers) for task in tasks}
    baselines = {task.name: draw(numbers) for task in tasks}
    return results, baselines, tasks


def close(number):
    return pytest.approx(number, rel=1e-9, abs=1e-9)


@pytest.mark.slow
@given(comparisons())
def test_nothing_gained_is_zero(comparison):
    _, baselines, tasks = comparison
    assert delta_m(baselines, baselines, tasks) == 0


@given(comparisons(), st.randoms())
def test_the_order_of_tasks_means_nothing(comparison, random):
    results, baselines, tasks = comparison
    mixed = random.sample(tasks, len(tasks))
    assert delta_m(results, baselines, mixed) == close(delta_m(results, baselines, tasks))


@given(comparisons(), st.floats(0.01, 100))
def test_units_mean_nothing(comparison, factor):
    results, baselines, tasks = comparison
    scaled = [{name: factor * value for name, value in d.items()} for d in (results, baselines)]
    assert delta_m(*scaled, tasks) == close(delta_m(results, baselines, tasks))


@given(comparisons())
def test_it_is_the_mean_over_the_tasks_alone(comparison):
    results, baselines, tasks = comparison
    alone = [delta_m({t.name: results[t.name]}, {t.name: baselines[t.name]}, [t]) for t in tasks]
    assert delta_m(results, baselines, tasks) == close(sum(alone) / len(alone))


@given(comparisons(), st.integers(0, 5), st.floats(1e-3, 1e3))
def test_a_better_task_makes_it_larger_and_a_worse_one_smaller(comparison, place, by):
    results, baselines, tasks = comparison
    task = tasks[place % len(tasks)]
    better = by if task.mode == "max" else -by
    before = delta_m(results, baselines, tasks)
    for sign in (1, -1):
        moved = {**results, task.name: results[task.name] + sign * better}
        gain = 100 * by / abs(baselines[task.name]) / len(tasks)
        change = delta_m(moved, baselines, tasks) - before
        assert change == pytest.approx(sign * gain, rel=1e-6, abs=1e-9 * (1 + abs(before)))
