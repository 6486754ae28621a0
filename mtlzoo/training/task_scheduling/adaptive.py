"""Policies that follow how well the tasks perform, and how fast they learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from mtlzoo.balancing import TaskPrioritization
from mtlzoo.layers.arguments import check_number, check_rate
from mtlzoo.training.task_scheduling.monitored import value_in
from mtlzoo.training.task_scheduling.policy import TaskPolicy, Window, raised


class MetricPriority(TaskPolicy):
    """Gives more to the tasks that perform worse (dynamic task prioritization).

    The mathematics is that of the balancer `balancing.TaskPrioritization`, by which it is computed:
    each task has a key performance indicator κᵢ from 0 to 1, a metric or what its loss has lost,
    with the moving average κ̄ᵢ, and its share is proportional to

        −(1 − κ̄ᵢ)^gamma · log κ̄ᵢ

    They are renewed at the ends of epochs. Where the balancer weighs losses, these shares may also
    decide which task's data are read.

    Args:
        metrics: Dict by task of the name of a metric from 0 to 1, the larger the better, that of
            the validation data if it is there. A task without an entry is judged by its training
            loss. Defaults to `None`, all by their loss.
        gamma: Number of at least 0. Defaults to 1.
        decay: Number from 0 to below 1, the part of the old average in the new one. Defaults
            to 0.5.
        least: The share that each has at least, from 0 to below 1. Defaults to 0.05.

    Raises:
        ValueError: If an argument is out of its range; when a training begins, if `metrics` has an
            unknown task or metric; and if a metric of an epoch is not from 0 to 1.

    Example:
    ```python
    from mtlzoo.training import MetricPriority, Window

    policy = MetricPriority({"a": "accuracy", "b": "auc"})
    policy.start(["a", "b"])
    logs = {"a_loss": 0.7, "b_loss": 0.2, "a_accuracy": 0.5, "val_b_auc": 0.9}
    policy.observe(Window(step=100, epoch=0, metrics=logs))
    policy.shares()  # about {'a': 0.92, 'b': 0.08}
    ```

    References:
        Guo, Haque, Huang, Yeung & Fei-Fei, *Dynamic Task Prioritization for Multitask Learning*,
        ECCV 2018.

    *Differences from the paper*: those of the balancer, and shares have the sum 1.
    """

    needs_losses = False

    def __init__(
        self,
        metrics: Mapping[str, str] | None = None,
        gamma: float = 1.0,
        decay: float = 0.5,
        least: float = 0.05,
    ) -> None:
        self._arguments = (metrics, gamma, decay)
        self._balancer = TaskPrioritization(*self._arguments)  # so that it refuses them now
        self._least = check_rate("least", least)

    def begin(self) -> None:
        """See `TaskPolicy`."""
        self._balancer = TaskPrioritization(*self._arguments)
        of_tasks = [SimpleNamespace(name=n, loss_family="regression") for n in self.task_names]
        self._balancer.build(of_tasks)

    def check_model(self, model: Any) -> None:
        """See `TaskPolicy`."""
        self._balancer.check_metrics(model._step.objectives.metric_names)

    def observe(self, window: Window) -> None:
        """See `TaskPolicy`."""
        if not window.metrics:
            return
        told = dict(window.metrics)
        for task, metric in (self._balancer.metrics or {}).items():
            # The balancer passes over a task without a loss. One that was not trained in this epoch
            # is judged all the same, where there are validation data with labels of it.
            key = f"val_{task}_{metric}"
            if value_in(told, key, task) is None:
                told.pop(key, None)
            else:
                told[f"{task}_loss"] = 0.0
        self._balancer.on_epoch_end(told)

    def shares(self) -> dict[str, float]:
        """See `TaskPolicy`."""
        weights = keras.ops.convert_to_numpy(self._balancer.epoch_weights()).astype("float64")
        by_task = dict(zip(self._balancer.task_names, weights.tolist(), strict=True))
        return raised(self.by_name(by_task), self._least)

    def get_state(self) -> dict[str, Any]:
        """See `TaskPolicy`."""
        return {
            name: np.array(keras.ops.convert_to_numpy(getattr(self._balancer, name)))
            for name in ("indicator", "first_losses")
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `TaskPolicy`."""
        for name in ("indicator", "first_losses"):
            getattr(self._balancer, name).assign(np.asarray(state[name]))


class LearningSpeed(TaskPolicy):
    """Gives more to the tasks that learn more slowly.

    With L̄ᵢ a moving average of the losses of the windows and Lᵢ(0) the first of them, the ratio
    L̄ᵢ / Lᵢ(0) says how much of the loss is left, and the relative inverse training rate (Chen et
    al., 2018) is

        rᵢ = (L̄ᵢ / Lᵢ(0)) / meanⱼ (L̄ⱼ / Lⱼ(0))

    The shares are proportional to rᵢ^alpha. A task that has not been trained has the ratio 1, as
    one that has learned nothing; so has one whose first loss is 0 or less. A loss below 0 counts
    as 0.

    Args:
        alpha: Number of at least 0; the larger, the more the slow ones get. Defaults to 1.
        decay: Number from 0 to below 1, the part of the old average in the new one. Defaults
            to 0.5.
        least: The share that each has at least, from 0 to below 1. Defaults to 0.05.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    from mtlzoo.training import LearningSpeed, Window

    policy = LearningSpeed(decay=0.0, least=0.0)
    policy.start(["a", "b"])
    policy.observe(Window(step=10, epoch=0, losses={"a": 1.0, "b": 4.0}))
    policy.observe(Window(step=20, epoch=0, losses={"a": 0.9, "b": 1.2}))
    policy.shares()  # about {'a': 0.75, 'b': 0.25}
    ```

    References:
        Chen, Badrinarayanan, Lee & Rabinovich, *GradNorm*, ICML 2018.

    *Differences from the paper*: the rates are those of GradNorm's equation; gradients have no part
    in it, and shares take the place of weights that are learned.
    """

    kept = ("first", "average")

    def __init__(self, alpha: float = 1.0, decay: float = 0.5, least: float = 0.05) -> None:
        self._alpha = check_number("alpha", alpha, "a number of at least 0", 0.0)
        self._decay = check_rate("decay", decay)
        self._least = check_rate("least", least)

    def begin(self) -> None:
        """See `TaskPolicy`."""
        self.first: dict[str, float] = {}
        self.average: dict[str, float] = {}

    def observe(self, window: Window) -> None:
        """See `TaskPolicy`."""
        for task, loss in window.losses.items():
            if math.isfinite(loss):
                self.first.setdefault(task, loss)
                old = self.average.get(task, loss)
                self.average[task] = self._decay * old + (1 - self._decay) * loss

    def rates(self) -> dict[str, float]:
        """By task its relative inverse training rate, with the mean 1."""
        left = {}
        for task in self.task_names:
            first = self.first.get(task, 0.0)
            left[task] = max(self.average[task], 0.0) / first if first > 0 else 1.0
        mean = math.fsum(left.values()) / len(left)
        return {task: ratio / mean if mean > 0 else 1.0 for task, ratio in left.items()}

    def shares(self) -> dict[str, float]:
        """See `TaskPolicy`."""
        rates = {task: rate**self._alpha for task, rate in self.rates().items()}
        return raised(self.by_name(rates), self._least)
