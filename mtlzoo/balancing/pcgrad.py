"""PCGrad: projecting conflicting gradients."""

from __future__ import annotations

from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.layers.hashing import random_bits


@keras.saving.register_keras_serializable(package="mtlzoo")
class PCGrad(GradientBalancer):
    """Projects each task's gradient off the gradients that it conflicts with.

    Yu, Kumar, Gupta, Levine, Hausman & Finn, *Gradient Surgery for Multi-Task Learning*, NeurIPS
    2020. Each gᵢ is taken through the other tasks j in random order, and where gᵢ·gⱼ < 0,

        gᵢ ← gᵢ − (gᵢ·gⱼ / |gⱼ|²) gⱼ

    with the original gⱼ. The update is the **sum** of the projected gradients: without conflict,
    all weights are 1. For two tasks it conflicts with neither; for more, it may, because a later
    projection can undo an earlier one.

    Args:
        seed: Integer; with the step it decides the orders, the same in every mode and replica.
            Defaults to 0.
        **options: `wrt`, `every` and `groups`, see `GradientBalancer`.

    Shapes: Gramian (..., T, T), weights (..., T). All matrices of a batch share the orders.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import PCGrad

    PCGrad().weights(np.array([[1.0, -0.5], [-0.5, 1.0]]))  # array([1.5, 1.5])
    ```

    Differences from the paper:
        It works on the Gramian, which gives the same update. A zero gradient is not projected on.
    """

    def __init__(self, seed: int = 0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(
                f"`seed` should be an integer of at least 0. Received: `seed={seed!r}`"
            )
        self.seed = seed

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        size = gramian.shape[-1]
        # In units of each gradient's own length: the Gramian becomes that of the directions.
        squares = ops.diagonal(gramian, axis1=-2, axis2=-1)
        inverse = ops.divide_no_nan(1.0, ops.sqrt(ops.relu(squares)))
        cosines = gramian * inverse[..., :, None] * inverse[..., None, :]
        # Row i is minus the inner products of the projected direction i with all directions. In
        # turn s, row i subtracts its conflict with the one task that stands s-th in its order.
        turns = self._turns(size, gramian.dtype)
        negative, parts = -cosines, []
        for turn in turns:
            parts.append(ops.relu(negative) * turn)
            negative = negative - ops.matmul(parts[-1], cosines)
        moved = sum(parts)  # (..., i, j): how much of direction j was added to direction i
        lengths = squares * inverse
        return 1.0 + ops.matmul(lengths[..., None, :], moved)[..., 0, :] * inverse

    def _turns(self, size: int, dtype: Any) -> list[Any]:
        """A matrix (T, T) for each turn: row i has its 1 at the task that i meets then."""
        if size == 2:
            return [ops.cast(1.0 - np.eye(2), dtype)]
        rank = self.orders(size)
        return [ops.cast(ops.equal(rank, turn), dtype) for turn in range(size - 1)]

    def orders(self, size: int) -> Any:
        """The turn in which each task meets each other one, at the present step.

        Args:
            size: The number of tasks.

        Returns:
            (T, T) integers; row i holds 0 … T−2 for the others, and T−1 for i itself.
        """
        keys = random_bits(self.seed, 0 if self.step is None else self.step, (size, size))
        # Ranks by counting, because sorting is slower and breaks ties differently under XLA.
        before = ops.less(keys[:, None, :], keys[:, :, None])  # (i, j, k): k comes before j
        tie: np.ndarray = np.tril(np.ones((size, size), bool), -1)
        before = ops.logical_or(
            before, ops.logical_and(ops.equal(keys[:, None, :], keys[:, :, None]), tie)
        )
        other: np.ndarray = ~np.eye(size, dtype=bool)
        rank = ops.sum(ops.cast(ops.logical_and(before, other[:, None, :]), "int32"), axis=-1)
        return ops.where(other, rank, size - 1)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"seed": self.seed, **super().get_config()}
