"""The part of a page that shows how trainings went."""

from collections.abc import Sequence

import numpy as np

from mtlzoo.reporting import charts
from mtlzoo.reporting.charts import Line
from mtlzoo.reporting.markup import Child, Html, fold, join, table, tag
from mtlzoo.reporting.numbers_in_words import short
from mtlzoo.reporting.results import tasks_of
from mtlzoo.reporting.run import Run


def curves(runs: Sequence[Run]) -> Html:
    """The loss and the deciding metric of each task, epoch by epoch.

    Args:
        runs: The runs.
    """
    told = (
        "Lines are means over the seeds that trained so long, and the shaded band goes from the "
        "least to the greatest of them. Losses are without loss weights."
    )
    return join(
        [
            tag("p", told),
            legend(runs, dashed=True),
            [_task(name, task, runs) for name, task in tasks_of(runs).items()],
        ]
    )


def legend(runs: Sequence[Run], *, dashed: bool = False) -> Html:
    """Which line is which run's.

    Args:
        runs: The runs.
        dashed: Whether there are lines of training data, too. Defaults to `False`.
    """
    entries = [tag("li", charts.sample(i), " ", run.name) for i, run in enumerate(runs)]
    if dashed:
        entries.append(tag("li", charts.sample(0, dashed=True), " dashed: training data"))
    return tag("ul", entries, class_="legend")


def _task(name, task, runs):
    shown = [tag("h3", f"Task {name}")]
    drawn, folded = [], []
    for metric in dict.fromkeys(("loss", task.monitor)):
        lines = [
            line
            for i, run in enumerate(runs)
            for line in _lines(run, i, name, metric)
            if np.isfinite(line.y).any()
        ]
        if not lines:
            drawn.append(tag("p", f"The logs have no {metric} of this task."))
            continue
        title = f"{metric} of task {name} by epoch"
        chart = charts.line_chart(title, "epoch", metric, lines, whole=True)
        drawn.append(tag("figure", chart, tag("figcaption", f"{metric}, by epoch")))
        folded.append(_numbers(title, lines))
    return join([*shown, tag("div", drawn, class_="grid"), fold(f"Numbers of {name}", *folded)])


def _lines(run, style, name, metric):
    for prefix, what in (("val_", "validation data"), ("", "training data")):
        key = f"{prefix}{name}_{metric}"
        found = [t.history[key] for t in run.trainings_of(name) if key in t.history]
        if not found:
            continue
        epochs = max(map(len, found))
        values = np.full((len(found), epochs), np.nan)
        for row, each in zip(values, found, strict=True):
            row[: len(each)] = each
        known = np.isfinite(values)
        values[~known] = np.nan
        count = known.sum(0)
        with np.errstate(invalid="ignore"):
            mean = np.where(known, values, 0).sum(0) / count
        several = len(found) > 1 and prefix
        low = np.where(known, values, np.inf).min(0) if several else None
        high = np.where(known, values, -np.inf).max(0) if several else None
        yield Line(
            f"{run.name}, {what}", style, np.arange(1, epochs + 1), mean, low, high, not prefix
        )


def _numbers(caption, lines):
    last = max(len(line.x) for line in lines)
    rows: list[list[Child]] = [
        [str(i + 1), *(short(line.y[i]) if i < len(line.y) else "–" for line in lines)]
        for i in range(last)
    ]
    return table(caption, ["epoch", *(line.name for line in lines)], rows)
