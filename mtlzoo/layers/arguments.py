"""Checks of arguments that layers, backbones and models share."""

import numbers
from collections.abc import Sequence
from typing import Any


def check_count(argument: str, count: int) -> int:
    """A number of things, at least one.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    if _is_positive_integer(count):
        return count
    raise ValueError(f"`{argument}` should be a positive integer. Received: {argument}={count!r}")


def check_rate(argument: str, rate: float) -> float:
    """A rate of dropout, from 0 to below 1.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    if isinstance(rate, numbers.Real) and not isinstance(rate, bool) and 0 <= rate < 1:
        return float(rate)
    raise ValueError(
        f"`{argument}` should be a number from 0 to below 1. Received: {argument}={rate!r}"
    )


def check_units(argument: str, units: Sequence[int]) -> tuple[int, ...]:
    """A tuple of positive widths.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    if isinstance(units, list | tuple) and all(map(_is_positive_integer, units)):
        return tuple(units)
    raise ValueError(
        f"`{argument}` should be a tuple of positive integers. Received: {argument}={units!r}"
    )


def check_number(
    argument: str, value: float, what: str = "a number", least: float = -float("inf")
) -> float:
    """A finite number of at least `least`.

    Args:
        argument: its name, for the message.
        value: the number.
        what: what it should be, for the message.
        least: the least that it may be.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if is_number and abs(value) < float("inf") and value >= least:
        return float(value)
    raise ValueError(f"`{argument}` should be {what}. Received: {argument}={value!r}")


def check_bool(argument: str, value: Any) -> bool:
    """True or False.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    if isinstance(value, bool):
        return value
    raise ValueError(f"`{argument}` should be a bool. Received: {argument}={value!r}")


def check_seed(seed: int | None) -> int | None:
    """The seed of random numbers, or `None` for a random one.

    Raises:
        ValueError: for anything else.
    """
    if seed is None or (isinstance(seed, numbers.Integral) and not isinstance(seed, bool)):
        return None if seed is None else int(seed)  # NumPy's are no JSON
    raise ValueError(f"`seed` should be an integer or None. Received: seed={seed!r}")


def _is_positive_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
