"""PBI: progress along a direction, with a penalty for leaving it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import check_preference
from mtlzoo.balancing.loss_balancer import LossBalancer
from mtlzoo.balancing.lower_bounds import above_bounds, check_bounds
from mtlzoo.layers.arguments import check_number


@keras.saving.register_keras_serializable(package="mtlzoo")
class PBI(LossBalancer):
    """Minimises how far the losses are along a direction, and their distance from its line.

    The penalty-based boundary intersection of Zhang & Li, *MOEA/D: A Multiobjective Evolutionary
    Algorithm Based on Decomposition*, IEEE Transactions on Evolutionary Computation 11, 2007. With
    the ideal losses z and the preference scaled to length 1, ŵ,

        d₁ = ŵ·(L − z),   d₂ = |L − z − d₁ ŵ|,   objective = d₁ + theta · d₂

    over the tasks present in the batch. The weights are ŵ plus theta times the unit vector towards
    the losses from the line: **neither a sum nor a mean**. A weight can be negative, where a task's
    loss is small compared to the others: then it is raised to the line. On the line, to within
    rounding, d₂ has no derivative and counts as 0, so that the weights are ŵ.

    Args:
        preference: Dict by task name of numbers that are not negative, the direction: the larger,
            the larger the task's loss in the end. Defaults to `None`, equal.
        theta: Number of at least 0. Defaults to 5, as in the paper.
        ideal: Dict by task name of the losses that cannot be undercut, times their `loss_weights`
            as all losses here are. Defaults to `None`, zeros.

    Raises:
        ValueError: If an argument is out of its range, or with a dict if it is used before `build`.

    Example:
    ```python
    from mtlzoo.balancing import PBI

    float(PBI(theta=1.0).objective([4.0, 2.0]))  # about 5.66: (4 + 2)/√2 + (4 − 2)/√2
    ```

    Differences from the paper:
        None in the objective. The paper minimises many of them, each with a direction of its own,
        by evolution, with the least loss found so far as z; here both are fixed.
    """

    numbers_by_task = ("preference", "ideal")

    def __init__(
        self,
        preference: Mapping[str, float] | None = None,
        theta: float = 5.0,
        ideal: Mapping[str, float] | None = None,
    ) -> None:
        self.preference = check_preference(preference)
        self.theta = check_number("theta", theta, "a number of at least 0", 0.0)
        self.ideal = check_bounds("ideal", ideal)

    def _objective(self, losses: Any, present: Any) -> Any:
        wanted = self._preferred(self.preference, present, losses.dtype)
        direction = ops.divide_no_nan(wanted, ops.sqrt(ops.sum(wanted**2)))
        above = ops.where(present, above_bounds(self, "ideal", self.ideal, losses), 0.0)
        along = ops.sum(above * direction)
        apart = above - along * direction
        # In units of the largest entry, a constant, so that squares neither overflow nor vanish.
        largest = ops.stop_gradient(ops.max(ops.abs(apart)))
        eps = float(np.finfo(keras.backend.standardize_dtype(losses.dtype)).eps)
        rounding = 4.0 * losses.shape[-1] * eps
        on_line = largest <= rounding * ops.stop_gradient(ops.max(ops.abs(above)))
        unit = ops.where(on_line, 1.0, apart / ops.where(on_line, 1.0, largest))
        distance = ops.where(on_line, 0.0, largest * ops.sqrt(ops.sum(unit**2)))
        return along + self.theta * distance

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"preference": self.preference, "theta": self.theta, "ideal": self.ideal}
