"""One step of Adam as a pure function, for methods that train weights of their own."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

# Kingma & Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015.
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8


class Moments(NamedTuple):
    """What Adam remembers of each entry: its two moments, and how many steps it has moved."""

    first: Any
    second: Any
    count: Any


def adam_step(
    value: Any, gradient: Any, moments: Moments, learning_rate: float, moves: Any
) -> tuple[Any, Moments]:
    """What Adam makes of a value, and of its moments.

    Args:
        value: What is trained.
        gradient: The derivative by it, of the same shape.
        moments: Those of the steps before, zeros at the start.
        learning_rate: Positive number.
        moves: Booleans of that shape. Where False, all stays as it is, the count of steps too.

    Returns:
        The new value and the new moments.

    Example:
    ```python
    from keras import ops
    from mtlzoo.balancing.adam import Moments, adam_step

    value, gradient = ops.ones(2), ops.convert_to_tensor([5.0, -0.1])
    zeros = Moments(ops.zeros(2), ops.zeros(2), ops.zeros(2))
    adam_step(value, gradient, zeros, 0.1, ops.ones(2, "bool"))[0]  # about [0.9, 1.1]
    ```
    """
    first = _FIRST * moments.first + (1.0 - _FIRST) * gradient
    second = _SECOND * moments.second + (1.0 - _SECOND) * gradient**2
    count = moments.count + 1.0
    mean = first / (1.0 - _FIRST**count)
    size = ops.sqrt(second / (1.0 - _SECOND**count)) + _EPSILON
    moved = value - learning_rate * mean / size
    new = Moments(first, second, count)
    kept = Moments(*(ops.where(moves, n, old) for n, old in zip(new, moments, strict=True)))
    return ops.where(moves, moved, value), kept
