"""Several tasks together."""

from collections.abc import Sequence

from mtlzoo.tasks.task import Task


def by_name(tasks: Sequence[Task]) -> dict[str, Task]:
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


def _check_keys(tasks: dict[str, Task]) -> None:
    for short in tasks:
        for long in tasks:
            # Only then can keys meet; metrics are not made for nothing.
            if long.startswith(f"{short}_"):
                shared = _keys(tasks[short]) & _keys(tasks[long])
                if shared:
                    raise ValueError(
                        f"The tasks `{short}` and `{long}` should not share a log key or a served "
                        f"key. Received: both have {sorted(shared)}"
                    )


def _keys(task: Task) -> set[str]:
    keys = {f"{task.name}_{text}" for text in ("loss", *task.served)} | {task.name}
    return keys | {f"{task.name}_{metric.name}" for metric in task.metrics()}
