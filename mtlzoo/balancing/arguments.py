"""Checks of arguments that balancers share."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

LEVELS = ("parameters", "features")


def check_preference(preference: Mapping[str, float] | None) -> dict[str, float] | None:
    """A dict by task name of numbers that are not negative, with a positive sum; or None."""
    if preference is None:
        return None
    if isinstance(preference, Mapping) and preference:
        wanted = list(preference.values())
        if all(is_number(n) and 0 <= n < math.inf for n in wanted) and sum(wanted) > 0:
            return {name: float(number) for name, number in preference.items()}
    raise ValueError(
        "`preference` should be a dict by task name of numbers that are not negative, not all of "
        f"them zero. Received: `preference={preference!r}`"
    )


def is_number(value: Any) -> bool:
    """Whether it is a real number, and no boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_positive(argument: str, value: float) -> float:
    """A finite positive number."""
    if is_number(value) and 0 < value < math.inf:
        return float(value)
    raise ValueError(f"`{argument}` should be a positive number. Received: `{argument}={value!r}`")


def check_seed(seed: int) -> int:
    """An integer of at least 0."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"`seed` should be an integer of at least 0. Received: `seed={seed!r}`")
    return seed


def to_numbers(name: str, given: Any) -> Any:
    """`given` as a tensor of numbers or booleans."""
    try:
        tensor = ops.convert_to_tensor(given)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or dtype == "string" or dtype.startswith("complex"):
        raise ValueError(f"`{name}` should be numbers. Received: `{name}={given!r}`")
    return tensor


def check_level(wrt: str) -> None:
    """Refuses anything but one of `LEVELS`."""
    if wrt not in LEVELS:
        raise ValueError(f"`wrt` should be one of {list(LEVELS)}. Received: `wrt={wrt!r}`")


def check_task_axis(name: str, shape: Sequence[int], size: int) -> None:
    """Refuses a last axis that does not have one entry for each task."""
    if len(shape) < 1 or shape[-1] != size:
        raise ValueError(
            f"`{name}` should have {size} entries, one per task, in its last axis. "
            f"Received: `{name}.shape={tuple(shape)}`"
        )
