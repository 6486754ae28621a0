"""How much each task depends on each feature."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtlzoo.analysis import drawing
from mtlzoo.analysis.statistics import student
from mtlzoo.analysis.task_matrix import TaskMatrix
from mtlzoo.layers.arguments import check_count

_SHOWN = 20  # features of a picture
NOTE = (
    "Columns that say the same stand in for each other, so that each may seem to matter little: "
    "put them in one group. What a task depends on is not what causes its labels."
)


class FeatureImportance:
    """How much each task depends on each feature, with confidence intervals.

    Args:
        features: The F features, or groups of them.
        tasks: The T tasks, in sorted order.
        samples: (R, F, T): the importance in each of R repeats, or for each of R rows; NaN where a
            task had no label that counts.
        units: By task what an importance of 1 is, such as `"auc"`.
        of_one: Whether the spread of the samples is that of the result, as of bootstrap samples,
            and not one that shrinks with their number. Defaults to `False`.
        confidence: Of the intervals. Defaults to 0.95.
        title: A headline. Defaults to `"What each task depends on"`.
        how: How it was found, for the words. Defaults to `""`.

    Attributes:
        values: (F, T), the means; NaN for a task with a NaN among the samples.
        low: (F, T), the lower ends of the intervals: mean ± t times the standard error.
        high: (F, T), the upper ends.
        losses: The same by the rise of each task's loss, where `permutation_importance` made it;
            else `None`.

    Raises:
        ValueError: If the shapes do not fit, or there are fewer than three samples.

    Example:
    ```python
    import numpy as np
    from mtlzoo.analysis import FeatureImportance

    samples = np.array([[[0.30], [0.01]], [[0.34], [-0.01]], [[0.32], [0.00]]])
    importance = FeatureImportance(["age", "noise"], ["buy"], samples, {"buy": "auc"})
    importance.top("buy", 1)  # [("age", 0.32, 0.27, 0.37)]
    importance.certain("buy")  # ["age"]
    ```
    """

    losses: "FeatureImportance | None" = None

    def __init__(
        self,
        features: Sequence[str],
        tasks: Sequence[str],
        samples: Any,
        units: Mapping[str, str],
        *,
        of_one: bool = False,
        confidence: float = 0.95,
        title: str = "What each task depends on",
        how: str = "",
    ) -> None:
        samples = np.asarray(samples, "float64")
        if samples.ndim != 3 or samples.shape[1:] != (len(features), len(tasks)):
            raise ValueError(
                f"`samples` should be of {len(features)} features and {len(tasks)} tasks. "
                f"Received: samples of the shape {samples.shape}"
            )
        if len(samples) < 3:
            raise ValueError(
                f"`samples` should be three at least, to have an interval. Received: {len(samples)}"
            )
        self.features, self.tasks, self.samples = tuple(features), tuple(tasks), samples
        self.units, self.confidence = dict(units), check_confidence(confidence)
        self.title, self._how = title, how
        self.values = samples.mean(0)
        error = samples.std(0, ddof=1) / (1 if of_one else len(samples) ** 0.5)
        reach = student(confidence, len(samples) - 1) * error
        self.low, self.high = self.values - reach, self.values + reach

    def _task(self, task: str) -> int:
        if task not in self.tasks:
            raise ValueError(f"`task` should be one of {list(self.tasks)}. Received: task={task!r}")
        return self.tasks.index(task)

    def top(self, task: str, k: int = 5) -> list[tuple[str, float, float, float]]:
        """What a task depends on most: the feature, its importance, and the ends of the interval.

        Args:
            task: Its name.
            k: How many. Defaults to 5.

        Raises:
            ValueError: If there is no such task, or `k` is no positive integer.
        """
        t = self._task(task)
        order = np.argsort(-np.nan_to_num(self.values[:, t]), kind="stable")[: check_count("k", k)]
        ends = (self.values[:, t], self.low[:, t], self.high[:, t])
        return [(self.features[f], *(float(end[f]) for end in ends)) for f in order]

    def certain(self, task: str) -> list[str]:
        """The features whose whole interval is above 0, the most important first.

        Raises:
            ValueError: If there is no such task.
        """
        ranked = self.top(task, len(self.features))
        return [feature for feature, _, low, _ in ranked if low > 0]

    def relative(self) -> np.ndarray:
        """(F, T), each task's importances as parts of its greatest one; negative ones are 0."""
        positive = np.maximum(self.values, 0.0)  # NaN stays
        top = np.nan_to_num(positive).max(0)
        return positive / np.where(top > 0, top, 1.0)

    def similarity(self) -> TaskMatrix:
        """How alike the tasks depend on features: the cosine of their importances, from 0 to 1.

        Raises:
            ValueError: If there is one task only.
        """
        if len(self.tasks) < 2:
            raise ValueError(
                "`similarity` should be asked of two or more tasks. "
                f"Received: an importance of {list(self.tasks)}"
            )
        relative = self.relative()
        lengths = np.linalg.norm(relative, axis=0)
        unit = relative / np.where(lengths > 0, lengths, np.nan)
        return TaskMatrix(
            self.tasks,
            unit.T @ unit,
            "likeness of importances (cosine)",
            signed=False,
            title="How alike the tasks depend on features",
        )

    def words(self) -> str:
        """What each task depends on most, and what it may do without."""
        said = []
        for t, task in enumerate(self.tasks):
            unknown = np.isnan(self.samples[:, :, t]).any(1).sum()
            if unknown:
                said.append(
                    f"Nothing is known of {task}: no row had a label of it that counts in "
                    f"{unknown} of {len(self.samples)} repeats."
                )
                continue
            top = [
                f"{feature} ({value:.3g} {self.units[task]}, {low:.3g} to {high:.3g})"
                for feature, value, low, high in self.top(task, 3)
            ]
            certain, count = len(self.certain(task)), len(self.features)
            said.append(
                f"{task} depends most on {', '.join(top)}; for {certain} of {count} features the "
                f"{_percent(self.confidence)} interval is above 0."
            )
        return " ".join([*said, *([self._how] if self._how else []), NOTE])

    def rows(self) -> list[list[str]]:
        """A row for each feature, with the importance and the interval for each task."""
        cells = [
            [
                "–"
                if np.isnan(self.values[f, t])
                else f"{self.values[f, t]:.4g} ({self.low[f, t]:.4g} to {self.high[f, t]:.4g})"
                for t in range(len(self.tasks))
            ]
            for f in range(len(self.features))
        ]
        head = ["feature", *(f"{task}, {self.units[task]}" for task in self.tasks)]
        return [head, *([f, *row] for f, row in zip(self.features, cells, strict=True))]

    def figure(self) -> Any:
        """Bars with intervals for each task, and a map of what is most important to whom.

        Of many features those that are the most important to any task.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        relative = self.relative()
        order = np.argsort(-np.nan_to_num(relative).max(1), kind="stable")[:_SHOWN]
        names = [self.features[f] for f in order]
        count, several = len(self.tasks), len(self.tasks) > 1
        figure = drawing.new_figure(
            3.0 + 2.4 * count + (1.4 + 0.7 * count) * several, 1.8 + 0.3 * len(order)
        )
        widths = [2.4] * count + [0.7 * count] * several
        panels = np.atleast_1d(figure.subplots(1, len(widths), sharey=True, width_ratios=widths))
        places = np.arange(len(order))
        for t, (task, panel) in enumerate(zip(self.tasks, panels, strict=False)):
            values = self.values[order, t]
            reach = np.stack([values - self.low[order, t], self.high[order, t] - values])
            panel.barh(places, values, color=drawing.COLOURS[t % len(drawing.COLOURS)])
            panel.errorbar(
                values, places, xerr=reach, fmt="none", ecolor="black", elinewidth=1, capsize=2
            )
            panel.axvline(0, color="black", linewidth=0.8)
            panel.set_title(task)
            panel.set_xlabel(self.units[task])
        if several:
            drawing.heat_map(
                panels[-1],
                relative[order],
                names,
                self.tasks,
                label="part of the task's greatest",
                limit=1.0,
            )
            panels[-1].set_aspect("auto")
            panels[-1].tick_params(axis="y", labelleft=False)
        panels[0].set_yticks(places, names)
        panels[0].set_ylim(len(order) - 0.5, -0.5)
        left_out = len(self.features) - len(order)
        note = f" (the first {len(order)} of {len(self.features)})" if left_out else ""
        figure.suptitle(f"{self.title}{note}; whiskers: {_percent(self.confidence)} intervals")
        return figure

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.tasks)}, {len(self.features)} features)"


def check_confidence(confidence: float) -> float:
    """A level of confidence.

    Raises:
        ValueError: if it is no number between 0 and 1.
    """
    number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    if number and 0 < confidence < 1:
        return float(confidence)
    raise ValueError(
        f"`confidence` should be a number between 0 and 1. Received: confidence={confidence!r}"
    )


def _percent(confidence: float) -> str:
    return f"{100 * confidence:.6g}%"
