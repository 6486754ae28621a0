"""Whether what one model answers can be what another one answers."""

from typing import Any

from mtlzoo.tasks.task import Task

_PROPERTIES = ("label_shape", "output_shape", "from_logits")


def difference(task: Task, other: Task, missing: bool = True) -> tuple[str, Any, Any] | None:
    """The first thing in which the label spaces of two tasks differ.

    Args:
        task: A task.
        other: Another one.
        missing: Whether they should have the same missing label too. Defaults to `True`.

    Returns:
        What differs, `"kind"` or the name of a property, and what it is in either; `None` if
        nothing does.

    Example:
    ```python
    from mtlzoo import Classification
    from mtlzoo.tasks.spaces import difference

    difference(Classification("a", 3), Classification("a", 4))  # ('output_shape', (3,), (4,))
    ```
    """
    if type(task) is not type(other):
        return "kind", type(task).__name__, type(other).__name__
    for name in (*_PROPERTIES, *(["missing"] if missing else [])):
        one, two = getattr(task, name), getattr(other, name)
        if one != two and not (one != one and two != two):  # NaN is NaN
            return name, one, two
    return None
