"""Lower bounds of the losses, by task name, as some methods take them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from keras import ops

from mtlzoo.balancing.arguments import is_number
from mtlzoo.balancing.balancer import Balancer


def check_bounds(argument: str, bounds: Mapping[str, float] | None) -> dict[str, float] | None:
    """A dict by task name of finite numbers, or None.

    Args:
        argument: Its name, for the message.
        bounds: The dict.

    Raises:
        ValueError: For anything else.

    Example:
    ```python
    from mtlzoo.balancing.lower_bounds import check_bounds

    check_bounds("ideal", {"click": 0, "stay": 0.5})  # {'click': 0.0, 'stay': 0.5}
    ```
    """
    if bounds is None:
        return None
    numbers = list(bounds.values()) if isinstance(bounds, Mapping) else []
    if numbers and all(is_number(n) and abs(n) < math.inf for n in numbers):
        return {name: float(number) for name, number in bounds.items()}
    raise ValueError(
        f"`{argument}` should be a dict by task name of finite numbers. "
        f"Received: `{argument}={bounds!r}`"
    )


def above_bounds(
    balancer: Balancer, argument: str, bounds: Mapping[str, float] | None, losses: Any
) -> Any:
    """The losses (T,) less their bounds.

    Args:
        balancer: Whose tasks they are.
        argument: The name of `bounds`, for the message.
        bounds: What `check_bounds` gave; None for zeros.
        losses: (T,) losses.

    Raises:
        ValueError: If the names are not those of the balancer's tasks.
    """
    if bounds is None:
        return losses
    return losses - ops.cast(balancer._by_task(argument, bounds), losses.dtype)
