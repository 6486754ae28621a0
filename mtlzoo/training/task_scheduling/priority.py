"""A policy of importance, deadlines and targets that the user states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.data.sampling import normalized
from mtlzoo.layers.arguments import check_number
from mtlzoo.models.callbacks import known_modes, usual_mode
from mtlzoo.training.task_scheduling.monitored import metric_in
from mtlzoo.training.task_scheduling.policy import TaskPolicy, Window, check_positive

MODES = ("max", "min")


class Priority(TaskPolicy):
    """Trains tasks by importance and urgency, and less those that have reached their targets.

    At the end of each epoch, with e epochs done, task i has the priority

        pᵢ = importanceᵢ · (dᵢ / max(dᵢ − e, 1))^urgency

    with its deadline dᵢ; without one the second factor is 1. It is 1 at the beginning, rises as the
    time that is left falls, and stays at dᵢ^urgency when there is none left. Tasks that have
    reached all their targets give way: each has the share `least`, and the others share the rest in
    proportion to pᵢ. One that falls below its target takes part again. When all have reached
    theirs, all take part in proportion to pᵢ.

    Args:
        importance: Dict by task of positive numbers. Tasks without one have 1. Defaults to `None`.
        targets: Dict by task of a pair of a metric and its target, as `("auc", 0.94)`, or a dict
            of several, which all have to be reached, as `{"auc": 0.94, "loss": 0.2}`. A task
            without an entry never gives way. Read from the logs of the validation data, or where
            there are none with labels of the task, from those of the training; where it was not
            trained either, it is what it was before. Defaults to `None`.
        deadlines: Dict by task of the number of epochs by whose end it should be done, at least 1.
            Defaults to `None`.
        least: The share of a task that has reached its targets, from 0 to below 1 over the number
            of tasks. With 0 it is not trained until it falls below. Defaults to 0.01.
        urgency: Exponent, a number of at least 0. Defaults to 1.
        modes: Dict by name of a metric of `"max"` or `"min"`, the direction that is better, for
            metrics whose direction the task does not know. Defaults to `None`.

    Attributes:
        reached: By task with targets whether it has reached them.

    Raises:
        ValueError: If an argument is out of its range; when a training begins, for an unknown task
            or metric, a target that the metric cannot have, or a direction that is not known; at
            the end of an epoch, if a metric is not in its logs, or without a model its direction
            is not known by its name.

    Example:
    ```python
    from mtlzoo.training import Priority, Window

    policy = Priority({"income": 3.0}, targets={"income": ("auc", 0.94)}, deadlines={"income": 10})
    policy.start(["income", "stay"])
    policy.shares()  # {'income': 0.75, 'stay': 0.25}
    policy.observe(Window(step=100, epoch=0, metrics={"val_income_auc": 0.95}))
    policy.shares()  # {'income': 0.01, 'stay': 0.99}
    ```
    """

    needs_losses = False
    kept = ("reached", "epochs", "validated")

    def __init__(
        self,
        importance: Mapping[str, float] | None = None,
        *,
        targets: Mapping[str, Any] | None = None,
        deadlines: Mapping[str, int] | None = None,
        least: float = 0.01,
        urgency: float = 1.0,
        modes: Mapping[str, str] | None = None,
    ) -> None:
        self._importance = check_positive("importance", importance)
        self._targets = _targets(targets)
        if deadlines is not None and not isinstance(deadlines, Mapping):
            raise ValueError(
                f"`deadlines` should be a dict by task. Received: deadlines={deadlines!r}"
            )
        self._deadlines = {
            t: check_count(f"deadlines[{t!r}]", d) for t, d in (deadlines or {}).items()
        }
        for argument, value in (("least", least), ("urgency", urgency)):
            check_number(argument, value, "a number of at least 0", 0)
        if modes is not None and not (
            isinstance(modes, Mapping) and all(mode in MODES for mode in modes.values())
        ):
            raise ValueError(
                f"`modes` should be a dict by metric of 'max' or 'min'. Received: modes={modes!r}"
            )
        self._least, self._urgency, self._given_modes = least, urgency, dict(modes or {})

    def begin(self) -> None:
        """See `TaskPolicy`."""
        for argument in ("importance", "targets", "deadlines"):
            self.check_names(argument, getattr(self, f"_{argument}"), self.task_names)
        if self._least * len(self.task_names) >= 1:
            raise ValueError(
                f"`least` should be below 1 over the number of the tasks {self.task_names}. "
                f"Received: least={self._least}"
            )
        self._modes: dict[str, dict[str, str | None]] = {
            task: {m: self._given_modes.get(m, usual_mode(m)) for m in targets}
            for task, targets in self._targets.items()
        }
        self.reached = dict.fromkeys(self._targets, False)
        self.epochs, self.validated = 0, False

    def check_model(self, model: Any) -> None:
        """See `TaskPolicy`."""
        known = known_modes(model)
        for task, targets in self._targets.items():
            own = {m.name for m in model.tasks[task].default_metrics()}
            there = ["loss", *model._step.objectives.metric_names[task]]
            for metric, target in targets.items():
                if metric not in there:
                    raise _unknown(task, metric, there)
                mode = self._given_modes.get(metric, known.get(f"{task}_{metric}"))
                self._modes[task][metric] = mode
                self._check_mode(task, metric)
                # All metrics that tasks bring with them are at most 1 or at least 0.
                beyond = target > 1 if mode == "max" else target < 0
                if metric in own and beyond:
                    bound = "at most 1" if mode == "max" else "at least 0"
                    raise ValueError(
                        f"`targets[{task!r}]` should be one that can be reached: {metric} is "
                        f"{bound}. Received: {metric}={target}"
                    )

    def _check_mode(self, task: str, metric: str) -> None:
        if self._modes[task][metric] is None:
            raise ValueError(
                f"`modes` should say which direction of the metric {metric!r} of task `{task}` is "
                f"better, 'max' or 'min'. Received: modes={self._given_modes}"
            )

    def observe(self, window: Window) -> None:
        """See `TaskPolicy`."""
        logs = window.metrics
        if not logs:
            return
        self.epochs = window.epoch + 1
        keys = [f"{task}_{metric}" for task, of in self._targets.items() for metric in of]
        here = any(f"val_{key}" in logs for key in keys)
        if self.validated and not here:
            return  # the data are not validated in each epoch
        self.validated = here
        for task, targets in self._targets.items():
            found = []
            for metric, target in targets.items():
                self._check_mode(task, metric)
                value = metric_in(logs, task, metric)
                if value is None:
                    there = [k for k in logs if k.removeprefix("val_").startswith(f"{task}_")]
                    raise _unknown(task, metric, there)
                found.append((value, target, self._modes[task][metric]))
            if not any(math.isnan(value) for value, _, _ in found):  # else it keeps what it has
                self.reached[task] = all(
                    value >= target if mode == "max" else value <= target
                    for value, target, mode in found
                )

    def priorities(self) -> dict[str, float]:
        """By task its importance times its urgency."""
        found = {}
        for task in self.task_names:
            found[task] = self._importance.get(task, 1.0)
            if task in self._deadlines:
                deadline = self._deadlines[task]
                found[task] *= (deadline / max(deadline - self.epochs, 1)) ** self._urgency
        return found

    def shares(self) -> dict[str, float]:
        """See `TaskPolicy`."""
        priorities = self.priorities()
        done = [task for task in self.task_names if self.reached.get(task, False)]
        if 0 < len(done) < len(self.task_names):
            rest = normalized({t: p for t, p in priorities.items() if t not in done})
            left = 1 - self._least * len(done)
            priorities = {t: left * rest[t] if t in rest else self._least for t in priorities}
        return self.by_name(priorities)


def _targets(given: Any) -> dict[str, dict[str, float]]:
    """By task the targets by metric."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ValueError(f"`targets` should be a dict by task. Received: targets={given!r}")
    found = {}
    for task, target in given.items():
        if isinstance(target, list | tuple) and len(target) == 2:
            target = {target[0]: target[1]}
        is_one = isinstance(target, Mapping) and target
        if not is_one or not all(isinstance(m, str) and is_number(v) for m, v in target.items()):
            raise ValueError(
                f"`targets[{task!r}]` should be a metric and a finite number, as ('auc', 0.94), or "
                f"a dict of such. Received: {given[task]!r}"
            )
        found[task] = {m.removeprefix("val_"): float(v) for m, v in target.items()}
    return found


def _unknown(task: str, metric: str, known: Any) -> ValueError:
    return ValueError(
        f"`targets[{task!r}]` should name a metric of the task, one of {list(known)}. "
        f"Received: {metric!r}"
    )
