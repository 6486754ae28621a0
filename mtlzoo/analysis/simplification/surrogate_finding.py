"""What a surrogate says, and how far it may be believed."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mtlzoo.analysis import drawing

# Of what a constant answer leaves open, the part that a surrogate should account for. Below it, a
# fifth or more of what the model does is not in what people read.
GOOD = 0.8
_SHOWN = 12  # columns in the picture


class Surrogate:
    """A tree or a linear model that imitates one task, as `surrogate` makes it.

    Args:
        task: The name of the task.
        kind: `"tree"` or `"linear"`.
        of: What is imitated: `"probability"`, `"logit"`, `"class"` or `"value"`.
        learner: The fitted model of scikit-learn.
        columns: The names of what it reads.
        values: (rows, columns).
        answers: (rows,), what the imitated model answers.
        train: The rows that it has learned from.
        test: The rows on which fidelity is measured.
        has_classes: Whether answers are classes.

    Attributes:
        fidelity: By name what was measured on the test rows. `"R²"` of numbers; `"agreement"`, the
            part of the rows with the same class, beside `"agreement of a constant"`, that of always
            answering the most frequent one.
        score: Of what a constant answer leaves open, the part that the surrogate accounts for: R²,
            or for classes the part of the constant's errors that it does not make. At most 1, and
            NaN if the model answers the same for all test rows.
    """

    def __init__(
        self,
        task: str,
        kind: str,
        of: str,
        learner: Any,
        columns: Sequence[str],
        values: np.ndarray,
        answers: np.ndarray,
        train: np.ndarray,
        test: np.ndarray,
        has_classes: bool,
    ) -> None:
        self.task, self.kind, self.of, self.learner = task, kind, of, learner
        self.columns, self.has_classes = tuple(columns), has_classes
        self._values, self._answers, self._train, self._test = values, answers, train, test
        self.fidelity = self._measure()
        self.score = self._score()

    def _measure(self) -> dict[str, float]:
        true, found = self._answers[self._test], self.learner.predict(self._values[self._test])
        if not self.has_classes:
            spread = float(np.square(true - true.mean()).sum())
            error = float(np.square(true - found).sum())
            measured = {"R²": 1 - error / spread if spread > 0 else math.nan}
            if self.of == "value":
                return measured
            middle = 0.0 if self.of == "logit" else 0.5
            true, found = true > middle, found > middle
        else:
            measured = {}
        most = max(float((true == option).mean()) for option in np.unique(true))
        same = float((true == found).mean())
        return {**measured, "agreement": same, "agreement of a constant": most}

    def _score(self) -> float:
        if "R²" in self.fidelity:
            return self.fidelity["R²"]
        left = 1 - self.fidelity["agreement of a constant"]
        return 1 - (1 - self.fidelity["agreement"]) / left if left > 0 else math.nan

    @property
    def title(self) -> str:
        """What it is about, as a headline."""
        what = "A tree" if self.kind == "tree" else "A linear model"
        return f"{what} in place of the task {self.task}"

    def importances(self) -> dict[str, float]:
        """How much each column matters, the most important first.

        Of a tree, the part of what its questions explain (they add up to 1); of a linear model, the
        coefficient for a change of one standard deviation, and for classes its mean absolute value
        over them.
        """
        if self.kind == "tree":
            found = self.learner.feature_importances_
        else:
            found = self.learner[-1].coef_
            found = np.abs(found).mean(0) if self.has_classes else found.ravel()
        order = np.argsort(-np.abs(found), kind="stable")
        return {self.columns[i]: float(found[i]) for i in order}

    def rules(self) -> list[str]:
        """A sentence for each leaf of the tree: its conditions, its answer, and its rows.

        Raises:
            ValueError: For a linear model, which has none.
        """
        if self.kind != "tree":
            raise ValueError('`kind` should be "tree" for rules. Received: kind="linear"')
        tree = self.learner.tree_
        total = int(tree.n_node_samples[0])
        said = []
        for leaf, conditions in self._leaves(0, ()):
            value = tree.value[leaf].ravel()
            answer = (
                f"class {self.learner.classes_[value.argmax()]} ({value.max() / value.sum():.0%})"
                if self.has_classes
                else f"{self.of} {value[0]:.3g}"
            )
            where = " and ".join(self._in_words(conditions)) or "always"
            said.append(f"{where}: {answer} ({tree.n_node_samples[leaf] / total:.1%} of the rows)")
        return said

    def _leaves(self, node: int, conditions: tuple) -> Iterator[tuple[int, tuple]]:
        tree = self.learner.tree_
        if tree.children_left[node] == -1:
            yield node, conditions
            return
        column, limit = int(tree.feature[node]), float(tree.threshold[node])
        yield from self._leaves(tree.children_left[node], (*conditions, (column, False, limit)))
        yield from self._leaves(tree.children_right[node], (*conditions, (column, True, limit)))

    def _in_words(self, conditions: tuple) -> list[str]:
        """The strictest condition of each column on each side."""
        limits: dict[tuple[int, bool], float] = {}
        for column, above, limit in conditions:
            known = limits.get((column, above), limit)
            limits[column, above] = max(known, limit) if above else min(known, limit)
        said = []
        for (column, above), limit in limits.items():
            name = self.columns[column]
            if " = " in name:
                said.append(name if above else name.replace(" = ", " is not ", 1))
            else:
                said.append(f"{name} {'>' if above else '≤'} {limit:.4g}")
        return said

    def words(self) -> str:
        """How well it imitates the model, whether that is enough, and what it does."""
        measured = ", ".join(f"{name} {value:.3f}" for name, value in self.fidelity.items())
        what = f"a tree of depth {self.learner.get_depth()}" if self.kind == "tree" else "a linear"
        what += "" if self.kind == "tree" else " model"
        said = (
            f"For the {self.of} that the model answers for `{self.task}`, {what} has, on "
            f"{len(self._test)} rows that it has not seen: {measured}. "
        )
        if math.isnan(self.score):
            said += "The model answers the same for all of them, so that nothing can be imitated."
        elif self.score < GOOD:
            said += (
                f"That is poor: of what a constant answer leaves open it accounts for "
                f"{max(self.score, 0):.0%}, less than {GOOD:.0%}. Do not take what follows for "
                "what the model does."
            )
        else:
            said += (
                f"Of what a constant answer leaves open it accounts for {self.score:.0%}; the rest "
                "of what the model does is not in what follows."
            )
        most = [f"`{n}` ({v:.3g})" for n, v in list(self.importances().items())[:5] if v]
        said += f" What matters most to it: {', '.join(most) or 'nothing'}."
        if self.kind == "tree":
            said += "\n" + "\n".join(f"* {rule}" for rule in self.rules())
        return said

    def rows(self) -> list[list[str]]:
        """A row for each column that matters."""
        what = "importance" if self.kind == "tree" else "coefficient per standard deviation"
        found = [[name, f"{value:.3g}"] for name, value in self.importances().items() if value]
        return [["column", what], *found]

    def figure(self) -> Any:
        """What matters most, and for numbers the surrogate's answers beside the model's.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        both = not self.has_classes
        figure = drawing.new_figure(9.5 if both else 5.5, 4.2)
        panels = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
        top = [item for item in self.importances().items() if item[1]][:_SHOWN][::-1]
        panels[0].barh([name for name, _ in top], [v for _, v in top], color=drawing.COLOURS[0])
        panels[0].set_xlabel(self.rows()[0][1])
        panels[0].set_title("What matters most", fontsize=10)
        panels[0].tick_params(axis="y", labelsize=8)
        if both:
            true = self._answers[self._test]
            found = self.learner.predict(self._values[self._test])
            panels[1].plot(true, found, ".", color=drawing.COLOURS[0], markersize=4, alpha=0.5)
            ends = [float(min(true.min(), found.min())), float(max(true.max(), found.max()))]
            panels[1].plot(ends, ends, color="grey", linewidth=1, label="the same")
            panels[1].set_xlabel(f"{self.of} of the model")
            panels[1].set_ylabel(f"{self.of} of the surrogate")
            panels[1].set_title(f"Rows not seen: R² {self.fidelity['R²']:.3f}", fontsize=10)
            panels[1].legend(frameon=False)
        figure.suptitle(self.title)
        return figure
