"""The parts of a page that say how good the runs are."""

import math
from collections.abc import Sequence

from mtlzoo.analysis.phrases import listed
from mtlzoo.models.callbacks import usual_mode
from mtlzoo.reporting import charts
from mtlzoo.reporting.gains import Baseline, Gains
from mtlzoo.reporting.markup import Child, Html, join, table, tag
from mtlzoo.reporting.numbers_in_words import of_interval, short
from mtlzoo.reporting.run import Run
from mtlzoo.tasks import Task

_BETTER = {"max": "higher is better", "min": "lower is better"}


def tasks_of(runs: Sequence[Run]) -> dict[str, Task]:
    """The tasks of all runs, by name, in sorted order.

    Args:
        runs: The runs.
    """
    found = {name: task for run in runs for name, task in run.tasks.items()}
    return dict(sorted(found.items()))


def in_words(runs: Sequence[Run], found: dict[str, Gains | None], than: str) -> list[str]:
    """What the results say, in sentences.

    Args:
        runs: The runs.
        found: By the name of a run its gains over the baseline; empty without one.
        than: The name of the baseline.
    """
    said = []
    for run in runs:
        if run.name not in found:
            continue
        gains = found[run.name]
        if gains is None:
            said.append(f"{run.name} cannot be compared with {than}: see the limits below.")
            continue
        better = [name for name, gain in gains.by_task.items() if gain.value > 0]
        whole = gains.whole
        verdict = "better" if whole.value > 0 else "not better"
        line = (
            f"{run.name} is {verdict} than {than} by delta_m: {whole.value:+.2f}\u00a0% on "
            f"average, and better on {len(better)} of {len(gains.by_task)} tasks"
        )
        line += f" ({listed(better)})." if better else "."
        if whole.by == "seeds":
            ends = f"{whole.low:+.2f} to {whole.high:+.2f}\u00a0%"
            sure = whole.low > 0 or whole.high < 0
            line += f" Over seeds the interval is {ends}, "
            line += "which does not hold 0." if sure else "which holds 0: it may be chance."
        said.append(line)
    for name, task in tasks_of(runs).items():
        said += _best(name, task, runs)
    return said


def _best(name, task, runs):
    known = [(run.name, run.interval(name, task.monitor)) for run in runs if name in run.tasks]
    known = [(run, i) for run, i in known if i is not None and math.isfinite(i.value)]
    if len(known) < 2:
        return []
    sign = 1 if task.mode == "max" else -1
    (first, best), (second, next_) = sorted(known, key=lambda each: -sign * each[1].value)[:2]
    line = (
        f"Task {name}: {first} has the best {task.monitor} ({best.value:.4g}; {second} has "
        f"{next_.value:.4g})"
    )
    if best.by == "none" or next_.by == "none":
        return [f"{line}."]
    apart = max(best.low, next_.low) > min(best.high, next_.high)
    return [f"{line}; their intervals {'do not overlap' if apart else 'overlap'}."]


def results(runs: Sequence[Run]) -> Html:
    """A table of all metrics and a picture of the deciding one, for each task.

    Args:
        runs: The runs.
    """
    return join([_task(name, task, runs) for name, task in tasks_of(runs).items()])


def _task(name, task, runs):
    having = [run for run in runs if name in run.tasks]
    metrics = list(dict.fromkeys(m for run in having for m in _metrics(run, name)))
    heading = tag("h3", f"Task {name}")
    if not metrics:
        return join([heading, tag("p", "There are no test data with labels of this task.")])
    # The deciding metric first.
    metrics.sort(key=lambda metric: metric != task.monitor)
    rows: list[list[Child]] = []
    for metric in metrics:
        mode = task.mode if metric == task.monitor else usual_mode(metric)
        label = metric + (" (decides)" if metric == task.monitor else "")
        cells: list[Child] = [of_interval(run.interval(name, metric)) for run in having]
        rows.append([join([label, _direction(mode)]), *cells])
    shown = table(
        f"{type(task).__name__} {name}, test data: value, and 95 % interval",
        ["metric", *(run.name for run in having)],
        rows,
    )
    points = [(run.name, run.interval(name, task.monitor)) for run in having]
    lines = [(run, i.value, i.low, i.high) for run, i in points if i is not None]
    if not lines:
        return join([heading, shown])
    title = f"{task.monitor} of task {name} on the test data, {_BETTER[task.mode]}"
    drawn = charts.interval_chart(title, f"{task.monitor}, {_BETTER[task.mode]}", lines)
    return join([heading, tag("figure", drawn), shown])


def _metrics(run, name):
    return [m for training in run.trainings_of(name) for m in training.scores.get(name, {})]


def _direction(mode):
    return tag("small", _BETTER[mode]) if mode in _BETTER else Html("")


def against_baseline(
    runs: Sequence[Run], found: dict[str, Gains | None], baseline: Baseline, than: str
) -> Html:
    """A table of `delta_m` and of each task's gain.

    Args:
        runs: The runs.
        found: By the name of a run its gains over the baseline.
        baseline: The baseline.
        than: Its name.
    """
    tasks = tasks_of(runs)
    rows: list[list[Child]] = []
    for run in runs:
        if run.name not in found:
            continue
        gains = found[run.name]
        if gains is None:
            rows.append([run.name, "–", *("–" for _ in tasks), "–"])
            continue
        cells = [of_interval(gains.by_task.get(name), "{:+.2f}") for name in tasks]
        how = "seed by seed" if gains.paired else "means"
        rows.append([run.name, of_interval(gains.whole, "{:+.2f}"), *cells, how])
    head = ["run", "delta_m, %", *(f"{n}, {t.monitor}, %" for n, t in tasks.items()), "compared"]
    told = (
        f"Gains over {than} in percent of its deciding metric; positive is better, also where "
        "lower values of the metric are. delta_m is their mean over the tasks."
    )
    parts = [tag("p", told), table(f"Gains over {than}", head, rows)]
    if not isinstance(baseline, Run):
        given = ", ".join(f"{name} {short(float(v))}" for name, v in sorted(baseline.items()))
        parts.append(tag("p", f"The numbers of the baseline were given: {given}.", class_="note"))
    return join(parts)
