"""Arguments that are one thing for all tasks, or a dict by task."""

from collections.abc import Mapping, Sequence
from typing import Any


def of_task(given: Any, name: str) -> Any:
    """What an argument says for a task; `None` if it says nothing.

    Args:
        given: one thing for all tasks, or a dict by task.
        name: the task.
    """
    return given.get(name) if isinstance(given, Mapping) else given


def values(given: Any) -> list:
    """All that an argument has.

    Args:
        given: one thing for all tasks, or a dict by task.
    """
    return list(given.values()) if isinstance(given, Mapping) else [given]


def check_tasks(argument: str, given: Any, tasks: Sequence[str], for_all: bool) -> None:
    """Check the names of a dict by task.

    Args:
        argument: the name of the argument.
        given: one thing for all tasks, or a dict by task.
        tasks: the tasks.
        for_all: whether a dict should have all of them.

    Raises:
        ValueError: for a name that is none of the tasks, and a task that is missing.
    """
    if not isinstance(given, Mapping):
        return
    for name in given:
        if name not in tasks:
            raise ValueError(
                f"`{argument}` should be by the tasks {list(tasks)}. "
                f"Received: {argument}={given!r}, with {name!r}"
            )
    for name in tasks:
        if for_all and name not in given:
            raise ValueError(
                f"`{argument}` should have a number for task `{name}`. "
                f"Received: {argument}={given!r}"
            )
