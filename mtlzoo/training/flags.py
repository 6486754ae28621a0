"""Arguments that say yes or no."""

from typing import Any


def check_flag(argument: str, value: Any) -> bool:
    """A bool.

    Args:
        argument: what the argument is called.
        value: what was given.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(value, bool):
        raise ValueError(f"`{argument}` should be a bool. Received: {argument}={value!r}")
    return value
