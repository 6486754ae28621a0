"""What a search looks for where there are several tasks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_number
from mtlzoo.metrics import delta_m
from mtlzoo.tasks import Task

# What a broken limit costs: more than nine other executions, of less than 2 each, make up. A far
# greater number would hide the differences of all other trials from a Bayesian search.
_BROKEN = 20.0


class MultiTaskObjective(keras_tuner.Objective):
    r"""One number for all tasks on the validation data, for any tuner of KerasTuner.

    It is `delta_m`, the mean relative gain over single-task models, or the deciding metric of one
    task. With constraints on other tasks it is, for a number $v$ that is to be high (`delta_m` in
    parts of one, or the metric, negative where lower is better) and limits $l_t$ of metrics $m_t$,

    $$1 + \frac{v}{1 + |v|} \in (0, 2) \text{ if all limits are kept, else }
    -20 - \sum_t \max\Big(0, s_t \frac{l_t - m_t}{|l_t|}\Big),$$

    with $s_t = 1$ where higher is better, else $-1$, and 1 for $|l_t|$ where the limit is 0. So a
    trial that breaks a limit is worse than every one that does not, the more the further it is off.
    With `executions_per_trial` KerasTuner takes the mean of the executions' numbers: it is below 0,
    and the trial worse than all that keep the limits, if one of up to ten executions breaks one.

    The deciding metrics are read from the logs, `val_<task>_<metric>`, of the epoch in which this
    number is best. Where one of them is not finite, it is NaN, and the epoch does not count; after
    the first epoch KerasTuner takes the whole trial as invalid.

    Args:
        tasks: The tasks, whose `name`, `monitor` and `mode` are read.
        baselines: By task the deciding metric of its single-task model on the validation data.
            Defaults to `None`, where there is a `target`.
        target: Name of the one task that counts. Defaults to `None`, where there are `baselines`.
        constraints: By task what its deciding metric should reach: at least this where higher is
            better, else at most. Defaults to `None`, none.

    Attributes:
        name: `"val_delta_m"`, the key of the target's metric in the logs, or with constraints
            `"val_within_limits"`.
        direction: `"max"`, or without constraints that of the target.

    Raises:
        ValueError: If there are neither or both of `baselines` and `target`, an unknown task, a
            number that is not finite, or a baseline of 0.

    Example:
    ```python
    from mtlzoo.tasks import BinaryClassification, Regression
    from mtlzoo.tuning import MultiTaskObjective

    tasks = [BinaryClassification("click"), Regression("price")]  # auc: higher, rmse: lower
    gain = MultiTaskObjective(tasks, baselines={"click": 0.80, "price": 10.0})
    gain.get_value({"val_click_auc": 0.84, "val_price_rmse": 9.0})  # 7.5
    price = MultiTaskObjective(tasks, target="price", constraints={"click": 0.80})
    price.get_value({"val_click_auc": 0.78, "val_price_rmse": 1.0})  # -20.025
    ```
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        baselines: Mapping[str, float] | None = None,
        target: str | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> None:
        self._tasks = task_kinds.by_name(tasks)
        if (baselines is None) == (target is None):
            raise ValueError(
                "Either `baselines` or `target` should be given. "
                f"Received: baselines={baselines!r}, target={target!r}"
            )
        if target is not None and target not in self._tasks:
            raise ValueError(
                f"`target` should be one of the tasks {list(self._tasks)}. "
                f"Received: target={target!r}"
            )
        self._baselines = None if baselines is None else dict(baselines)
        if self._baselines is not None:  # which says what is wrong with them
            delta_m(dict.fromkeys(self._tasks, 1.0), self._baselines, self._tasks.values())
        self._target = target
        self._constraints = self._checked(constraints or {})
        name, direction = "val_delta_m", "max"
        if self._constraints:
            name = "val_within_limits"
        elif target is not None:
            name, direction = self._key(target), self._tasks[target].mode
        super().__init__(name, direction)

    def _checked(self, constraints: Any) -> dict[str, float]:
        if not isinstance(constraints, Mapping):
            raise ValueError(
                f"`constraints` should be a dict by task. Received: constraints={constraints!r}"
            )
        for name, limit in constraints.items():
            if name not in self._tasks:
                raise ValueError(
                    f"`constraints` should have only the tasks {list(self._tasks)} as keys. "
                    f"Received: {name!r}"
                )
            check_number(f"constraints[{name!r}]", limit, "a finite number")
        return {name: float(limit) for name, limit in constraints.items()}

    def has_value(self, logs: Mapping[str, Any]) -> bool:
        """Whether the logs have what is read.

        Args:
            logs: As callbacks get them at the end of an epoch.
        """
        return all(self._key(name) in logs for name in self._read)

    def get_value(self, logs: Mapping[str, Any]) -> float:
        """The number of an epoch.

        Args:
            logs: As callbacks get them at the end of an epoch.

        Raises:
            ValueError: If the logs lack a task's metric, since there are no validation data or
                `compile` was given other metrics.
        """
        found = {name: self._value(name, logs) for name in self._read}
        if not all(map(math.isfinite, found.values())):
            return math.nan
        broken = sum(self._short(name, found[name]) for name in self._constraints)
        if broken:
            return -_BROKEN - broken
        if self._baselines is not None:
            gain = delta_m(found, self._baselines, self._tasks.values())
            return _squashed(gain / 100) if self._constraints else gain
        value = found[str(self._target)]
        if not self._constraints:
            return value
        return _squashed(value if self._tasks[str(self._target)].mode == "max" else -value)

    @property
    def _read(self) -> list[str]:
        """The tasks whose metrics are read."""
        if self._target is None:
            return list(self._tasks)
        return list(dict.fromkeys([self._target, *self._constraints]))

    def _key(self, name: str) -> str:
        return f"val_{name}_{self._tasks[name].monitor}"

    def _value(self, name: str, logs: Mapping[str, Any]) -> float:
        key = self._key(name)
        if key not in logs:
            raise ValueError(
                f"The logs should have {key!r}, which decides task `{name}`: give `search` "
                f"validation data, and `compile` that metric. Received: {sorted(logs)}"
            )
        return float(logs[key])

    def _short(self, name: str, value: float) -> float:
        """By which part of its limit a task's metric misses it; 0 if it does not."""
        limit = self._constraints[name]
        sign = 1 if self._tasks[name].mode == "max" else -1
        return max(0.0, sign * (limit - value) / (abs(limit) or 1.0))


def _squashed(value: float) -> float:
    """A number between 0 and 2, greater for greater values."""
    return 1 + value / (1 + abs(value))
