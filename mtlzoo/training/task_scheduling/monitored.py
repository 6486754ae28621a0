"""What of a training's logs says how good a task is."""

import math
from collections.abc import Mapping
from typing import Any

from mtlzoo.models.callbacks import known_modes

DIRECTIONS = {"max": 1.0, "min": -1.0}


def monitored(model: Any, name: str, key: str | None = None) -> str:
    """The key of the logs by which a task is judged.

    Args:
        model: a compiled multi-task model.
        name: the task.
        key: the key that is wanted. Defaults to that of the metric that decides the task, on the
            validation data.

    Returns:
        The key.

    Raises:
        ValueError: if the logs will not have it.
    """
    key = f"val_{name}_{model.tasks[name].monitor}" if key is None else key
    known = list(_logged(model))
    if not isinstance(key, str) or key.removeprefix("val_") not in known:
        raise ValueError(
            f"`monitor` of task `{name}` should be one of {known}, with or without 'val_' before. "
            f"Received: {key!r}"
        )
    return key


def direction(model: Any, name: str, key: str, mode: str | None = None) -> str:
    """Which direction of what is monitored is better, `"min"` or `"max"`.

    Args:
        model: a compiled multi-task model.
        name: the task.
        key: what `monitored` gave.
        mode: the direction, if it is given.

    Raises:
        ValueError: if it is neither given nor known.
    """
    mode = known_modes(model).get(key.removeprefix("val_")) if mode is None else mode
    if mode is None:
        raise ValueError(
            f"`mode` should say for task `{name}` which direction of {key.removeprefix('val_')!r} "
            "is better, 'min' or 'max'. Received: none"
        )
    return mode


def task_of(model: Any, key: str) -> str | None:
    """The task that a key of the logs is about; `None` for the loss of all.

    Args:
        model: a compiled multi-task model.
        key: what `monitored` gave.
    """
    return _logged(model)[key.removeprefix("val_")]


def _logged(model: Any) -> dict[str, str | None]:
    """The keys of the logs, without "val_", and the task that each is about."""
    found: dict[str, str | None] = {"loss": None}
    for task, metrics in model._step.objectives.metric_names.items():
        found |= {f"{task}_{metric}": task for metric in ("loss", *metrics)}
    return found


def value_in(logs: Mapping[str, float], key: str, task: str | None) -> float | None:
    """What logs have under a key.

    Some metrics are 0 without any labels, so the task's loss decides: it is NaN then.

    Args:
        logs: those of an epoch.
        key: the key.
        task: the task that it is about; `None` for the loss of all.

    Returns:
        The value, or `None` where the key is not there or the task had no labels.
    """
    before = "val_" if key.startswith("val_") else ""
    if key not in logs or math.isnan(float(logs.get(f"{before}{task}_loss", 0.0))):
        return None
    return float(logs[key])


def metric_in(logs: Mapping[str, float], task: str, metric: str) -> float | None:
    """A task's metric on the validation data, or where it has none there, on those of the training.

    Args:
        logs: those of an epoch.
        task: the task.
        metric: the name of the metric, without that of the task.

    Returns:
        The value; NaN where the task had no labels, `None` where it is not logged at all.
    """
    keys = [key for key in (f"val_{task}_{metric}", f"{task}_{metric}") if key in logs]
    values = [value_in(logs, key, task) for key in keys]
    found = [value for value in values if value is not None]
    return [*found, math.nan][0] if keys else None
