"""PCGrad: projecting conflicting gradients."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_seed
from mtlzoo.balancing.directions import in_unit_lengths, product
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.meetings import orders, turns


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
        self.seed = check_seed(seed)

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        size = gramian.shape[-1]
        # In units of each gradient's own length: the Gramian becomes that of the directions.
        lengths, inverse, cosines = in_unit_lengths(gramian)
        # Row i is minus the inner products of the projected direction i with all directions. In
        # turn s, row i subtracts its conflict with the one task that stands s-th in its order.
        step = 0 if self.step is None else self.step
        negative, parts = -cosines, []
        for met in turns(self.seed, step, size):
            parts.append(ops.relu(negative) * ops.one_hot(met, size, dtype=gramian.dtype))
            conflict = ops.sum(parts[-1], axis=-1, keepdims=True)
            negative = negative - conflict * ops.take(cosines, met, axis=-2)
        moved = sum(parts)  # (..., i, j): how much of direction j was added to direction i
        return 1.0 + product(ops.swapaxes(moved, -1, -2), lengths) * inverse

    def orders(self, size: int) -> Any:
        """The turn in which each task meets each other one, at the present step.

        Args:
            size: The number of tasks.

        Returns:
            (T, T) integers; row i holds 0 … T−2 for the others, and T−1 for i itself.
        """
        return orders(self.seed, 0 if self.step is None else self.step, size)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"seed": self.seed, **super().get_config()}
