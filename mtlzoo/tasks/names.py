"""Task names: the only key of everything that belongs to a task."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtlzoo.tasks.task import Task

# Signatures and log keys that exist beside the tasks'.
RESERVED = frozenset({"loss", "serve", "serving_default"})


def check_name(name: str) -> None:
    """Checks that `name` can name a task.

    Args:
        name: An identifier, as in `click` or `home_price`, since it names a layer, a SavedModel
            signature and a keyword argument.

    Raises:
        ValueError: If `name` is no identifier of ASCII letters, digits and underscores that starts
            with a letter, or is taken: `loss`, `serve`, `serving_default`, `val_...`.

    Example:
    ```python
    from mtlzoo.tasks.names import check_name

    check_name("home_price")
    ```
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(
            "`name` of a task should be an identifier: ASCII letters, digits and underscores, "
            f"a letter first. Received: name={name!r}"
        )
    if name in RESERVED or name.startswith("val_"):
        raise ValueError(
            f"`name` of a task should not be one of {sorted(RESERVED)} and not start with 'val_', "
            f"which have a meaning of their own in logs and signatures. Received: name={name!r}"
        )


def by_name(tasks: Sequence["Task"]) -> dict[str, "Task"]:
    """The tasks as a dict in sorted-name order, the order of every task axis.

    Args:
        tasks: A non-empty list or tuple of tasks with different names.

    Returns:
        A dict from name to task.

    Raises:
        ValueError: If `tasks` is no such list, or if two tasks would share a log key or a served
            key, as `a` with a metric `b_auc` and `a_b` with a metric `auc` would.

    Example:
    ```python
    from mtlzoo.tasks import BinaryClassification, Regression, by_name

    list(by_name([Regression("price"), BinaryClassification("click")]))  # ['click', 'price']
    ```
    """
    from mtlzoo.tasks.task import Task

    if not isinstance(tasks, list | tuple) or not tasks:
        raise ValueError(f"`tasks` should be a non-empty list of tasks. Received: tasks={tasks!r}")
    found: dict[str, Task] = {}
    for task in tasks:
        if not isinstance(task, Task):
            raise ValueError(
                f"`tasks` should hold tasks only. Received: {task!r} in tasks={tasks!r}"
            )
        if task.name in found:
            raise ValueError(
                f"`tasks` should have different names. Received: {task.name!r} twice in "
                f"tasks={tasks!r}"
            )
        found[task.name] = task
    _check_keys(found)
    return dict(sorted(found.items()))


def _check_keys(tasks: dict[str, "Task"]) -> None:
    for short in tasks:
        for long in tasks:
            if not long.startswith(f"{short}_"):
                continue
            shared = _keys(tasks[short]) & _keys(tasks[long])
            if shared:
                raise ValueError(
                    f"The tasks `{short}` and `{long}` should not share a log key or a served "
                    f"key. Received: both have {sorted(shared)}"
                )


def _keys(task: "Task") -> set[str]:
    keys = {task.name, f"{task.name}_class", f"{task.name}_loss"}
    return keys | {f"{task.name}_{metric.name}" for metric in task.metrics()}
