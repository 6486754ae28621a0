"""Dynamic task prioritization: more weight for the tasks that are not yet mastered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.loss_balancer import LossBalancer
from mtlzoo.layers.arguments import check_number, check_rate

# The weight at an indicator of 0 would be infinite. At this one it is 4.6, or less with gamma.
_LEAST = 0.01
_UNKNOWN = -1.0


@keras.saving.register_keras_serializable(package="mtlzoo")
class TaskPrioritization(LossBalancer):
    """Gives more weight to the tasks that perform worse, after each epoch.

    Guo, Haque, Huang, Yeung & Fei-Fei, *Dynamic Task Prioritization for Multitask Learning*, ECCV
    2018. Each task has a key performance indicator κᵢ between 0 and 1, the larger the better, of
    which a moving average is kept:

        κ̄ᵢ ← decay · κ̄ᵢ + (1 − decay) · κᵢ,   wᵢ = −(1 − κ̄ᵢ)^gamma · log κ̄ᵢ

    and the objective is Σᵢ wᵢ Lᵢ over the tasks present in the batch. All weights are 1 until there
    is an indicator, as for the **sum** of the losses; then they have no fixed sum: 4.6 for κ̄ = 0.01
    and below, 0.35 for ½ and 0 for 1, where a task is not trained any more (with `gamma` 1).

    Args:
        metrics: Dict by task name of the name of a metric with values from 0 to 1, the larger the
            better, as `{"click": "accuracy"}`. It is read from the epoch's logs: that of the
            validation data, if there is one. A task without an entry is judged by its training
            loss, κ = 1 − L/L(1) with L(1) that of its first epoch, or 0 where that is negative.
            Defaults to `None`, all by their loss.
        gamma: Number of at least 0; the larger, the less the well-performing tasks count. Defaults
            to 1.
        decay: Number from 0 to below 1, the part of the old average in the new one. Defaults
            to 0.5.

    State: `indicator` (T,), κ̄, −1 if unknown; `first_losses` (T,), L(1), 0 if unknown.

    Raises:
        ValueError: If an argument is out of its range or names no task, if it is used before
            `build`, if a metric is not one of its task's when the model is compiled, or if a
            metric of an epoch is missing or not from 0 to 1.

    Example:
    ```python
    from types import SimpleNamespace
    from mtlzoo.balancing import TaskPrioritization

    balancer = TaskPrioritization(metrics={"a": "accuracy", "b": "auc"})
    balancer.build([SimpleNamespace(name=n, loss_family="classification") for n in ("a", "b")])
    balancer.on_epoch_end({"a_loss": 0.7, "b_loss": 0.2, "a_accuracy": 0.5, "val_b_auc": 0.9})
    balancer.epoch_weights()  # about [0.35, 0.01]
    ```

    Differences from the paper:
        κ̄ is renewed once in an epoch, and begins with the first κ. The weight is that of the task
        alone; the focal loss of each example and the hierarchy of tasks are not part of it. The
        paper knows no indicator made of losses: the one here is for want of a metric, and says how
        much of its first loss a task has lost, not how well it performs.
    """

    def __init__(
        self,
        metrics: Mapping[str, str] | None = None,
        gamma: float = 1.0,
        decay: float = 0.5,
    ) -> None:
        if metrics is not None and not (
            isinstance(metrics, Mapping) and all(isinstance(m, str) for m in metrics.values())
        ):
            raise ValueError(
                "`metrics` should be a dict by task name of the names of metrics. "
                f"Received: `metrics={metrics!r}`"
            )
        self.metrics = None if metrics is None else dict(metrics)
        self.gamma = check_number("gamma", gamma, "a number of at least 0", 0.0)
        self.decay = check_rate("decay", decay)

    def create_variables(self) -> None:
        """Creates `indicator` and `first_losses`."""
        unknown = set(self.metrics or ()) - set(self.task_names)
        if unknown:
            raise ValueError(
                f"`metrics` should have entries of the tasks {list(self.task_names)} only. "
                f"Received: `metrics={self.metrics!r}`"
            )
        shape = (len(self.task_names),)
        initializer = keras.initializers.Constant(_UNKNOWN)
        self.indicator = self.add_variable("indicator", shape, initializer)
        self.first_losses = self.add_variable("first_losses", shape, "zeros")

    def epoch_weights(self) -> Any:
        """The weights (T,) of the current epoch, whichever tasks a batch has."""
        indicator = ops.clip(self.indicator, _LEAST, 1.0)
        weights = -((1.0 - indicator) ** self.gamma) * ops.log(indicator)
        return ops.where(self.indicator < 0.0, 1.0, weights)

    def check_metrics(self, names: Mapping[str, Sequence[str]]) -> None:
        """Refuses a metric that its task does not have.

        Args:
            names: By task the names of its metrics.

        Raises:
            ValueError: If there is such a metric.
        """
        for task, metric in (self.metrics or {}).items():
            if metric not in names[task]:
                raise _unknown(task, metric, sorted(names[task]))

    def on_epoch_end(self, logs: Mapping[str, float]) -> None:
        """Takes the tasks' indicators of the epoch; a task that had no labels keeps its own.

        Args:
            logs: The epoch's logs, with `"<task>_loss"` for every task that had labels, and the
                metrics.

        Raises:
            ValueError: If a metric is missing or not from 0 to 1. Then nothing is taken.
        """
        average = np.array(ops.convert_to_numpy(self.indicator))
        first = np.array(ops.convert_to_numpy(self.first_losses))
        for i, name in enumerate(self.task_names):
            loss = logs.get(f"{name}_loss")
            if loss is None or not np.isfinite(loss):
                continue
            if self.metrics is not None and name in self.metrics:
                found = _read(name, self.metrics[name], logs)
            elif first[i] > 0.0:
                found = float(np.clip(1.0 - loss / first[i], 0.0, 1.0))
            else:  # no progress is known in the first epoch, nor from a loss of 0 or below
                first[i], found = max(loss, 0.0), None
            if found is not None:
                old = found if average[i] == _UNKNOWN else average[i]
                average[i] = self.decay * old + (1.0 - self.decay) * found
        self.indicator.assign(average)
        self.first_losses.assign(first)

    def _objective(self, losses: Any, present: Any) -> Any:
        self.check_built()
        weights = ops.cast(self.epoch_weights(), losses.dtype)
        return ops.sum(ops.where(present, weights * losses, 0.0))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"metrics": self.metrics, "gamma": self.gamma, "decay": self.decay}


def _read(task: str, metric: str, logs: Mapping[str, float]) -> float | None:
    """The task's metric of the epoch; None if it is not a number."""
    key = f"{task}_{metric}"
    value = logs.get(f"val_{key}", logs.get(key))
    if value is None:
        there = sorted(k.removeprefix(f"{task}_") for k in logs if k.startswith(f"{task}_"))
        raise _unknown(task, metric, there)
    if np.isnan(value):
        return None
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            f"The metric of task `{task}` should be from 0 to 1 for task prioritization. "
            f"Received: {key}={value}"
        )
    return float(value)


def _unknown(task: str, metric: str, there: Sequence[str]) -> ValueError:
    return ValueError(
        f"`metrics` should name a metric of the task `{task}` that is logged, one of {there}. "
        f"Received: `metrics[{task!r}]={metric!r}`"
    )
