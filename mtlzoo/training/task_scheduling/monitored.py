"""What of a training's logs says how good a task is."""

from typing import Any

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
    known = ["loss"]
    for task, metrics in model._step.objectives.metric_names.items():
        known += [f"{task}_{metric}" for metric in ("loss", *metrics)]
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
    if mode is not None:
        return mode
    key = key.removeprefix("val_")
    for task in model.tasks.values():
        if key == f"{task.name}_{task.monitor}":
            return task.mode
    if key == "loss" or key in {f"{task}_loss" for task in model.task_names}:
        return "min"
    raise ValueError(
        f"`mode` should say for task `{name}` which direction of {key!r} is better, 'min' or "
        "'max'. Received: none"
    )
