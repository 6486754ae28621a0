"""The softmax over the tasks that are present."""

from __future__ import annotations

from typing import Any

from keras import ops


def softmax_of_present(values: Any, present: Any) -> Any:
    """Softmax over the last axis, among the tasks that are present; 0 for the others.

    Args:
        values: (..., T) finite numbers.
        present: (..., T) booleans.

    Example:
    ```python
    from keras import ops
    from mtlzoo.balancing.softmax import softmax_of_present

    softmax_of_present(ops.zeros(3), ops.convert_to_tensor([True, False, True]))  # [0.5, 0, 0.5]
    ```
    """
    powers = ops.where(present, ops.exp(values - largest_present(values, present)), 0.0)
    return ops.divide_no_nan(powers, ops.sum(powers, axis=-1, keepdims=True))


def largest_present(values: Any, present: Any) -> Any:
    """The largest value among the tasks that are present, (..., 1) and a constant; 0 without one.

    Args:
        values: (..., T) finite numbers.
        present: (..., T) booleans.
    """
    least = ops.min(values, axis=-1, keepdims=True)
    largest = ops.max(ops.where(present, values, least), axis=-1, keepdims=True)
    nobody = ops.logical_not(ops.any(present, axis=-1, keepdims=True))
    return ops.stop_gradient(ops.where(nobody, 0.0, largest))
