"""How much better the tasks of a run are than a baseline: `delta_m`, and each task's part."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mtlzoo.metrics import delta_m
from mtlzoo.reporting import intervals
from mtlzoo.reporting.intervals import Interval
from mtlzoo.reporting.run import Run
from mtlzoo.tasks import Task

Baseline = Run | Mapping[str, float]


class Gains(NamedTuple):
    """The relative gains of a run, in percent; positive is better.

    Attributes:
        whole: The mean over the tasks, `delta_m`.
        by_task: That of each task.
        paired: Whether trainings were compared seed by seed; else the means were.
    """

    whole: Interval
    by_task: dict[str, Interval]
    paired: bool


def gains(run: Run, baseline: Baseline) -> Gains | None:
    """The gains of a run over a baseline, in each task's deciding metric.

    Where both have the same seeds, and several, they are compared seed by seed, and the interval is
    a t interval of these gains. Otherwise their means are compared, without an interval.

    Args:
        run: The run.
        baseline: Another run, or the deciding metric by task.

    Returns:
        The gains; `None` where a task has no test data, or a baseline is 0 or not finite, against
        which there is no relative gain.
    """
    tasks = list(run.tasks.values())
    ours = {task.name: run.values(task.name, task.monitor) for task in tasks}
    theirs = {task.name: _of(baseline, task) for task in tasks}
    each = [set(found) for side in (ours, theirs) for found in side.values()]
    both = each[0]
    paired = len(both) > 1 and all(found == both for found in each)
    if paired:
        in_order = sorted(both, key=lambda seed: (seed is None, seed or 0))
        compared = [_side(ours, seed) for seed in in_order], [_side(theirs, s) for s in in_order]
    else:
        compared = [_means(ours)], [_means(theirs)]
    pairs = list(zip(*compared, strict=True))
    if not all(_comparable(*pair) for pair in pairs):
        return None
    of = {
        task.name: _interval(
            [
                delta_m({task.name: r[task.name]}, {task.name: b[task.name]}, [task])
                for r, b in pairs
            ]
        )
        for task in tasks
    }
    return Gains(_interval([delta_m(r, b, tasks) for r, b in pairs]), of, paired)


def check_baseline(runs: Sequence[Run], baseline: Baseline) -> None:
    """Check that a baseline has a number for each task of the runs, and for no other one.

    Args:
        runs: The runs.
        baseline: Another run, or the deciding metric by task.

    Raises:
        ValueError: If it is neither, or has other tasks.
    """
    if not isinstance(baseline, Run | Mapping):
        raise ValueError(
            "`baseline` should be a run, or a dict of the deciding metric by task. "
            f"Received: baseline={baseline!r}"
        )
    named = list(baseline.tasks) if isinstance(baseline, Run) else list(baseline)
    known = sorted({name for run in runs for name in run.tasks})
    for name in named:
        if name not in known:
            raise ValueError(
                f"`baseline` should have only tasks of the runs, {known}. Received: {name!r}"
            )
    for name in known:
        if name not in named:
            raise ValueError(
                f"`baseline` should have each of the tasks {known}. Received: none for {name!r}"
            )
    if isinstance(baseline, Run):
        for name, task in baseline.tasks.items():
            if not baseline.values(name, task.monitor):
                raise ValueError(
                    f"`baseline` should have test data for task `{name}`: give them to `Run.add`. "
                    f"Received: the run {baseline.name!r}, which has none"
                )
            for run in runs:
                if name in run.tasks and run.tasks[name].monitor != task.monitor:
                    raise ValueError(
                        f"Task `{name}` should be decided by one metric in all runs. Received: "
                        f"{task.monitor!r} in {baseline.name!r} and "
                        f"{run.tasks[name].monitor!r} in {run.name!r}"
                    )
    else:
        for name, value in baseline.items():
            if not _is_finite(value):
                raise ValueError(
                    f"`baseline` should have a finite number for task `{name}`. Received: {value!r}"
                )


def _is_finite(value: object) -> bool:
    is_number = isinstance(value, numbers.Real) or getattr(value, "shape", None) == ()
    return is_number and not isinstance(value, bool) and math.isfinite(float(value))  # type: ignore


def _of(baseline: Baseline, task: Task) -> dict[int | None, float]:
    if isinstance(baseline, Run):
        return baseline.values(task.name, task.monitor)
    return {None: float(baseline[task.name])}


def _side(found, seed):
    return {name: values[seed] for name, values in found.items()}


def _means(found):
    return {n: sum(v.values()) / len(v) if v else math.nan for n, v in found.items()}


def _comparable(results, baselines):
    numbers = [*results.values(), *baselines.values()]
    return all(map(math.isfinite, numbers)) and all(baselines.values())


def _interval(values):
    if len(values) > 1:
        return intervals.of_seeds(values)
    return Interval(values[0], math.nan, math.nan, "none")
