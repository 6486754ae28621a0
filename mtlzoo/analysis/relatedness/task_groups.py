"""Groups of tasks, with what they are predicted to gain and what they gain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtlzoo.analysis import drawing
from mtlzoo.analysis.phrases import listed, verdict, with_error
from mtlzoo.analysis.relatedness.group_trainings import GroupTrainings
from mtlzoo.analysis.statistics import mean_and_error

PAYS = {
    "gains": "it pays",
    "loses": "it does not pay",
    "cannot be told": "the seeds cannot tell it from 0",
}


@dataclass(frozen=True)
class MeasuredGains:
    """What tasks gain against each alone, in percent; positive is better.

    Args:
        by_task: By task (S,), the gain of each seed.

    Example:
    ```python
    import numpy as np
    from mtlzoo.analysis import MeasuredGains

    gains = MeasuredGains({"a": np.array([1.0, 3.0]), "b": np.array([0.0, 0.0])})
    gains.of("a"), gains.delta_m  # (2.0, 1.0), (1.0, 0.5)
    ```
    """

    by_task: dict[str, np.ndarray]

    def of(self, name: str) -> tuple[float, float]:
        """The mean of a task over the seeds, and its standard error."""
        mean, error = mean_and_error(self.by_task[name])
        return float(mean), float(error)

    @property
    def delta_m(self) -> tuple[float, float]:
        """The mean over tasks and seeds, and its standard error over the seeds."""
        mean, error = mean_and_error(np.mean(list(self.by_task.values()), axis=0))
        return float(mean), float(error)


class TaskGroups:
    """Groups of tasks that are trained together, each by a model of its own.

    Args:
        groups: Lists of tasks.
        predicted: By task what is predicted for it in its best group.
        measure: What the prediction is made of, such as `"cosine"`.
        method: How the groups were found. Defaults to `"exact"`.
        signed: Whether a prediction below zero says that a task is hurt. Defaults to `True`.
        measured: What the tasks gain in these groups. Defaults to `None`, not measured.
        together: What they gain in one group of all tasks. Defaults to `None`, not measured.

    Attributes:
        groups: Tuples of tasks, sorted.
        names: All tasks, sorted.
        score: The sum of the predictions.

    Raises:
        ValueError: If the tasks of the groups are not those of the prediction.

    Example:
    ```python
    from mtlzoo.analysis import TaskGroups

    groups = TaskGroups([["a", "b"], ["c"]], {"a": 0.5, "b": 0.4, "c": 0.0}, "cosine")
    groups.group_of("a")  # ("a", "b")
    ```
    """

    def __init__(
        self,
        groups: Sequence[Sequence[str]],
        predicted: Mapping[str, float],
        measure: str,
        *,
        method: str = "exact",
        signed: bool = True,
        measured: MeasuredGains | None = None,
        together: MeasuredGains | None = None,
    ) -> None:
        self.groups = tuple(sorted(tuple(sorted(group)) for group in groups))
        self.names = tuple(sorted(set().union(*self.groups)))
        if set(predicted) != set(self.names):
            raise ValueError(
                f"`predicted` should be of the tasks of the groups, {list(self.names)}. "
                f"Received: {sorted(predicted)}"
            )
        self.predicted = {name: float(predicted[name]) for name in self.names}
        self.measure, self.method, self.signed = measure, method, signed
        self.measured, self.together = measured, together

    @property
    def title(self) -> str:
        """What it is about, as a headline."""
        return f"Groups of tasks by {self.measure}"

    @property
    def score(self) -> float:
        """The sum of the predictions."""
        return sum(self.predicted.values())

    def group_of(self, name: str) -> tuple[str, ...]:
        """The first group that has a task; where groups overlap, there may be others.

        Args:
            name: The task.

        Raises:
            ValueError: If there is no such task.
        """
        for group in self.groups:
            if name in group:
                return group
        raise ValueError(
            f"`name` should be one of the tasks {list(self.names)}. Received: name={name!r}"
        )

    def words(self) -> str:
        """The groups, and whether training in them pays."""
        found = [_named(group) for group in self.groups]
        said = [f"By {self.measure} ({self.method} search), {listed(found)}."]
        if self.measured is None:
            return f"{said[0]} What that gains was not measured."
        for way, gains in self._ways().items():
            if gains is self.measured and len(self.groups) == len(self.names):
                said.append("With no two tasks in a group there is nothing to gain.")
                continue
            mean, error = gains.delta_m
            if np.isnan(mean):
                said.append(f"Trained {way}, delta_m is not known: a metric was not finite.")
                continue
            pays = PAYS[verdict(mean, error)]
            if np.isnan(error):
                pays = "one seed cannot tell it from 0"
            said.append(f"Trained {way}, delta_m is {with_error(mean, error)} %: {pays}.")
        losing = [n for n in self.names if verdict(*self.measured.of(n)) == "loses"]
        if losing:
            verb = "lose" if len(losing) > 1 else "loses"
            said.append(f"In these groups, {listed(losing)} {verb} against training alone.")
        wrong = []
        for name in self.names:
            mean, error = self.measured.of(name)
            is_sure = verdict(mean, error) != "cannot be told"
            if is_sure and len(self.group_of(name)) > 1 and self.predicted[name] * mean < 0:
                wrong.append(name)
        if self.signed and wrong:
            said.append(f"The prediction has another sign than the gain for {listed(wrong)}.")
        return " ".join(said)

    def rows(self) -> list[list[str]]:
        """A row for each task, and one for all."""
        head = ["task", "group", f"predicted, {self.measure}"]
        table = [
            [name, "+".join(self.group_of(name)), f"{self.predicted[name]:.3g}"]
            for name in self.names
        ]
        table.append(["all", "", f"{self.score:.3g}"])
        for way, gains in self._ways().items():
            head.append(f"gain {way}, %")
            cells = [with_error(*gains.of(name)) for name in self.names]
            cells.append(f"{with_error(*gains.delta_m)} (delta_m)")
            for row, cell in zip(table, cells, strict=True):
                row.append(cell)
        return [head, *table]

    def figure(self) -> Any:
        """What is predicted for each task, and beside it what was measured.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        known = self._ways()
        figure = drawing.new_figure(4.2 if not known else 8.4, 1.6 + 0.5 * len(self.names))
        panels = figure.subplots(1, 2 if known else 1, sharey=True, squeeze=False)[0]
        places = np.arange(len(self.names))
        panels[0].barh(places, list(self.predicted.values()), 0.5, color="#999999")
        panels[0].set_yticks(places, [f"{n}\nin {'+'.join(self.group_of(n))}" for n in self.names])
        panels[0].set_xlabel(self.measure)
        panels[0].set_title("predicted in its group")
        for i, (way, gains) in enumerate(known.items()):
            means, errors = np.array([gains.of(name) for name in self.names]).T
            at = places + 0.18 * (i - (len(known) - 1) / 2)
            style = {"color": drawing.COLOURS[i], "marker": drawing.MARKERS[i], "capsize": 3}
            errors = np.nan_to_num(errors)
            panels[1].errorbar(means, at, xerr=errors, linestyle="", label=way, **style)
        if known:
            panels[1].set_xlabel("gain against alone, %")
            panels[1].set_title("measured, ± standard error")
            figure.legend(loc="outside lower center", ncols=2, frameon=False)
        for panel in panels:
            panel.axvline(0, color="grey", linewidth=0.8)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].invert_yaxis()
        figure.suptitle(self.title)
        return figure

    def _ways(self) -> dict[str, MeasuredGains]:
        """What was measured, by the way of training."""
        ways = {} if self.measured is None else {"in these groups": self.measured}
        if self.together is not None and len(self.groups) > 1:
            ways["all together"] = self.together
        return ways


