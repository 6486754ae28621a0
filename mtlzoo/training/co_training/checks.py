"""What co-training refuses, before anything is trained."""

import numbers
from collections.abc import Mapping
from typing import Any

from mtlzoo.models import MultiTaskModel
from mtlzoo.tasks import Task, spaces
from mtlzoo.training.co_training.answers import KINDS


def check_models(argument: str, models: Any, fewest: int) -> dict[str, MultiTaskModel]:
    """The models by name, if they are multi-task models.

    Args:
        argument: what the argument is called.
        models: what was given.
        fewest: how many there should be at least.

    Raises:
        ValueError: for anything else, or one model twice.
    """
    if not isinstance(models, Mapping) or len(models) < fewest:
        found = f"{len(models)} models" if isinstance(models, Mapping) else repr(models)
        raise ValueError(
            f"`{argument}` should be a dict of at least {fewest} multi-task models by name. "
            f"Received: {found}"
        )
    for name, model in models.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"`{argument}` should have names as keys. Received: {name!r}")
        if not isinstance(model, MultiTaskModel):
            raise ValueError(
                f"`{argument}[{name!r}]` should be a multi-task model. "
                f"Received: a {type(model).__name__}"
            )
        if not model.tasks:
            raise ValueError(
                f"`{argument}[{name!r}]` should be a model with tasks. Received: model "
                f"`{model.name}`, whose tasks are made when it is compiled"
            )
    if len({id(model) for model in models.values()}) < len(models):
        raise ValueError(
            f"`{argument}` should be different models. Received: one model under several names "
            f"in {list(models)}"
        )
    return dict(models)


def check_same_task(argument: str, name: str, tasks: Mapping[str, Task]) -> None:
    """Check that a task means the same to all models that have it.

    Args:
        argument: what the argument is called.
        name: of the task.
        tasks: the task of that name, by model.

    Raises:
        ValueError: if kinds or label spaces differ.
    """
    (first, one), *others = tasks.items()
    for other, task in others:
        found = spaces.difference(one, task)
        if found is not None:
            what, mine, its = found
            raise ValueError(
                f"Task `{name}` should have the same `{what}` in all of `{argument}`. "
                f"Received: {mine} in `{first}` and {its} in `{other}`"
            )


def check_views(views: Any) -> dict[str, MultiTaskModel]:
    """The two views, if they have the same tasks.

    Args:
        views: what was given.

    Raises:
        ValueError: if there are not two of them, or their tasks differ.
    """
    found = check_models("views", views, 2)
    if len(found) != 2:
        raise ValueError(f"`views` should be two models. Received: {list(found)}")
    (first, one), (second, other) = found.items()
    if one.task_names != other.task_names:
        raise ValueError(
            "`views` should have the same tasks. Received: "
            f"{list(one.task_names)} in `{first}` and {list(other.task_names)} in `{second}`"
        )
    for name in one.task_names:
        check_same_task("views", name, {first: one.tasks[name], second: other.tasks[name]})
    return found


def check_thresholds(thresholds: Any, tasks: Mapping[str, Task]) -> dict[str, float]:
    """The thresholds by task; those of a dict that it leaves out get no labels of the other view.

    Args:
        thresholds: a number, or a dict of them by task.
        tasks: the tasks by name.

    Raises:
        ValueError: for unknown tasks, a number that is not from 0 to 1, or a task of a kind whose
            certainty is not known.
    """
    found = _by_task("thresholds", thresholds, tasks)
    if not found:
        raise ValueError("`thresholds` should have one of the tasks at least. Received: none")
    for name, threshold in found.items():
        if not _is_number(threshold) or not 0 <= threshold <= 1:
            raise ValueError(
                f"The threshold of task `{name}` should be a number from 0 to 1. "
                f"Received: {threshold!r}"
            )
        if not isinstance(tasks[name], KINDS):
            raise ValueError(
                f"Task `{name}` should be left out of `thresholds`, which then is a dict, or be "
                f"one of the kinds {[kind.__name__ for kind in KINDS]}, of whose answers it is "
                f"known how certain they are. Received: a {type(tasks[name]).__name__}"
            )
    return {name: float(found[name]) for name in sorted(found)}


def check_per_round(per_round: Any, tasks: Mapping[str, Task]) -> dict[str, float]:
    """How many labels a view gives in a round, by task.

    Args:
        per_round: a number, or a dict of them by task.
        tasks: the tasks that get labels, by name.

    Raises:
        ValueError: for unknown tasks, or anything but a count or a share.
    """
    found = _by_task("per_round", per_round, tasks)
    for name in tasks:
        if name not in found:
            raise ValueError(
                f"`per_round` should have all tasks that get labels. Received: none for `{name}`"
            )
        amount = found[name]
        is_count = isinstance(amount, numbers.Integral) and not isinstance(amount, bool)
        if not _is_number(amount) or not (amount >= 1 if is_count else 0 < amount <= 1):
            raise ValueError(
                f"`per_round` of task `{name}` should be a whole number of at least 1, or a share "
                f"above 0 and at most 1. Received: {amount!r}"
            )
    # Counts as integers, shares as numbers with a fraction.
    return {
        name: int(found[name]) if isinstance(found[name], numbers.Integral) else float(found[name])
        for name in sorted(tasks)
    }


def _by_task(argument: str, given: Any, tasks: Mapping[str, Task]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return dict.fromkeys(tasks, given)
    for name in given:
        if name not in tasks:
            raise ValueError(
                f"`{argument}` should have only the tasks {list(tasks)} as keys. Received: {name!r}"
            )
    return dict(given)


def check_integer(argument: str, value: Any, least: int) -> int:
    """A whole number.

    Args:
        argument: what the argument is called.
        value: what was given.
        least: the least that it may be.

    Raises:
        ValueError: for anything else.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise ValueError(
            f"`{argument}` should be an integer of at least {least}. Received: {argument}={value!r}"
        )
    return int(value)


def check_weight(argument: str, value: Any) -> float:
    """A number above 0.

    Args:
        argument: what the argument is called.
        value: what was given.

    Raises:
        ValueError: for anything else.
    """
    if not _is_number(value) or not 0 < value < float("inf"):
        raise ValueError(
            f"`{argument}` should be a positive number. Received: {argument}={value!r}"
        )
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
