"""A policy that keeps a training within a budget of seconds and memory."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from absl import logging

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.data.sampling import normalized
from mtlzoo.training.task_scheduling.costs import TaskCosts
from mtlzoo.training.task_scheduling.policy import TaskPolicy, Window


class ResourceBudget(TaskPolicy):
    r"""Shares by importance, as far as a budget of seconds and memory allows.

    With $w_i$ the importance and $c_i$ the seconds of a step of $i$, the shares are those nearest
    to the importance in relative entropy whose mean step takes no more than $b$ seconds:

    $$p_i \propto w_i e^{-\lambda c_i}, \quad \lambda \ge 0 \text{ the least with }
    \sum_i p_i c_i \le b.$$

    So where the budget is ample, importance alone decides, and where it is tight, cheap tasks get
    more. $b$ is `seconds_per_step`, or what is left of `seconds` over what is left of `steps`; it
    follows what was spent. When what is left of `seconds` is less than the last window took,
    training ends, and a line of the log says so.

    What is spent is counted by `costs`, where they are given: then the shares and the end are the
    same in every training. Without them it is measured by the clock, validation and the tracing of
    steps included, the cost of each task is estimated from the windows (least squares), and no two
    trainings are the same. Epochs' logs have `<name>_seconds`, what was spent since the beginning.

    Args:
        costs: `TaskCosts`, as of `measure_task_costs`. Defaults to `None`: the clock.
        seconds: Seconds for the training. Defaults to no limit.
        seconds_per_step: Seconds for a step, on average. Defaults to no limit.
        steps: How many steps the training has, so that `seconds` last as long. Defaults to `None`:
            they are spent as importance has it, and the training ends when they are.
        memory: Bytes for a step, which `costs` must know: tasks that do not fit together are not
            trained in one step, see `fits`. Defaults to no limit.
        importance: Dict by task of numbers that are not negative; tasks without one have 1.
            Defaults to all alike.

    Attributes:
        spent: By name the seconds that were spent.

    Raises:
        ValueError: If an argument is out of its range or there is no budget; when a training
            begins, if `costs` lack a task, even the cheapest step costs more than a step may or
            does not fit into the memory, or the budget would not be kept by what the shares act
            through, see `check_use`.

    Example:
    ```python
    from mtlzoo.training import ResourceBudget, TaskCosts, Window

    costs = TaskCosts({"cheap": 0.001, "dear": 0.009})
    policy = ResourceBudget(costs, seconds=30.0, seconds_per_step=0.003)
    policy.start(["cheap", "dear"])
    print(policy.shares())  # about {'cheap': 0.75, 'dear': 0.25}
    policy.observe(Window(step=100, epoch=0, steps={"cheap": 80, "dear": 20}))
    print(policy.spent)  # about {'cheap': 0.08, 'dear': 0.18}
    ```
    """

    needs_losses = False
    kept = ("spent", "finished", "_step", "_windows", "_last", "_products", "_sums")

    def __init__(
        self,
        costs: TaskCosts | None = None,
        *,
        seconds: float | None = None,
        seconds_per_step: float | None = None,
        steps: int | None = None,
        memory: float | None = None,
        importance: Mapping[str, float] | None = None,
    ) -> None:
        if costs is not None and not isinstance(costs, TaskCosts):
            raise ValueError(f"`costs` should be `TaskCosts` or None. Received: costs={costs!r}")
        limits = {"seconds": seconds, "seconds_per_step": seconds_per_step, "memory": memory}
        if all(limit is None for limit in limits.values()):
            raise ValueError(
                "`seconds`, `seconds_per_step` or `memory` should be given. Received: none"
            )
        for argument, limit in limits.items():
            if limit is not None and not (is_number(limit) and limit > 0):
                raise ValueError(
                    f"`{argument}` should be a positive number. Received: {argument}={limit!r}"
                )
        if steps is not None and (seconds is None or seconds_per_step is not None):
            raise ValueError(
                "`steps` should be given with `seconds`, and without `seconds_per_step`. "
                f"Received: steps={steps!r}, seconds={seconds!r}, "
                f"seconds_per_step={seconds_per_step!r}"
            )
        if memory is not None and (costs is None or not costs.temporaries):
            raise ValueError(
                "`costs` should be given with `memory`, and know the bytes of a step "
                f"(`temporaries`). Received: costs={costs!r}"
            )
        for task, number in (importance or {}).items():
            if not is_number(number) or number < 0:
                raise ValueError(
                    f"`importance` of task `{task}` should be a number that is not negative. "
                    f"Received: importance={importance!r}"
                )
        self._costs, self._seconds, self._per_step = costs, seconds, seconds_per_step
        self._planned = None if steps is None else check_count("steps", steps)
        self._memory, self._importance = memory, dict(importance or {})
        self._model: Any = None

    def begin(self) -> None:
        """See `TaskPolicy`."""
        for task in self._importance:
            if task not in self.task_names:
                raise ValueError(
                    f"`importance` should be by the tasks {self.task_names}. "
                    f"Received: importance={self._importance!r}, with {task!r}"
                )
        weights = {task: self._importance.get(task, 1.0) for task in self.task_names}
        if not any(weights.values()):
            raise ValueError(
                "`importance` should have a positive number. "
                f"Received: importance={self._importance!r}"
            )
        self._weights = self.by_name(weights)
        # What is looked up in the costs, which know tasks that are balanced as one by their row.
        known = {} if self._costs is None else self._costs.seconds
        self._priced = {
            name: (name,) if name in known and not set(tasks) <= set(known) else tasks
            for name, tasks in self.tasks.items()
        }
        if self._costs is not None:
            self._check_costs(self._costs)
        self.spent = dict.fromkeys(self.names, 0.0)
        self.finished = ""
        self._computes_all = False
        self._step = self._windows = 0
        self._last = 0.0  # what the last window took
        self._products = np.zeros((len(self.names), len(self.names)))
        self._sums = np.zeros(len(self.names))
        self._clock = time.perf_counter()

    def _check_costs(self, costs: TaskCosts) -> None:
        for tasks in self._priced.values():
            for task in tasks:
                if task not in costs.seconds:
                    raise ValueError(
                        f"`costs` should have the tasks {self.task_names}. Received: {costs.tasks}"
                    )
        useful = [tasks for name, tasks in self._priced.items() if self._weights[name] > 0]
        least = min(costs.seconds_of(tasks) for tasks in useful)
        allowed = self._per_step
        if self._planned is not None and self._seconds is not None:
            allowed = self._seconds / self._planned
        if allowed is not None and allowed < least:
            raise ValueError(
                f"The budget should allow a step of the cheapest task, {least:.6g} seconds. "
                f"Received: {allowed:.6g} seconds per step"
            )
        for name, tasks in self._priced.items():
            self._check_memory(f"`{name}` alone", tasks)

    def _check_memory(self, what: str, tasks: Iterable[str]) -> None:
        if self._costs is not None and not self.fits(tasks):
            raise ValueError(
                f"`memory` should be enough for a step of {what}, "
                f"{self._costs.memory_of(tasks)} bytes. Received: memory={self._memory!r}"
            )

    def check_model(self, model: Any) -> None:
        """See `TaskPolicy`; the model is stopped when the budget is used up."""
        self._model = model
        if self._costs is None:
            return
        for task in self.task_names:
            row = model.row_of.get(task, task)
            if row not in self._costs.seconds:
                raise ValueError(
                    f"`costs` should have the tasks {list(model._step.rows.names)}. "
                    f"Received: {self._costs.tasks}, without `{row}`"
                )

    def check_use(self, through: str, at_once: int) -> None:
        """See `TaskPolicy`.

        Args:
            through: What the shares act through.
            at_once: How many tasks are selected at once.

        Raises:
            ValueError: If the budget would not be kept: a mean cost per step where several tasks
                are drawn for one, or memory where all are computed that do not fit together.
        """
        if at_once > 1 and (self._per_step is not None or self._planned is not None):
            given = "seconds_per_step" if self._planned is None else "steps"
            raise ValueError(
                f"`{given}` should be given with at_once=1, where a step costs what its task does. "
                f"Received: at_once={at_once}"
            )
        self._computes_all = through == "weights"
        if self._computes_all and self._costs is not None:
            self._check_memory("all tasks, as through='weights' has it", self._everything())

    def _everything(self) -> list[str]:
        return sorted({task for tasks in self._priced.values() for task in tasks})

    def fits(self, names: Iterable[str]) -> bool:
        """Whether tasks may be trained in one step.

        Args:
            names: Their names.
        """
        if self._memory is None or self._costs is None:
            return True
        return self._costs.memory_of(names) <= self._memory

    # -- what is spent --------------------------------------------------------------------------

    def observe(self, window: Window) -> None:
        """See `TaskPolicy`."""
        count, self._step = window.step - self._step, window.step
        now, before = time.perf_counter(), self._clock
        self._clock = now
        counts = np.array([window.steps.get(name, 0) for name in self.names], "float64")
        if count > 0 and counts.any():
            costs = self._of_names()
            common = 0.0 if self._costs is None else self._costs.shared_seconds
            # In a step of several names, what they have in common is spent once.
            by_name = counts * (costs - common) + count * common * counts / counts.sum()
            if self._costs is None:
                by_name *= (now - before) / by_name.sum()
                self._learn(counts, now - before)
            elif self._computes_all or (counts == count).all():
                total = count * self._costs.seconds_of(self._everything())
                by_name *= total / max(by_name.sum(), 1e-12)
            for name, seconds in zip(self.names, by_name.tolist(), strict=True):
                self.spent[name] += seconds
            self._last = float(by_name.sum())
            self._windows += 1
        if window.metrics:
            logging.info("Spent after epoch %d: %s", window.epoch + 1, self._as_text())
        self._end_if_spent()

    def _learn(self, counts: np.ndarray, seconds: float) -> None:
        """Remember what a window says of the costs; not the first, in which steps are traced."""
        if self._windows:
            self._products += np.outer(counts, counts)
            self._sums += counts * seconds

    def _of_names(self) -> np.ndarray:
        """The seconds of a step of each name."""
        if self._costs is not None:
            return np.array([self._costs.seconds_of(self._priced[name]) for name in self.names])
        if not self._sums.any():
            return np.ones(len(self.names))
        # Least squares with a little weight on the mean cost, for names that are rarely trained.
        mean = self._sums.sum() / self._products.sum()
        weight = 1e-3 * np.trace(self._products) * np.eye(len(self.names))
        found = np.linalg.solve(self._products + weight, self._sums + weight.diagonal() * mean)
        return np.maximum(found, 1e-3 * mean)

    def _end_if_spent(self) -> None:
        spent = math.fsum(self.spent.values())
        if self._seconds is None or self.finished or spent + self._last <= self._seconds:
            return
        self.finished = (
            f"The budget of {self._seconds:g} seconds is used up after {self._step} steps, since "
            f"another window of {self._last:.3g} seconds does not fit: {self._as_text()}"
        )
        logging.warning("%s", self.finished)
        if self._model is not None:
            self._model.stop_training = True

    def _as_text(self) -> str:
        total = math.fsum(self.spent.values())
        return f"{total:.3g} seconds, " + ", ".join(f"{n} {s:.3g}" for n, s in self.spent.items())

    def logs(self) -> dict[str, float]:
        """What was spent by name since the beginning, as `<name>_seconds`."""
        return {f"{name}_seconds": seconds for name, seconds in self.spent.items()}

    # -- shares ---------------------------------------------------------------------------------

    def shares(self) -> dict[str, float]:
        """See `TaskPolicy`."""
        costs = self._of_names()
        weights = np.array([self._weights[name] for name in self.names])
        on = np.isin(self.names, list(self.on))
        weights = weights * on if (weights * on).any() else weights
        shares = _nearest(weights, costs, self._allowed())
        return normalized(dict(zip(self.names, shares.tolist(), strict=True)))

    def _allowed(self) -> float:
        """The seconds that the mean step may take from now on."""
        spent = math.fsum(self.spent.values())
        if self._costs is None and not self._sums.any():
            return math.inf  # nothing is known yet
        if self._per_step is not None:
            # As far below the limit as the mean was above it so far.
            mean = spent / self._step if self._step else self._per_step
            return 2 * self._per_step - mean
        if self._planned is None or self._seconds is None or self._step >= self._planned:
            return math.inf
        return (self._seconds - spent) / (self._planned - self._step)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `TaskPolicy`."""
        super().set_state(state)
        self._products, self._sums = np.asarray(self._products), np.asarray(self._sums)
        self._clock = time.perf_counter()


def _nearest(weights: np.ndarray, costs: np.ndarray, allowed: float) -> np.ndarray:
    """The shares nearest to the weights of which the mean cost is allowed; else the cheapest."""

    def tilted(rate: float) -> np.ndarray:
        shares = weights * np.exp(-rate * relative)
        return shares / shares.sum()

    usable = weights > 0
    least, most = costs[usable].min(), costs[usable].max()
    if weights @ costs / weights.sum() <= allowed or most == least:
        return weights / weights.sum()
    relative = np.where(usable, (costs - least) / (most - least), 0.0)
    low, high = 0.0, 1.0
    while tilted(high) @ costs > allowed and high < 1e6:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if tilted(middle) @ costs <= allowed else (middle, high)
    return tilted(high)