def measure_groups(
    groups: TaskGroups, trainings: GroupTrainings, *, together: bool = True
) -> TaskGroups:
    """Train groups of tasks, and put what they gain beside what was predicted.

    Args:
        groups: The groups.
        trainings: What trains them, and the single tasks; what it has trained before, it knows.
        together: Whether to train one model of all tasks too, to compare. Defaults to `True`.

    Returns:
        The same groups with the gains. Where groups overlap, a task counts in the one in which its
        mean gain is best.

    Raises:
        ValueError: If the tasks are others.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import GroupTrainings, TaskGroups, measure_groups

    def build(names):
        model = HardSharing(keras.Input((4,)), [Regression(n) for n in names], shared_units=[4])
        model.compile("adam", jit_compile=False)
        return model

    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    data = x, {"a": x[:, 0], "b": x[:, 1]}
    trainings = GroupTrainings(build, ["a", "b"], data, data, seeds=[0])
    groups = TaskGroups([["a", "b"]], {"a": 0.3, "b": 0.3}, "cosine")
    print(measure_groups(groups, trainings).words())
    ```
    """
    if groups.names != trainings.names:
        raise ValueError(
            f"`trainings` should be of the tasks {list(groups.names)}. "
            f"Received: those of {list(trainings.names)}"
        )
    return TaskGroups(
        groups.groups,
        groups.predicted,
        groups.measure,
        method=groups.method,
        signed=groups.signed,
        measured=_measured(groups.groups, trainings),
        together=_measured([groups.names], trainings) if together else None,
    )


def _measured(groups, trainings) -> MeasuredGains:
    best: dict[str, np.ndarray] = {}
    for group in groups:
        gains = trainings.gains(group).T
        for name, own in zip(group, gains, strict=True):
            if name not in best or _mean(own) > _mean(best[name]):
                best[name] = own
    return MeasuredGains({name: best[name] for name in trainings.names})


def _mean(gains: np.ndarray) -> float:
    """Of the seeds that have a gain; where none has, worse than any."""
    return float(np.nan_to_num(mean_and_error(gains)[0], nan=-np.inf))


def _named(group: Sequence[str]) -> str:
    return f"{listed(group)} are one group" if len(group) > 1 else f"{group[0]} stays alone"
