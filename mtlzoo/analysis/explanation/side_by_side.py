"""The explanations of all tasks of a model, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.analysis import drawing
from mtlzoo.analysis.explanation import pictures
from mtlzoo.analysis.explanation.explaining import explain
from mtlzoo.analysis.explanation.explanation import TITLES, Explanation
from mtlzoo.analysis.statistics import ranks

_MOST_ROWS = 4  # that are drawn


class TaskExplanations:
    """What all tasks' answers for the same rows rest on.

    `explain_tasks` makes it.

    Args:
        explanations: By task, all by one method and of the same inputs.
        labels: By task the true answers in words, one for each row. Defaults to none.

    Attributes:
        explanations: By task, in sorted order.
        title: A headline.
    """

    def __init__(
        self,
        explanations: Mapping[str, Explanation],
        labels: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.explanations = {task: explanations[task] for task in sorted(explanations)}
        self.labels = {task: list(map(str, given)) for task, given in (labels or {}).items()}

    @property
    def title(self) -> str:
        """A headline."""
        return f"{TITLES[self._first.method]} of every task"

    @property
    def _first(self) -> Explanation:
        return next(iter(self.explanations.values()))

    def __getitem__(self, task: str) -> Explanation:
        return self.explanations[task]

    def overlap(self) -> dict[tuple[str, str], float]:
        """How alike the maps of two tasks are: the mean over rows of Spearman's correlation.

        Rows in which a task's map is zero everywhere are left out; NaN where no row is left, and
        for tasks that read no input in common.
        """
        names = list(self.explanations)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        found = {pair: similarity(self[pair[0]], self[pair[1]]) for pair in pairs}
        known = {pair: values[np.isfinite(values)] for pair, values in found.items()}
        return {pair: float(v.mean()) if v.size else float("nan") for pair, v in known.items()}

    def words(self) -> str:
        """Which tasks look at the same, what each rests on most, and what does not follow."""
        first = self._first
        said = [f"{TITLES[first.method]} of {len(self.explanations)} tasks for {len(first)} rows."]
        for task, found in self.explanations.items():
            columns = found.columns()
            if len(columns) > 1:
                most = ", ".join(f"{name} ({size:.3g})" for name, size, _ in columns[:3])
                said.append(f"Task {task} rests most on {most}.")
        ranked = sorted((v, *pair) for pair, v in self.overlap().items() if v == v)
        if ranked:
            value, *pair = ranked[-1]
            said.append(f"Most alike are the maps of {pair[0]} and {pair[1]} ({value:.2f})")
            value, *pair = ranked[0]
            said[-1] += f", least those of {pair[0]} and {pair[1]} ({value:.2f})" * (
                len(ranked) > 1
            )
            said[-1] += ", by rank correlation of absolute values."
        # Which other tasks depend on a layer is plain where all of them are here.
        notes = {
            task: e.notes.split(", which")[0].rstrip(".") for task, e in self.explanations.items()
        }
        for note in dict.fromkeys(notes.values()):
            tasks = [task for task, other in notes.items() if other == note]
            whose = "" if len(tasks) == len(notes) else f"Of {', '.join(tasks)}: "
            said += [f"{whose}{note}."] if note else []
        said.append("Maps that are alike do not say that the tasks help each other.")
        return " ".join(said)

    def rows(self) -> list[list[str]]:
        """What each task answers for each row, and what is explained."""
        head = ["row", "task", "explained", "answer", "score", "label"]
        found = [
            [str(i), task, e.asked[i], e.answers[i], f"{e.scores[i]:.3g}", self._label(task, i)]
            for i in range(len(self._first))
            for task, e in self.explanations.items()
        ]
        return [head, *found]

    def figure(self) -> Any:
        """A line for each of the first rows: the picture, and the maps of tasks that read it.

        Of inputs that are no pictures, the mean absolute attribution of each task's columns.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        name = self._picture()
        return self._bars() if name is None else self._maps(name)

    def _picture(self):
        """The first input that is a picture."""
        pairs = [(e, n) for e in self.explanations.values() for n in e.attributions]
        found = [n for e, n in pairs if e.attributions[n].ndim > 2 and e.shown[n].ndim > 3]
        return found[0] if found else None

    def _maps(self, name):
        count = min(len(self._first), _MOST_ROWS)
        tasks = [t for t, e in self.explanations.items() if name in e.attributions]
        figure = drawing.new_figure(1.3 + 1.9 * (1 + len(tasks)), 0.9 + 2.25 * count)
        panels = figure.subplots(count, 1 + len(tasks), squeeze=False)
        for i, line in enumerate(panels):
            image = self[tasks[0]].shown[name][i]
            pictures.show_picture(line[0], image)
            line[0].set_ylabel(f"row {i}", fontsize=8)
            for panel, task in zip(line[1:], tasks, strict=True):
                found = self[task]
                values = found.attributions[name][i]
                shape = found.shown[name][i]
                last = pictures.show_map(panel, values, shape, found.signed)
                panel.set_xlabel(self._caption(task, i), fontsize=8)
        panels[0, 0].set_title(name, fontsize=9)
        for panel, task in zip(panels[0, 1:], tasks, strict=True):
            panel.set_title(f"task {task}", fontsize=9)
        pictures.explain_shades(figure, last, list(panels.ravel()), self._first.signed)
        figure.suptitle(self.title, fontsize=11)
        return figure

    def _caption(self, task, i):
        found = self[task]
        lines = [f"answer: {found.answers[i]}"]
        label = self._label(task, i)
        lines += [f"label: {label}"] if label else []
        # What is explained is the answer, unless something else was asked for.
        if not found.answers[i].startswith(found.asked[i]):
            lines.append(f"map for: {found.asked[i]}")
        return "\n".join(lines)

    def _label(self, task, i):
        return self.labels[task][i] if task in self.labels else ""

    def _bars(self):
        names = {name: 0.0 for e in self.explanations.values() for name, *_ in e.columns()}
        sizes = {t: {n: s for n, s, _ in e.columns()} for t, e in self.explanations.items()}
        # Tasks have units of their own: what counts is the part of each task's sum.
        parts = {
            t: {n: s / (sum(of.values()) or 1.0) for n, s in of.items()} for t, of in sizes.items()
        }
        order = sorted(names, key=lambda n: -sum(of.get(n, 0.0) for of in parts.values()))
        order = order[: pictures.MOST_BARS]
        figure = drawing.new_figure(2.4 + 0.9 * len(parts), 1.6 + 0.3 * len(order))
        values = np.array([[of.get(n, 0.0) for of in parts.values()] for n in order])
        label = "part of the task's attribution"
        drawing.heat_map(figure.subplots(), values, order, list(parts), label=label)
        figure.suptitle(self.title, fontsize=11)
        return figure


