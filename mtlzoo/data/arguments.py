"""Checks of arguments that several functions of this room take."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any


def task_list(tasks: Any) -> list:
    """Tasks as a list, also those of a model.

    Args:
        tasks: a list of tasks, or a dict such as `model.tasks`.

    Raises:
        ValueError: it is neither.
    """
    found = list(tasks.values()) if isinstance(tasks, Mapping) else tasks
    if not isinstance(found, list | tuple) or not all(hasattr(t, "read_labels") for t in found):
        raise ValueError(f"`tasks` should be a list of tasks. Received: tasks={tasks!r}")
    return list(found)


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Check a whole number.

    Args:
        name: of the argument.
        value: what was given.
        least: the least that is allowed. Defaults to 1.

    Returns:
        The number.

    Raises:
        ValueError: it is no integer, or too small.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(
            f"`{name}` should be an integer of at least {least}. Received: {name}={value!r}"
        )
    return int(value)


def check_size(name: str, value: Any) -> tuple[int, int]:
    """Check the size of a picture.

    Args:
        name: of the argument.
        value: what was given.

    Returns:
        Height and width.

    Raises:
        ValueError: it is not two integers of at least 1.
    """
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if not is_pair or not all(type(n) is int and n > 0 for n in value):
        raise ValueError(f"`{name}` should be a height and a width. Received: {name}={value!r}")
    return value[0], value[1]


def check_positive_or_none(name: str, value: Any) -> Any:
    """Check a positive number that may be left out.

    Args:
        name: of the argument.
        value: what was given.

    Returns:
        The same.

    Raises:
        ValueError: it is neither such a number nor `None`.
    """
    if value is not None and not (is_number(value) and value > 0):
        raise ValueError(
            f"`{name}` should be a positive number or None. Received: {name}={value!r}"
        )
    return value


def is_number(value: Any) -> bool:
    """Say whether something is a finite real number.

    Args:
        value: what was given.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)
