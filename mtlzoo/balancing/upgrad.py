"""UPGrad: the mean of the task gradients, each without its conflicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_preference
from mtlzoo.balancing.directions import in_unit_lengths
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.quadratic import shortest_step


@keras.saving.register_keras_serializable(package="mtlzoo")
class UPGrad(GradientBalancer):
    """Moves each task's gradient to the nearest vector without conflict, and takes the mean.

    Quinton & Rey, *Jacobian Descent for Multi-Objective Optimization*, arXiv:2406.16232, 2024. With
    the preference p, which sums to 1 over the tasks present,

        d = Σᵢ pᵢ π(gᵢ),   π(x) = argmin |y − x|²   over   y with gⱼ·y ≥ 0 for all j

    The update has the scale of a **mean**: without conflict, the weights are p. No task's loss
    increases to first order: gⱼ·d ≥ 0 for all j. A gradient twice as long has twice the part in the
    update. A zero gradient gives no condition and no part. For two tasks it is half of PCGrad.

    Args:
        preference: Dict by task name of numbers that are not negative. Defaults to `None`, the same
            for all tasks.
        **options: `wrt`, `every` and `groups`, see `GradientBalancer`.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range, or `preference` has not the names of the
            tasks.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import UPGrad

    UPGrad().weights(np.array([[1.0, -0.5], [-0.5, 1.0]]))  # array([0.75, 0.75])
    ```

    Differences from the paper:
        None in the result. The paper calls a solver of quadratic programs on the host for each
        task; here all tasks are solved together, in the training step.
    """

    numbers_by_task = ("preference",)

    averages = True

    def __init__(
        self, preference: Mapping[str, float] | None = None, **options: Unpack[Options]
    ) -> None:
        super().__init__(**options)
        self.preference = check_preference(preference)

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        preferred = self._preferred(self.preference, present, gramian.dtype)
        if gramian.shape[-1] == 2:
            # Of two gradients in conflict, each is moved along the other one.
            squares = ops.diagonal(gramian, axis1=-2, axis2=-1)
            conflict = ops.relu(-gramian[..., 0, 1])[..., None]
            return preferred + ops.divide_no_nan(preferred[..., ::-1] * conflict, squares)
        lengths, inverse, cosines = in_unit_lengths(gramian)
        # Row i has the directions that are added to direction i.
        moves, _ = shortest_step(cosines[..., None, :, :], -cosines)
        parts = preferred * lengths
        return preferred + ops.sum(parts[..., :, None] * moves, axis=-2) * inverse

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"preference": self.preference, **super().get_config()}
