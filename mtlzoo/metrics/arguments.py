"""Checks that the metrics share."""

import numbers
from typing import Any

from keras import ops


def check_count(argument: str, value: Any) -> int:
    """A positive integer.

    Args:
        argument: Its name, for the message.
        value: The number.

    Raises:
        ValueError: For anything else.

    Example:
    ```python
    from mtlzoo.metrics.arguments import check_count

    check_count("bins", 500)  # 500
    ```
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) > 0:
        return int(value)
    raise ValueError(f"`{argument}` should be a positive integer. Received: {argument}={value!r}")


def check_width(argument: str, values: Any, size: int) -> None:
    """Checks that `values` have the shape `(B, size)`, so that nothing is broadcast.

    Args:
        argument: Their name, for the message.
        values: A tensor.
        size: The size of the last axis.

    Raises:
        ValueError: For another shape.

    Example:
    ```python
    import numpy as np
    from mtlzoo.metrics.arguments import check_width

    check_width("y_pred", np.ones((8, 2)), 2)
    ```
    """
    shape = tuple(values.shape)
    if len(shape) != 2 or shape[1] not in (size, None):
        raise ValueError(
            f"`{argument}` should have the shape {(None, size)}. Received: {argument}.shape={shape}"
        )


def weights_like(sample_weight: Any, labels: Any, dtype: str) -> Any:
    """Sample weights in the shape of labels.

    Args:
        sample_weight: `None` for ones, or a tensor whose axes are the first of those of `labels`.
        labels: A tensor.
        dtype: Data type of the result.

    Raises:
        ValueError: If the weights have more axes than the labels.

    Example:
    ```python
    import numpy as np
    from mtlzoo.metrics.arguments import weights_like

    weights_like([1.0, 0.0], np.ones((2, 3)), "float32")  # [[1, 1, 1], [0, 0, 0]]
    ```
    """
    ones = ops.ones_like(labels, dtype=dtype)
    if sample_weight is None:
        return ones
    weights = ops.cast(sample_weight, dtype)
    missing = len(ones.shape) - len(weights.shape)
    if missing < 0:
        raise ValueError(
            "`sample_weight` should have no more axes than the labels, of shape "
            f"{tuple(ones.shape)}. Received: sample_weight.shape={tuple(weights.shape)}"
        )
    if missing:
        weights = ops.reshape(weights, (*ops.shape(weights), *[1] * missing))
    return ones * weights
