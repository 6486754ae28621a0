"""How much each task reads of each expert, feature, position or other task."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtlzoo.analysis import drawing
from mtlzoo.analysis.attention.collapse import CHECKS, Collapse, Outputs
from mtlzoo.analysis.task_matrix import TaskMatrix
from mtlzoo.layers.arguments import check_count

KINDS = ("share", "strength", "weight")
_SHOWN = 24  # columns of a picture
_DEFAULT_MEASURES = {"share": "jensen_shannon", "strength": "difference", "weight": "cosine"}
_MEASURES = {
    "jensen_shannon": "likeness of reading (1 - Jensen-Shannon divergence)",
    "difference": "likeness of reading (1 - mean absolute difference)",
    "cosine": "likeness of reading (cosine)",
}


class AttentionTable:
    """How much each task of a trained model reads of each expert or feature.

    Args:
        names: The rows, which are tasks unless `tasks` says otherwise.
        columns: The C experts, features, positions or tasks that are read.
        values: (N, rows, C): by row of data, or by what `over` names, how much is read; NaN where a
            task cannot read a column. `(rows, C)` is one such table.
        kind: `"share"` for numbers from 0 whose sum over the columns is 1, `"strength"` for numbers
            from 0 to 1 each on its own, `"weight"` for others, negative ones among them.
        what: What the numbers are, such as `"share of the mixture"`.
        place: Where in the model, such as `"level_0"`. Defaults to `""`.
        over: What N counts. Defaults to `"rows"`.
        tasks: Those of `names` that are tasks. Defaults to `None`, all of them. A row that serves
            all tasks is none.
        checks: Which signs of a collapse mean something here, names of the functions of
            `mtlzoo.analysis.attention.collapse`. Defaults to none.
        outputs: What the experts give out, for the checks `"dead"` and `"same"`. Defaults to
            `None`, unknown.
        of_experts: Whether the columns are experts or sub-networks, parts of the model that could
            be fewer, and not features, positions or tasks. Defaults to `False`.
        owners: Of each column the task that it is a part of, for the check `"isolated"`. Defaults
            to `None`: they are parts of none.

    Attributes:
        mean: (rows, C), over N.
        spread: (rows, C), the standard deviation over N.
        model: Which model it was read from, for the title; `""` where that is not known.

    Raises:
        ValueError: If the shapes or the owners do not fit the names, or the kind or a check is
            unknown.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, MMoE, Regression
    from mtlzoo.analysis import read_attention

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = MMoE(keras.Input((8,)), tasks, num_experts=3)
    (table,) = read_attention(model, np.random.default_rng(0).normal(size=(32, 8)))
    table.mean.shape  # (2, 3)
    table.top_features("click", 1)  # the expert that it uses most, its mean share and its spread
    table.similarity()["click", "stay"]
    ```
    """

    model: str = ""

    def __init__(
        self,
        names: Sequence[str],
        columns: Sequence[str],
        values: Any,
        *,
        kind: str,
        what: str,
        place: str = "",
        over: str = "rows",
        tasks: Sequence[str] | None = None,
        checks: Sequence[str] = (),
        outputs: Outputs | None = None,
        of_experts: bool = False,
        owners: Sequence[str] | None = None,
    ) -> None:
        values = np.asarray(values, "float64")
        values = values[None] if values.ndim == 2 else values
        if values.ndim != 3 or not len(values) or values.shape[1:] != (len(names), len(columns)):
            raise ValueError(
                f"`values` should be of {len(names)} rows and {len(columns)} columns. "
                f"Received: values of the shape {values.shape}"
            )
        if kind not in KINDS:
            raise ValueError(f"`kind` should be one of {list(KINDS)}. Received: kind={kind!r}")
        unknown = sorted(set(checks) - set(CHECKS))
        if unknown:
            raise ValueError(f"`checks` should be some of {list(CHECKS)}. Received: {unknown}")
        if len(owners or ()) != len(columns) and (owners is not None or "isolated" in checks):
            raise ValueError(
                f"`owners` should be a task for each of the {len(columns)} columns. "
                f"Received: owners={owners!r}"
            )
        self.names, self.columns, self.values = tuple(names), tuple(columns), values
        self.kind, self.what, self.place, self.over = kind, what, place, over
        self.tasks = self.names if tasks is None else tuple(tasks)
        self.checks, self.outputs = tuple(checks), outputs
        self.of_experts, self.owners = of_experts, None if owners is None else tuple(owners)
        self.mean, self.spread = values.mean(0), values.std(0)

    @property
    def title(self) -> str:
        """What it is about, as a headline."""
        of = f" of {self.model}" if self.model else ""
        who = f"each task{of} reads" if self.tasks else f"is read for {', '.join(self.names)}{of}"
        return f"What {who}{f', {self.place}' if self.place else ''}"

    def top_features(self, task: str, k: int = 5) -> list[tuple[str, float, float]]:
        """What a task reads most.

        Args:
            task: Its name, or that of another row.
            k: How many. Defaults to 5.

        Returns:
            For each the name of the column, the mean and the spread; weights by absolute value.

        Raises:
            ValueError: If there is no such row, or `k` is no positive integer.
        """
        if task not in self.names:
            raise ValueError(f"`task` should be one of {list(self.names)}. Received: task={task!r}")
        check_count("k", k)
        mean, spread = (part[self.names.index(task)] for part in (self.mean, self.spread))
        size = np.where(np.isfinite(mean), np.abs(mean), -1.0)
        order = [c for c in np.argsort(-size, kind="stable") if np.isfinite(mean[c])]
        return [(self.columns[c], float(mean[c]), float(spread[c])) for c in order[:k]]

    def similarity(self, measure: str | None = None) -> TaskMatrix:
        """How alike the tasks read, compared row by row of the data and then averaged.

        Columns that a task cannot read count as 0.

        Args:
            measure: `"jensen_shannon"`, one minus the Jensen-Shannon divergence in bits: 1 for the
                same shares, 0 where nothing is read by both; `"difference"`, one minus the mean
                absolute difference; or `"cosine"`. Defaults to `None`: the first for shares, the
                second for strengths, the third for weights.

        Returns:
            A `TaskMatrix`, to be compared with others by `agreement`.

        Raises:
            ValueError: If the measure is unknown or needs shares, or there are not two tasks whose
                rows could be compared.
        """
        measure = _DEFAULT_MEASURES[self.kind] if measure is None else measure
        if measure not in _MEASURES:
            raise ValueError(
                f"`measure` should be one of {list(_MEASURES)}. Received: measure={measure!r}"
            )
        if measure == "jensen_shannon" and np.nanmin(self.values) < 0:
            raise ValueError(
                "`measure` should be 'cosine' for weights that may be negative. "
                f"Received: measure={measure!r}"
            )
        if len(self.tasks) < 2:
            raise ValueError(
                "`similarity` should be asked of a table with a row for each of two or more tasks. "
                f"Received: one with the rows {list(self.names)}. Gradients tell tasks apart that "
                "read the same: see `GramianHistory`"
            )
        rows = [self.names.index(task) for task in self.tasks]
        values = np.nan_to_num(self.values[:, rows])
        found = {"jensen_shannon": _alike, "difference": _near, "cosine": _cosines}[measure]
        of = f" of {self.model}" if self.model else ""
        title = f"How alike the tasks{of} read{f', {self.place}' if self.place else ''}"
        return TaskMatrix(
            self.tasks,
            found(values),
            _MEASURES[measure],
            signed=measure == "cosine" and self.kind == "weight",
            title=title,
        )

    def collapse(self) -> list[Collapse]:
        """Signs that nothing is mixed: idle and dead experts, gates that use one or all alike.

        Returns:
            One for each, with the place of this table; the thresholds are the constants of
            `mtlzoo.analysis.attention.collapse`.
        """
        found = [sign for check in self.checks for sign in CHECKS[check](self)]
        return [sign._replace(place=self.place) for sign in found]

    def words(self) -> str:
        """What each task reads most, who reads alike, and what has collapsed."""
        said = []
        for name in self.names:
            column, mean, spread = self.top_features(name, 1)[0]
            around = f" ± {spread:.2g} over {len(self.values)} {self.over}"
            number = f"{mean:.2g}{around if len(self.values) > 1 else ''}"
            said.append(f"{column} for {name} ({number})")
        at = f" at {self.place}" if self.place else ""
        text = f"The {self.what}{at} is largest of {'; of '.join(said)}."
        if len(self.tasks) > 1:
            text += f" {self.similarity().words()}"
        text += "".join(f" {found.message}" for found in self.collapse())
        if len(self.tasks) > 1:
            text += " Tasks that read alike need not help each other: gradients and gains say that."
        return text

    def rows(self) -> list[list[str]]:
        """A row for each expert or feature, with the mean and the spread for each task."""

        def cell(mean, spread):
            if np.isnan(mean):
                return "–"
            return f"{mean:.3f} ± {spread:.3f}" if len(self.values) > 1 else f"{mean:.3f}"

        cells = np.vectorize(cell, otypes=[object])(self.mean, self.spread).T.tolist()
        return [
            [self.place, *self.names],
            *([column, *row] for column, row in zip(self.columns, cells, strict=True)),
        ]

    def figure(self) -> Any:
        """A heat map of the means; of many columns those in which the tasks differ most.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        shown = np.arange(len(self.columns))
        note = ""
        if len(shown) > _SHOWN:
            low, high = np.nanmin(self.mean, axis=0), np.nanmax(self.mean, axis=0)
            differ = high - low if len(self.names) > 1 else high
            shown = np.sort(np.argsort(-differ, kind="stable")[:_SHOWN])
            note = f"\nthe {_SHOWN} of {len(self.columns)} that differ most between the tasks"
            note = note if len(self.names) > 1 else f"\nthe {_SHOWN} largest of {len(self.columns)}"
        figure = drawing.new_figure(3.4 + 0.55 * len(shown), 2.2 + 0.5 * len(self.names))
        panel = figure.subplots()
        drawing.heat_map(
            panel,
            self.mean[:, shown],
            self.names,
            [self.columns[c] for c in shown],
            label=self.what,
            signed=self.kind == "weight" and float(np.nanmin(self.mean)) < 0,
        )
        panel.set_xlabel("what is read")
        panel.set_ylabel("who reads")
        panel.set_title(self.title + note)
        return figure

    def __repr__(self) -> str:
        return f"AttentionTable({list(self.names)} x {list(self.columns)}, {self.place!r})"


def _alike(values: np.ndarray) -> np.ndarray:
    """One minus the Jensen-Shannon divergence in bits of each pair, (N, T, C) to (T, T)."""
    total = values.sum(-1, keepdims=True)
    shares = values / np.where(total > 0, total, 1.0)

    def entropy(p):
        return -(p * np.log2(np.where(p > 0, p, 1.0))).sum(-1)

    between = (shares[:, :, None] + shares[:, None, :]) / 2
    own = entropy(shares)
    divergence = entropy(between) - (own[:, :, None] + own[:, None, :]) / 2
    return 1 - np.clip(divergence, 0, 1).mean(0)


def _near(values: np.ndarray) -> np.ndarray:
    return 1 - np.stack(
        [np.abs(values - values[:, [t]]).mean((0, 2)) for t in range(values.shape[1])]
    )


def _cosines(values: np.ndarray) -> np.ndarray:
    """NaN where a task reads nothing on every row."""
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    unit = values / np.where(lengths > 0, lengths, np.nan)
    products = np.einsum("ntc,nuc->ntu", unit, unit)
    known = np.isfinite(products)
    count = known.sum(0)
    return np.where(count, np.nan_to_num(products).sum(0) / np.maximum(count, 1), np.nan)
