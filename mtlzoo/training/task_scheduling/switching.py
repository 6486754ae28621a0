"""Policies that switch between tasks: in turn, by size, and from easy to hard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mtlzoo.data import InTurn, Temperature
from mtlzoo.data.arguments import check_count
from mtlzoo.layers.arguments import check_rate
from mtlzoo.training.task_scheduling.monitored import metric_in
from mtlzoo.training.task_scheduling.policy import (
    TaskPolicy,
    Window,
    check_positive,
    raised,
)


class RoundRobin(TaskPolicy):
    """Trains one after the other.

    Through a mixture the turns are exact, step by step, from the first one on (`data.InTurn`).
    Those that are off are left out of the round.

    Args:
        order: The names of one round, in which one may stand several times. Defaults to `None`, for
            all once, by name.
        length: How long a turn is, in steps of a mixture, else in windows. Defaults to 1.

    Raises:
        ValueError: If an argument is out of its range; when it is started, if `order` has an
            unknown name.

    Example:
    ```python
    from mtlzoo.training import RoundRobin, Window

    policy = RoundRobin()
    policy.start(["a", "b"])
    policy.observe(Window(step=1, epoch=0, steps={"a": 1}))
    policy.shares()  # {'a': 0.0, 'b': 1.0}
    ```
    """

    needs_losses = False
    kept = ("windows",)

    def __init__(self, order: Sequence[str] | None = None, length: int = 1) -> None:
        self._turns = InTurn(order, check_count("length", length))

    def begin(self) -> None:
        """See `TaskPolicy`."""
        self.check_names("order", self._turns.order or (), self.names)
        self.windows = 0

    def observe(self, window: Window) -> None:
        """See `TaskPolicy`."""
        self.windows += bool(window.steps)

    def shares(self) -> dict[str, float]:
        """See `TaskPolicy`."""
        return self.by_step().at_step(dict.fromkeys(self.names, 1), self.windows)

    def by_step(self) -> InTurn:
        """See `TaskPolicy`; without those that are off."""
        order = self._turns.order or self.names
        return InTurn([n for n in order if n in self.on] or self.on, self._turns.steps)


class Proportional(TaskPolicy):
    """Trains each as much as it is large, from the first step to the last.

    The shares are proportional to the sizes to the power 1/temperature (see `data.Temperature`).

    Args:
        sizes: By name positive numbers. Defaults to `None`, for the sizes of the data sets of the
            mixture.
        temperature: Positive number; with a high one all are nearly alike. Defaults to 1.

    Raises:
        ValueError: If an argument is out of its range; when it is started, if a size is missing or
            one is there for an unknown name.

    Example:
    ```python
    from mtlzoo.training import Proportional

    policy = Proportional({"a": 3, "b": 1})
    policy.start(["a", "b"])
    policy.shares()  # {'a': 0.75, 'b': 0.25}
    ```
    """

    needs_losses = False

    def __init__(self, sizes: Mapping[str, float] | None = None, temperature: float = 1.0) -> None:
        self._given = check_positive("sizes", sizes)
        self._temperature = Temperature(temperature)

    def begin(self) -> None:
        """See `TaskPolicy`."""
        self.check_names("sizes", self._given, self.names)
        if not self._given and self.sizes is None:
            raise ValueError(
                "`sizes` should be given where no data sets are mixed. Received: sizes=None for "
                f"the tasks {list(self.names)}"
            )
        for name in self.names:
            if self._given and name not in self._given:
                raise ValueError(
                    f"`sizes` should have a number for each of {list(self.names)}. "
                    f"Received: none for `{name}`"
                )

    def shares(self) -> dict[str, float]:
        """See `TaskPolicy`."""
        sizes: Any = self._given or self.sizes
        return self._temperature.probabilities(sizes, 0)


class Curriculum(TaskPolicy):
    """Trains what is easy first, and by and by what is harder (Bengio et al., 2009).

    At first the `first` easiest are trained, and after each `pace` epochs or steps one more; those
    that are trained have equal shares. Where the order is not given it is measured: all have equal
    shares until each has a loss (or metric), and the pace counts from there.

    Args:
        order: All names, from easy to hard. Defaults to `None`, for the order of what is measured.
        by: What is measured: `"loss"`, the first training loss, the least first, which compares
            tasks whose losses mean the same; or a dict by task of the name of a metric whose larger
            values are better, as `{"a": "auc"}`, that of the validation data if it is there.
            Defaults to `"loss"`.
        first: How many are trained at first, at least 1. Defaults to 1.
        pace: How many epochs (or steps) are between one and the next, at least 1. Defaults to 1.
        unit: `"epochs"` or `"steps"`. Defaults to `"epochs"`.
        least: The share that each has at least, also before its time. Defaults to 0.

    Raises:
        ValueError: If an argument is out of its range; when it is started, if `order` does not have
            all names, or `by` a metric of all tasks; at the end of the first epoch, if a metric is
            not in its logs.

    Example:
    ```python
    from mtlzoo.training import Curriculum, Window

    policy = Curriculum(order=["easy", "hard"], pace=10, unit="steps")
    policy.start(["easy", "hard"])
    policy.shares()  # {'easy': 1.0, 'hard': 0.0}
    policy.observe(Window(step=10, epoch=0))
    policy.shares()  # {'easy': 0.5, 'hard': 0.5}
    ```

    References:
        Bengio, Louradour, Collobert & Weston, *Curriculum Learning*, ICML 2009.

    *Differences from the paper*: the curriculum is one of tasks or data sets, not of examples, and
    what was learned first goes on.
    """

    kept = ("order", "began", "now")

    def __init__(
        self,
        order: Sequence[str] | None = None,
        *,
        by: str | Mapping[str, str] = "loss",
        first: int = 1,
        pace: int = 1,
        unit: str = "epochs",
        least: float = 0.0,
    ) -> None:
        is_list = isinstance(order, list | tuple) and len(set(order)) == len(order) > 0
        if order is not None and not is_list:
            raise ValueError(
                f"`order` should be a list of different names, or None. Received: order={order!r}"
            )
        if by != "loss" and not isinstance(by, Mapping):
            raise ValueError(
                "`by` should be 'loss', or a dict by task of the names of metrics. "
                f"Received: by={by!r}"
            )
        if unit not in ("epochs", "steps"):
            raise ValueError(f"`unit` should be 'epochs' or 'steps'. Received: unit={unit!r}")
        self._order = None if order is None else list(order)
        self._by, self._unit, self._least = by, unit, check_rate("least", least)
        self._first, self._pace = check_count("first", first), check_count("pace", pace)
        self.needs_losses = order is None and by == "loss"

    def begin(self) -> None:
        """See `TaskPolicy`."""
        if self._order is not None:
            self.check_names("order", self._order, self.names)
            if missing := sorted(set(self.names) - set(self._order)):
                raise ValueError(
                    f"`order` should have all of {list(self.names)}. Received: no `{missing[0]}`"
                )
        if isinstance(self._by, Mapping):
            self.check_names("by", self._by, self.task_names)
            if missing := sorted(set(self.task_names) - set(self._by)):
                raise ValueError(
                    f"`by` should have a metric of all tasks {self.task_names}. "
                    f"Received: none of `{missing[0]}`"
                )
        self.order = self._order
        self.began, self.now = 0, 0
        self._seen: dict[str, float] = {}

    def check_model(self, model: Any) -> None:
        """See `TaskPolicy`."""
        if isinstance(self._by, Mapping):
            for task, metric in self._by.items():
                known = model._step.objectives.metric_names[task]
                if metric not in known:
                    raise _unknown(task, metric, known)

    def observe(self, window: Window) -> None:
        """See `TaskPolicy`."""
        if self._unit == "steps":
            self.now = window.step
        elif window.metrics:
            self.now = window.epoch + 1
        if self.order is None:
            self._measure(window)

    def _measure(self, window: Window) -> None:
        if self._by == "loss":
            for task, loss in window.losses.items():
                self._seen.setdefault(task, loss)
        elif isinstance(self._by, Mapping) and window.metrics:
            for task, metric in self._by.items():
                found = metric_in(window.metrics, task, metric)
                if found is None:
                    raise _unknown(task, metric, sorted(window.metrics))
                if math.isfinite(found):
                    self._seen.setdefault(task, -found)
        difficulty = self.losses_by_name(self._seen)
        if difficulty.keys() >= set(self.on):  # those that are off come last
            rank = {name: difficulty.get(name, math.inf) for name in self.names}
            self.order = sorted(self.names, key=lambda name: (rank[name], name))
            self.began = self.now

    def shares(self) -> dict[str, float]:
        """See `TaskPolicy`."""
        if self.order is None:
            return super().shares()
        order = [name for name in self.order if name in self.on]
        open_now = order[: self._first + (self.now - self.began) // self._pace]
        shares = {name: (name in open_now) / len(open_now) for name in self.names}
        return raised(shares, self._least)

    def get_state(self) -> dict[str, Any]:
        """See `TaskPolicy`."""
        return {**super().get_state(), "seen": dict(self._seen)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `TaskPolicy`."""
        super().set_state(state)
        self._seen = dict(state["seen"])


def _unknown(task: str, metric: str, known: Sequence[str]) -> ValueError:
    return ValueError(
        f"`by` should name a metric of task `{task}`, one of {list(known)}. Received: {metric!r}"
    )
