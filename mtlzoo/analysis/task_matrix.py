"""One number for each pair of tasks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtlzoo.analysis import drawing
from mtlzoo.analysis.statistics import ranks


class TaskMatrix:
    """How much each task has to do with each other one, by one measure.

    Args:
        names: The T tasks.
        values: (T, T). Where `directed`, the row is the task that acts and the column the one that
            it acts on. NaN where nothing is known. What is on the diagonal is not compared.
        measure: What the numbers are, such as `"cosine of the gradients"`.
        directed: Whether the effect of a task on another may differ from that of the other on it.
            Defaults to `False`.
        signed: Whether zero means that the tasks have nothing to do with each other, and below it
            they hurt. Defaults to `True`.
        title: A headline. Defaults to the measure.

    Attributes:
        names: The tasks, in sorted order, as the axes of `values` are.
        values: (T, T), float64.

    Raises:
        ValueError: If the names repeat, or the values are no square of their number, or not
            symmetric though not directed.

    Example:
    ```python
    import numpy as np
    from mtlzoo.analysis import TaskMatrix

    cosines = TaskMatrix(["click", "buy"], np.array([[1.0, 0.4], [0.4, 1.0]]), "cosine")
    cosines["buy", "click"]  # 0.4
    cosines.ranked()  # [("buy", "click", 0.4)]
    ```
    """

    def __init__(
        self,
        names: Sequence[str],
        values: Any,
        measure: str,
        *,
        directed: bool = False,
        signed: bool = True,
        title: str | None = None,
    ) -> None:
        values = np.asarray(values, "float64")
        if len(set(names)) != len(names):
            raise ValueError(f"`names` should differ. Received: names={list(names)}")
        if values.shape != (len(names), len(names)):
            raise ValueError(
                f"`values` should be a square of the {len(names)} tasks {list(names)}. "
                f"Received: values of the shape {values.shape}"
            )
        if not directed and not np.allclose(values, values.T, equal_nan=True):
            raise ValueError(
                "`values` should be symmetric unless `directed` is True. "
                f"Received: values={values.tolist()}"
            )
        order = sorted(range(len(names)), key=lambda i: names[i])
        self.names = tuple(names[i] for i in order)
        self.values = values[np.ix_(order, order)]
        self.measure, self.directed, self.signed = measure, directed, signed
        self._title = title

    @property
    def title(self) -> str:
        """What it is about, as a headline."""
        return self._title or f"{self.measure[0].upper()}{self.measure[1:]} between the tasks"

    def __getitem__(self, pair: tuple[str, str]) -> float:
        for name in pair:
            if name not in self.names:
                raise KeyError(f"There should be a task {name!r} among {list(self.names)}.")
        return float(self.values[self.names.index(pair[0]), self.names.index(pair[1])])

    def ranked(self) -> list[tuple[str, str, float]]:
        """The pairs of tasks with what is known of them, the greatest first."""
        count = range(len(self.names))
        pairs = [(i, j) for i in count for j in count if (i != j if self.directed else i < j)]
        found = [(self.names[i], self.names[j], float(self.values[i, j])) for i, j in pairs]
        return sorted((pair for pair in found if pair[2] == pair[2]), key=lambda pair: -pair[2])

    def symmetric(self) -> "TaskMatrix":
        """The same without directions: the mean of both."""
        mean = (self.values + self.values.T) / 2
        return TaskMatrix(self.names, mean, self.measure, signed=self.signed, title=self._title)

    def agreement(self, other: "TaskMatrix") -> float:
        """Spearman's rank correlation with another measure, over the pairs that both know.

        Args:
            other: Of the same tasks.

        Returns:
            From -1 to 1; NaN where fewer than two pairs are known, or one measure has the same
            number for all.

        Raises:
            ValueError: If the tasks are others.
        """
        if self.names != other.names:
            raise ValueError(
                f"`other` should be of the tasks {list(self.names)}. "
                f"Received: one of {list(other.names)}"
            )
        directed = self.directed and other.directed
        ours, theirs = (m if directed else m.symmetric() for m in (self, other))
        upper = ~np.eye(len(self.names), dtype=bool)
        upper &= True if directed else np.triu(upper)
        known = upper & np.isfinite(ours.values) & np.isfinite(theirs.values)
        a, b = ranks(ours.values[known]), ranks(theirs.values[known])
        if len(a) < 2 or a.std() == 0 or b.std() == 0:
            return float("nan")
        return float(np.corrcoef(a, b)[0, 1])

    def words(self) -> str:
        """Which tasks have most and least to do with each other."""
        ranked = self.ranked()
        if not ranked:
            return f"{self._measure()}: no pair of tasks is known."
        link = "→" if self.directed else "and"
        first, last = ranked[0], ranked[-1]
        said = f"{self._measure()} is highest for {first[0]} {link} {first[1]} ({first[2]:.3g})"
        if len(ranked) > 1:
            said += f" and lowest for {last[0]} {link} {last[1]} ({last[2]:.3g})"
        if self.signed:
            negative = sum(value < 0 for *_, value in ranked)
            said += f"; it is negative for {negative} of {len(ranked)} pairs"
        tasks = len(self.names)
        unknown = (tasks * (tasks - 1) if self.directed else tasks * (tasks - 1) // 2) - len(ranked)
        if unknown:
            are = "pair is" if unknown == 1 else "pairs are"
            said += f"; {unknown} {are} not known, for want of anything to measure both in"
        return f"{said}."

    def rows(self) -> list[list[str]]:
        """A row for each task."""
        head = ["acts ↓ on →" if self.directed else "", *self.names]
        pairs = zip(self.names, self.values, strict=True)
        return [head, *([name, *(f"{value:.3g}" for value in row)] for name, row in pairs)]

    def figure(self) -> Any:
        """A heat map, the diagonal left out.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        size = 2.6 + 0.75 * len(self.names)
        figure = drawing.new_figure(size + 1.2, size)
        panel = figure.subplots()
        values = self.values.copy()
        np.fill_diagonal(values, np.nan)
        drawing.heat_map(
            panel, values, self.names, self.names, label=self.measure, signed=self.signed
        )
        if self.directed:
            panel.set_ylabel("the task that acts")
            panel.set_xlabel("the task that it acts on")
        panel.set_title(self.title)
        return figure

    def __repr__(self) -> str:
        return f"TaskMatrix({list(self.names)}, {self.values.tolist()}, {self.measure!r})"

    def _measure(self) -> str:
        return f"The {self.measure}"
