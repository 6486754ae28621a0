"""Checks of arguments that several functions of this room take."""

from __future__ import annotations

import math
import numbers
from typing import Any


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


def is_number(value: Any) -> bool:
    """Say whether something is a finite real number.

    Args:
        value: what was given.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)
