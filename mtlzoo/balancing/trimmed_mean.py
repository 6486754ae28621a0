"""Trimmed mean: entry by entry, the mean without the extremes."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.jacobian_balancer import JacobianBalancer
from mtlzoo.layers.arguments import check_number


@keras.saving.register_keras_serializable(package="mtlzoo")
class TrimmedMean(JacobianBalancer):
    """Averages the task gradients entry by entry, without the largest and the smallest ones.

    Yin, Chen, Ramchandran & Bartlett, *Byzantine-Robust Distributed Learning: Towards Optimal
    Statistical Rates*, ICML 2018, definition 2. In each entry the `trim` largest and the `trim`
    smallest of the n numbers are left out, and the others averaged. The update has the scale of a
    **mean**. No single task (with `trim=1`) can pull an entry further than the others go.

    Args:
        trim: Integer of at least 0. Of few tasks fewer are left out: at most (n − 1)/2 on each
            side, so that with two tasks it is the plain mean. Defaults to 1.
        wrt: `"parameters"` or `"features"`, see `JacobianBalancer`. Defaults to `"parameters"`.
        every: Only 1, see `JacobianBalancer`. Defaults to 1.

    Shapes: a list of (T, *shape) in, a list of (*shape) out.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import TrimmedMean

    TrimmedMean().combine([np.array([[1.0, 5.0], [2.0, -9.0], [6.0, 7.0]])])  # [[2., 5.]]
    ```

    Differences from the paper:
        It gives the share of numbers to leave out, here it is their count.
    """

    def __init__(self, trim: int = 1, *, wrt: str = "parameters", every: int = 1) -> None:
        super().__init__(wrt=wrt, every=every)
        check_number("trim", trim, "an integer of at least 0", 0)
        if not isinstance(trim, int):
            raise ValueError(f"`trim` should be an integer of at least 0. Received: trim={trim!r}")
        self.trim = trim

    def _combine(self, jacobian: list[Any], present: Any) -> list[Any]:
        count = ops.sum(ops.cast(present, "int32"))
        trim = ops.minimum(self.trim, ops.relu(count - 1) // 2)
        return [self._mean(rows, present, count, trim) for rows in jacobian]

    def _mean(self, rows: Any, present: Any, count: Any, trim: Any) -> Any:
        by_task = (-1,) + (1,) * (len(rows.shape) - 1)
        # Absent tasks are sorted to the end, where nothing is taken.
        ordered = ops.sort(ops.where(ops.reshape(present, by_task), rows, float("inf")), axis=0)
        place = ops.reshape(ops.arange(rows.shape[0], dtype="int32"), by_task)
        kept = ops.logical_and(place >= trim, place < count - trim)
        number = ops.cast(ops.maximum(count - 2 * trim, 1), rows.dtype)
        return ops.sum(ops.where(kept, ordered, 0.0), axis=0) / number

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"trim": self.trim, **super().get_config()}
