"""The part of a page that says which classes are confused, and whether probabilities are true."""

from collections.abc import Mapping, Sequence

import numpy as np

from mtlzoo.reporting import charts
from mtlzoo.reporting.charts import Line
from mtlzoo.reporting.curves import legend
from mtlzoo.reporting.markup import Html, Shaded, fold, join, table, tag
from mtlzoo.reporting.outcomes import BINS, Reliability
from mtlzoo.reporting.results import tasks_of
from mtlzoo.reporting.run import Run

MOST_CLASSES = 20
_PAIRS = 15


def judgments(runs: Sequence[Run], class_names: Mapping[str, Sequence[str]]) -> Html:
    """Confusion matrices and reliability diagrams of all classifiers; empty without any.

    Args:
        runs: The runs.
        class_names: By task the names of its classes, where they are known.
    """
    parts: list[Html] = []
    for name in tasks_of(runs):
        judged = [(i, run) for i, run in enumerate(runs) if _outcomes(run, name)]
        if judged:
            parts += [tag("h3", f"Task {name}"), _calibration(name, judged)]
            names = class_names.get(name)
            parts += [
                _confusion(name, run, names, first=not n) for n, (_, run) in enumerate(judged)
            ]
    if not parts:
        return Html("")
    told = (
        "Confidence is the probability of the answer that was given. Where the line is below the "
        "diagonal, answers are less often right than the model says. Greater marks stand for more "
        "rows. ECE is the expected calibration error, the mean distance from the diagonal."
    )
    return join([tag("p", told), legend(runs), *parts])


def _outcomes(run, name):
    return [t.outcomes[name] for t in run.trainings_of(name) if name in t.outcomes]


def _calibration(name, judged):
    lines, rows = [], []
    for style, run in judged:
        found = [each.reliability for each in _outcomes(run, name)]
        whole = _together(found)
        share = whole.number / max(whole.number.sum(), 1)
        sizes = 2.5 + 6 * np.sqrt(share)
        lines.append(Line(run.name, style, whole.confidence, whole.accuracy, sizes=sizes))
        errors = [each.error for each in found]
        rows.append([run.name, f"{np.mean(errors):.4f}", f"{whole.number.sum():,.0f}"])
    title = f"Reliability of task {name}"
    chart = charts.line_chart(title, "confidence", "share that is right", lines, square=True)
    figure = tag("figure", chart, tag("figcaption", f"{title}, {BINS} bins"))
    errors = table(f"Calibration of task {name}", ["run", "ECE, mean of seeds", "answers"], rows)
    return tag("div", figure, tag("div", errors), class_="grid")


def _together(found: Sequence[Reliability]) -> Reliability:
    """Those of several trainings as one."""
    number = np.sum([each.number for each in found], 0)
    sums = [
        np.nansum([getattr(each, key) * each.number for each in found], 0)
        for key in ("confidence", "accuracy")
    ]
    with np.errstate(invalid="ignore"):
        return Reliability(number, sums[0] / number, sums[1] / number)


def _confusion(name, run, names, first):
    found = _outcomes(run, name)
    counts = np.sum([each.confusion for each in found], 0)
    classes = list(names) if names is not None else list(found[0].classes)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(1, keepdims=True)
    title = f"Confusion of task {name} by {run.name}"
    if len(found) > 1:
        title += f", {len(found)} trainings together"
    if len(classes) > MOST_CLASSES:
        return fold(title, _worst(title, classes, counts, shares), open_=first)
    rows = []
    for i, label in enumerate(classes):
        rows.append([label, *(_cell(counts[i, j], shares[i, j]) for j in range(len(classes)))])
    head = ["label ↓ answer →", *classes]
    caption = "percent of the row's labels, and their number"
    return fold(title, table(caption, head, rows), open_=first)


def _cell(count, share):
    known = np.isfinite(share)
    text = join([f"{100 * share:.1f}" if known else "–", tag("small", f"{count:,}")])
    return Shaded(text, float(share) if known else 0.0)


def _worst(title, classes, counts, shares):
    """The pairs that are confused most often, where the matrix would have too many classes."""
    wrong = counts * (1 - np.eye(len(classes), dtype=counts.dtype))
    order = [i for i in np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS] if wrong.flat[i]]
    rows = []
    for i in order:
        label, answer = divmod(int(i), len(classes))
        share = f"{100 * shares[label, answer]:.1f}"
        rows.append([classes[label], classes[answer], f"{counts[label, answer]:,}", share])
    note = (
        f"Of {len(classes)} classes, more than the {MOST_CLASSES} of which a matrix is shown, "
        f"these are the {len(rows)} most frequent confusions; "
        f"{np.trace(counts) / max(counts.sum(), 1):.1%} of all answers are right."
    )
    head = ["label", "answer", "number", "percent of the label"]
    return join([tag("p", note), table(title, head, rows)])
