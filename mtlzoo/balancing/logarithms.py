"""The logarithm of losses that may not be positive."""

from __future__ import annotations

from typing import Any

from keras import ops

# A loss of at most this much is told apart from 0 by no method that divides by it: the inverse and
# the inverse square root are still far from the largest float32. The STCH of Lin et al. adds as
# much to a loss before the logarithm.
LEAST = 1e-20


def log_above(losses: Any, least: float = LEAST) -> Any:
    """The logarithm of losses, that of `least` for those of at most `least`, without derivative.

    Args:
        losses: Numbers, a tensor.
        least: The least number that is told apart from 0. Defaults to `LEAST`.

    Example:
    ```python
    from keras import ops
    from mtlzoo.balancing.logarithms import log_above

    log_above(ops.convert_to_tensor([1.0, 0.0, -3.0]), 1e-8)  # about [0, -18.4, -18.4]
    ```
    """
    return ops.log(ops.where(losses > least, losses, least))
