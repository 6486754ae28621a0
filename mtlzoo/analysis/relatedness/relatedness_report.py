"""Which tasks help which, and whether training them together pays."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtlzoo.analysis import drawing
from mtlzoo.analysis.phrases import listed, verdict, with_error
from mtlzoo.analysis.relatedness.label_efficiency import LabelEfficiency
from mtlzoo.analysis.relatedness.sampled_matrix import SampledMatrix
from mtlzoo.analysis.relatedness.task_groups import TaskGroups
from mtlzoo.analysis.statistics import mean_and_error
from mtlzoo.analysis.task_matrix import TaskMatrix

# With fewer pairs of tasks a rank correlation is high by chance: of three it is 1 for one order in
# six, of six above 0.83 for one in thirty.
FEW_PAIRS = 6
GROUPS = {
    "gains": "are better than",
    "loses": "are worse than",
    "cannot be told": "cannot be told from",
}


class RelatednessReport:
    """Puts measures of relatedness side by side, and answers what follows from them.

    Args:
        matrices: One or more measures of the same tasks, such as `GramianHistory.matrix("cosine")`,
            `inter_task_affinity` and `representation_similarity`.
        gains: What `pairwise_gains` measured. Defaults to `None`.
        groups: What `measure_groups` measured. Defaults to `None`.
        efficiency: What `label_efficiency` measured. Defaults to `None`.
        title: A headline. Defaults to `"Are the tasks related, and does it pay?"`.

    Raises:
        ValueError: If there is no measure, they are of different tasks, or gains have no samples.

    Example:
    ```python
    import numpy as np
    from mtlzoo.analysis import RelatednessReport, TaskMatrix

    cosines = TaskMatrix(["a", "b"], np.array([[1.0, 0.4], [0.4, 1.0]]), "cosine")
    print(RelatednessReport([cosines]).words())
    ```
    """

    def __init__(
        self,
        matrices: Sequence[TaskMatrix],
        *,
        gains: SampledMatrix | None = None,
        groups: TaskGroups | None = None,
        efficiency: LabelEfficiency | None = None,
        title: str = "Are the tasks related, and does it pay?",
    ) -> None:
        if gains is not None and not isinstance(gains, SampledMatrix):
            raise ValueError(
                "`gains` should be what `pairwise_gains` measured, with a sample for each seed. "
                f"Received: gains={gains!r}"
            )
        self.matrices = [*matrices, *([] if gains is None else [gains])]
        if not self.matrices:
            raise ValueError("`matrices` should have a measure at least. Received: none")
        self.names = self.matrices[0].names
        others = [matrix.names for matrix in self.matrices]
        for names in [*others, *([] if groups is None else [groups.names])]:
            if names != self.names:
                raise ValueError(
                    f"All measures should be of the tasks {list(self.names)}. "
                    f"Received: one of {list(names)}"
                )
        if len(self.names) < 2:
            raise ValueError(
                f"`matrices` should be of two tasks or more. Received: {list(self.names)}"
            )
        self.gains, self.groups, self.efficiency = gains, groups, efficiency
        self.title = title

    def agreements(self) -> list[tuple[str, str, float]]:
        """Each two measures with Spearman's rank correlation over the pairs of tasks."""
        return [
            (a.measure, b.measure, a.agreement(b))
            for a, b in itertools.combinations(self.matrices, 2)
        ]

    def words(self) -> str:
        """Which tasks help which, whether the measures agree, and whether it pays."""
        said = [*self._helping(), *self._agreeing(), *self._paying()]
        if self.efficiency is not None:
            said.append(self.efficiency.words())
        return " ".join(said)

    def rows(self) -> list[list[str]]:
        """A row for each pair of tasks, with all measures."""
        head = ["acts", "on", *(m.measure for m in self.matrices)]
        table = []
        for acts, on in itertools.permutations(self.names, 2):
            cells = [f"{matrix[acts, on]:.3g}" for matrix in self.matrices]
            table.append([acts, on, *cells])
        return [head, *table]

    def figure(self) -> Any:
        """All measures as heat maps side by side.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        size = 2.2 + 0.55 * len(self.names)
        count = len(self.matrices)
        columns = count if count < 4 else 2
        lines = math.ceil(count / columns)
        figure = drawing.new_figure((size + 0.9) * columns, (size + 0.2) * lines + 0.2)
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel in panels[count:]:
            panel.set_visible(False)
        for panel, matrix in zip(panels, self.matrices, strict=False):
            values = matrix.values.copy()
            np.fill_diagonal(values, np.nan)
            known = np.abs(values[np.isfinite(values)])
            small = known.size and known.max() < 0.1
            drawing.heat_map(
                panel,
                values,
                matrix.names,
                matrix.names,
                label=matrix.measure,
                signed=matrix.signed,
                form="{:.1e}" if small else "{:.2f}",
            )
            panel.set_title(matrix.measure, fontsize=9)
            if matrix.directed:
                panel.set_ylabel("the task that acts")
                panel.set_xlabel("the task that it acts on")
        figure.suptitle(self.title)
        return figure

    # -- sentences --------------------------------------------------------------------------

    def _helping(self) -> list[str]:
        if self.gains is None:
            said = [matrix.words() for matrix in self.matrices]
            return [*said, "Who helps whom was not measured by training: these are signs of it."]
        if len(self.gains.samples) < 2:
            return [f"{self.gains.words()} With one seed nothing can be told of who helps whom."]
        kinds: dict[str, list[str]] = {"gains": [], "loses": [], "cannot be told": []}
        for acts, on, mean in self.gains.ranked():
            i, j = (self.names.index(name) for name in (acts, on))
            error = self.gains.standard_errors[i, j]
            kinds[verdict(mean, error)].append(f"{acts} → {on} ({with_error(mean, error)} %)")
        said = []
        for kind, what in {"gains": "helps", "loses": "hurts"}.items():
            if kinds[kind]:
                said.append(f"Trained in pairs, it {what}: {listed(kinds[kind])}.")
        if kinds["cannot be told"]:
            told = listed(kinds["cannot be told"])
            said.append(f"{len(self.gains.samples)} seeds cannot tell for {told}.")
        return said

    def _agreeing(self) -> list[str]:
        said = []
        known = [found for found in self.agreements() if not math.isnan(found[2])]
        for a, b, rank in known:
            how = "disagree on" if rank < 0 else "hardly agree on" if rank < 0.4 else "agree on"
            said.append(
                f"The {a} and the {b} {how} the order of the pairs (rank correlation {rank:.2f})."
            )
        pairs = len(self.names) * (len(self.names) - 1) // 2
        if len(self.matrices) > 1 and not known:
            said.append(f"Whether the measures agree cannot be told of {_counted(pairs)}.")
        elif known and pairs < FEW_PAIRS:
            said.append(f"Of {_counted(pairs)}, that may be chance.")
        return said

    def _paying(self) -> list[str]:
        if self.groups is None or self.groups.measured is None:
            return ["Whether training them together pays was not measured."]
        said = [self.groups.words()]
        together = self.groups.together
        if together is not None and len(self.groups.groups) > 1:
            grouped = np.mean(list(self.groups.measured.by_task.values()), axis=0)
            rest = np.mean(list(together.by_task.values()), axis=0)
            mean, error = map(float, mean_and_error(grouped - rest))
            said.append(
                f"The groups {GROUPS[verdict(mean, error)]} one model of all "
                f"({with_error(mean, error)} points of delta_m)."
            )
        return said


def _counted(pairs: int) -> str:
    return "one pair of tasks" if pairs == 1 else f"{pairs} pairs of tasks"
