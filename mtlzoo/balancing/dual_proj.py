"""DualProj: the mean of the task gradients without its conflicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_preference
from mtlzoo.balancing.directions import in_unit_lengths
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.quadratic import direction_of, shortest_step


@keras.saving.register_keras_serializable(package="mtlzoo")
class DualProj(GradientBalancer):
    """Moves along the vector nearest to the mean gradient that conflicts with no task.

    Lopez-Paz & Ranzato, *Gradient Episodic Memory for Continual Learning*, NeurIPS 2017, in the
    form of Quinton & Rey, *Jacobian Descent for Multi-Objective Optimization*, arXiv:2406.16232,
    2024. With the preference p, which sums to 1 over the tasks present,

        d = argmin |y − Σᵢ pᵢ gᵢ|²   over   y with gⱼ·y ≥ 0 for all j

    The update has the scale of a **mean**: where the mean conflicts with no task, the weights are
    p. No task's loss increases to first order: gⱼ·d ≥ 0 for all j. The update is never longer than
    the mean. A zero gradient gives no condition and no part. In contrast to `UPGrad`, a task with a
    short gradient has little part but in the conditions.

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
    from mtlzoo.balancing import DualProj

    DualProj().weights(np.array([[4.0, -2.0], [-2.0, 1.5]]))  # array([0.5       , 0.66666667])
    ```

    Differences from the paper:
        Lopez-Paz & Ranzato project the gradient of the present task, with the others as memories:
        that is a preference for one task. Here it is the mean.
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
            # Only one of two gradients can conflict with their mean.
            squares = ops.diagonal(gramian, axis1=-2, axis2=-1)
            inner = ops.sum(gramian * preferred[..., None, :], axis=-1)
            return preferred + ops.divide_no_nan(ops.relu(-inner), squares)
        lengths, inverse, cosines = in_unit_lengths(gramian)
        length, inner = direction_of(cosines, preferred * lengths)
        moves, _ = shortest_step(cosines, -inner)
        return preferred + moves * length * inverse

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"preference": self.preference, **super().get_config()}