def similarity(one: Explanation, other: Explanation) -> np.ndarray:
    """Spearman's correlation of two explanations' absolute attributions, row by row, `(B,)`.

    NaN for rows in which one of them has the same number everywhere, and without common inputs.
    """
    names = [name for name in one.attributions if name in other.attributions]
    if not names:
        return np.full(len(one), np.nan)

    def flat(explanation, i):
        return np.abs(np.concatenate([explanation.attributions[n][i].ravel() for n in names]))

    found = np.full(len(one), np.nan)
    for i in range(len(one)):
        a, b = ranks(flat(one, i)), ranks(flat(other, i))
        if a.std() > 0 and b.std() > 0:
            found[i] = np.corrcoef(a, b)[0, 1]
    return found


def explain_tasks(
    model: keras.Model,
    x: Any,
    *,
    tasks: Sequence[str] | None = None,
    labels: Mapping[str, Sequence] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
    target: Mapping[str, Any] | None = None,
    **options: Any,
) -> TaskExplanations:
    """Explain what several tasks answer for the same rows, side by side.

    Args:
        model: As for `explain`.
        x: Rows, as the model takes them.
        tasks: The tasks. Defaults to `None`, all.
        labels: By task the true answers, indices where `classes` names them. Defaults to none.
        classes: By task what its classes, labels or outputs are called. Defaults to none.
        target: By task what is explained, see `explain`. Defaults to what the model answers.
        **options: Further arguments of `explain`, the same for all tasks.

    Returns:
        A `TaskExplanations`, a `Finding`.

    Raises:
        ValueError: As of `explain`, for tasks that the model does not have, and for labels that are
            not one for each row or name no class.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing, Regression, analysis
    from mtlzoo.backbones import ConvNet

    tasks = [BinaryClassification("cat"), Regression("age")]
    model = HardSharing(keras.Input((12, 12, 1)), tasks, backbone=ConvNet((12, 12, 1), (4,)))
    found = analysis.explain_tasks(model, np.ones((2, 12, 12, 1)), labels={"cat": ["yes", "no"]})
    print(found.words())
    ```
    """
    known = sorted(getattr(model, "output", {}))
    chosen = known if tasks is None else list(tasks)
    classes, target, labels = classes or {}, target or {}, labels or {}
    for argument, given in (
        *(("tasks", chosen), ("labels", labels), ("classes", classes), ("target", target)),
    ):
        for task in given:
            if task not in known:
                raise ValueError(
                    f"`{argument}` should name tasks of the model, {known}. Received: {task!r}"
                )
    if not chosen:
        raise ValueError("`tasks` should have at least one task. Received: tasks=[]")
    found = {
        task: explain(model, task, x, target=target.get(task), classes=classes.get(task), **options)
        for task in chosen
    }
    count = len(found[chosen[0]])
    for task, of_rows in labels.items():
        if len(of_rows) != count:
            raise ValueError(
                f"`labels[{task!r}]` should be as many as the rows of `x`, {count}. "
                f"Received: {len(of_rows)}"
            )
    said = {task: [_said(label, classes.get(task)) for label in labels[task]] for task in labels}
    return TaskExplanations(found, said)


def _said(label: Any, classes: Sequence[str] | None) -> str:
    array = np.asarray(label)
    if classes is not None and array.ndim == 0 and array.dtype.kind in "iub":
        if not 0 <= array < len(classes):
            raise ValueError(
                f"`labels` should be indices of the classes {list(classes)}. Received: {label!r}"
            )
        return str(classes[int(array)])
    return f"{float(array):.3g}" if array.ndim == 0 and array.dtype.kind == "f" else str(label)
