"""The trials of a search that no other trial beats."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras_tuner
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.analysis import drawing
from mtlzoo.tasks import Task

_MOST_PANELS = 6


class Trial(NamedTuple):
    """A trial of a search that was completed.

    Attributes:
        name: its id, as of KerasTuner.
        settings: its hyperparameters, of the chosen architecture only.
        values: by task the deciding metric on the validation data.
        score: what the search made of it.
    """

    name: str
    settings: dict[str, Any]
    values: dict[str, float]
    score: float


class ParetoFront:
    """Trials, and those among them that no other one beats: a `Finding`.

    A trial beats another one if it is better in a task and worse in none. `pareto_front` makes this
    of a search.

    Args:
        trials: The trials, at least one.
        tasks: The tasks.

    Attributes:
        trials: The trials, in the order of the search.
        front: Those that no other one beats, in the same order.
        title: A headline.

    Raises:
        ValueError: If there is no trial, or one lacks a task's metric.
    """

    def __init__(self, trials: Sequence[Trial], tasks: Sequence[Task]) -> None:
        self._tasks = task_kinds.by_name(tasks)
        if not trials:
            raise ValueError("`trials` should have a completed trial at least. Received: none")
        for trial in trials:
            missing = [name for name in self._tasks if name not in trial.values]
            if missing:
                raise ValueError(
                    f"Trial {trial.name} should have the deciding metric of task `{missing[0]}`. "
                    f"Received: {sorted(trial.values)}"
                )
        self.trials = list(trials)
        signs = np.array([1 if task.mode == "max" else -1 for task in self._tasks.values()])
        points = np.array([[trial.values[name] for name in self._tasks] for trial in self.trials])
        finite = np.isfinite(points).all(axis=1)
        if not finite.any():
            raise ValueError(
                "`trials` should have a completed trial with finite metrics at least. "
                f"Received: {points.tolist()}"
            )
        # A metric that is not finite neither beats nor is beaten.
        kept = np.zeros(len(points), bool)
        kept[finite] = non_dominated((points * signs)[finite])
        self.front = [trial for trial, stays in zip(self.trials, kept, strict=True) if stays]

    @property
    def title(self) -> str:
        """A headline."""
        return f"Pareto front of {len(self.trials)} trials, {len(self.front)} of which are on it"

    def words(self) -> str:
        """Which trials are on the front, what they are, and what does not follow."""
        said = [
            f"{len(self.trials)} trials were completed. {len(self.front)} of them are beaten by "
            "none: each other trial is worse in a task and better in none than one of these."
        ]
        broken = [t.name for t in self.trials if not np.isfinite(list(t.values.values())).all()]
        if broken:
            said.append(f"Not on it for a metric that is not finite: {', '.join(broken)}.")
        for trial in self.front:
            numbers = ", ".join(
                f"{name} {task.monitor} {trial.values[name]:.4g}"
                for name, task in self._tasks.items()
            )
            said.append(f"Trial {trial.name} ({_called(trial)}): {numbers}.")
        for name, task in self._tasks.items():
            values = [trial.values[name] for trial in self.front]
            best = max(values) if task.mode == "max" else min(values)
            said.append(f"Best for task {name} is trial {self.front[values.index(best)].name}.")
        said.append(
            "Numbers are of the validation data by which they were chosen, so that the best ones "
            "are somewhat too good: train what is taken with other seeds, and read the test data "
            "once."
        )
        return " ".join(said)

    def rows(self) -> list[list[str]]:
        """All trials with their settings, in the order of the search."""
        metrics = [f"{name} {task.monitor}" for name, task in self._tasks.items()]
        on_front = {trial.name for trial in self.front}
        found = [["trial", "front", "score", *metrics, "settings"]]
        for trial in self.trials:
            numbers = [f"{trial.values[name]:.4f}" for name in self._tasks]
            settings = ", ".join(f"{k}={_short(v)}" for k, v in trial.settings.items())
            mark = "yes" if trial.name in on_front else ""
            found.append([trial.name, mark, f"{trial.score:.4f}", *numbers, settings])
        return found

    def figure(self) -> Any:
        """A panel for each pair of tasks: all trials, those on the front numbered.

        A point on the front may look beaten in a panel: it is better in a task of another one.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        names = list(self._tasks)
        pairs = list(itertools.combinations(names, 2))[:_MOST_PANELS] or [(names[0], names[0])]
        columns = min(3, len(pairs))
        lines = -(-len(pairs) // columns)
        figure = drawing.new_figure(max(5.6, 4.0 * columns), 0.9 + 3.6 * lines)
        figure.get_layout_engine().set(w_pad=0.12)
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        kinds = list(dict.fromkeys(_kind(trial) for trial in self.trials))
        for panel, pair in zip(panels, pairs, strict=False):
            self._panel(panel, pair, kinds)
        for panel in panels[len(pairs) :]:
            panel.set_visible(False)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False,
            fontsize=8,
        )  # fmt: skip
        figure.suptitle(self.title, fontsize=11)
        return figure

    def _panel(self, panel: Any, pair: tuple[str, str], kinds: Sequence[str]) -> None:
        on_front = {trial.name for trial in self.front}
        for i, kind in enumerate(kinds):
            marker, colour = (
                drawing.MARKERS[i % len(drawing.MARKERS)],
                drawing.COLOURS[i % len(drawing.COLOURS)],
            )
            for stays in (False, True):
                found = [
                    [trial.values[name] for name in pair]
                    for trial in self.trials
                    if _kind(trial) == kind and (trial.name in on_front) == stays
                ]
                if not found:
                    continue
                x, y = np.array(found).T
                panel.scatter(
                    x, y, s=52 if stays else 30, marker=marker, linewidths=1.2,
                    facecolors=colour if stays else "white", edgecolors=colour,
                    label=f"{kind}, {'on the front' if stays else 'beaten'}",
                    zorder=3 if stays else 2,
                )  # fmt: skip
        for trial in self.front:
            panel.annotate(
                trial.name, [trial.values[name] for name in pair], xytext=(5, 4),
                textcoords="offset points", fontsize=8,
            )  # fmt: skip
        for axis, name in zip((panel.set_xlabel, panel.set_ylabel), pair, strict=True):
            task = self._tasks[name]
            better = "higher" if task.mode == "max" else "lower"
            axis(f"task {name}: validation {task.monitor}\n({better} is better)", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.margins(0.12)
        panel.grid(alpha=0.3)


def pareto_front(tuner: keras_tuner.Tuner, tasks: Sequence[Task]) -> ParetoFront:
    """The trials of a search that no other one beats on the validation data.

    Args:
        tuner: A tuner of KerasTuner whose search is over, with a `MultiTaskObjective` or any other.
        tasks: The tasks, whose deciding metrics count.

    Returns:
        A `ParetoFront`, a `Finding`: words, a table of all trials, a picture.

    Raises:
        ValueError: If no trial was completed, or one lacks a task's metric.

    Example:
    ```python
    import keras
    import keras_tuner
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.tuning import MultiTaskHyperModel, MultiTaskObjective, pareto_front

    tasks = [Regression("a"), Regression("b")]
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = {"a": x[:, 0], "b": x[:, 1]}
    hyper = MultiTaskHyperModel(keras.Input((4,)), tasks, {HardSharing: {"shared_units": [(4,)]}})
    tuner = keras_tuner.RandomSearch(
        hyper, MultiTaskObjective(tasks, baselines={"a": 1.0, "b": 1.0}), max_trials=1
    )
    tuner.search(x, y, validation_data=(x, y), verbose=0)
    print(pareto_front(tuner, tasks).words())
    ```
    """
    by_name = task_kinds.by_name(tasks)
    keys = {name: f"val_{name}_{task.monitor}" for name, task in by_name.items()}
    found = []
    for trial in sorted(tuner.oracle.trials.values(), key=lambda each: int(each.trial_id)):
        if trial.status != "COMPLETED":
            continue
        settings = {
            key: value
            for key, value in trial.hyperparameters.values.items()
            if not key.startswith("tuner/")  # of Hyperband
        }
        architecture = settings.get("architecture")
        settings = {
            key: value
            for key, value in settings.items()
            if "/" not in key or key.startswith(f"{architecture}/")
        }
        values = {
            name: float(trial.metrics.get_last_value(key))
            for name, key in keys.items()
            if trial.metrics.exists(key)
        }
        found.append(Trial(str(int(trial.trial_id)), settings, values, float(trial.score)))
    return ParetoFront(found, list(by_name.values()))


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Which points no other one beats; of equal ones all stay.

    Args:
        points: (N, T), higher is better.

    Returns:
        (N,), whether a point stays.
    """
    one, other = points[:, None], points[None]
    beaten = np.all(other >= one, axis=-1) & np.any(other > one, axis=-1)
    return ~beaten.any(axis=1)


def _kind(trial: Trial) -> str:
    return str(trial.settings.get("architecture", "model"))


def _called(trial: Trial) -> str:
    """A trial in words: architecture and balancer, or all settings."""
    settings: Mapping[str, Any] = trial.settings
    named = [settings[key] for key in ("architecture", "balancer") if key in settings]
    return ", ".join(map(str, named)) or ", ".join(f"{k}={_short(v)}" for k, v in settings.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
