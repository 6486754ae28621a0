"""COSMOS: a weighted sum of the losses that is drawn to a direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_preference
from mtlzoo.balancing.logarithms import LEAST
from mtlzoo.balancing.loss_balancer import LossBalancer
from mtlzoo.layers.arguments import check_number


@keras.saving.register_keras_serializable(package="mtlzoo")
class COSMOS(LossBalancer):
    """Minimises a weighted sum of the losses, and the angle between the losses and the preference.

    Ruchte & Grabocka, *Scalable Pareto Front Approximation for Deep Multi-Objective Learning*, ICDM
    2021. With the preference r,

        objective = Σᵢ rᵢ Lᵢ − penalty · cos(r, L)

    over the tasks present in the batch: a **mean**, to which the cosine adds what is orthogonal to
    L, with a size of at most penalty/|L|. A weight can be negative, where a task's loss is small
    for its rᵢ. All losses zero make no angle, and the weights are r.

    Args:
        preference: Dict by task name of numbers that are not negative, used with the sum 1 over the
            tasks present. Defaults to `None`, equal.
        penalty: Number of at least 0. Defaults to 1; the paper's values are from 0.01 to 8.

    Raises:
        ValueError: If an argument is out of its range, or with a dict if it is used before `build`.

    Example:
    ```python
    from mtlzoo.balancing import COSMOS

    float(COSMOS().objective([2.0, 2.0]))  # 1.0: the mean 2, less 1 for the right direction
    ```

    Differences from the paper:
        None in the objective. The paper draws r anew for each batch and also gives it to the model
        as an input, to train for all r at once; here r is fixed.
    """

    numbers_by_task = ("preference",)

    def __init__(self, preference: Mapping[str, float] | None = None, penalty: float = 1.0) -> None:
        self.preference = check_preference(preference)
        self.penalty = check_number("penalty", penalty, "a number of at least 0", 0.0)

    def _objective(self, losses: Any, present: Any) -> Any:
        wanted = self._preferred(self.preference, present, losses.dtype)
        losses = ops.where(present, losses, 0.0)
        # In units of the largest loss, a constant, so that squares neither overflow nor vanish.
        largest = ops.stop_gradient(ops.max(ops.abs(losses)))
        zero = largest <= LEAST
        unit = losses / ops.where(zero, 1.0, largest)
        square = ops.where(zero, 1.0, ops.sum(unit**2))
        length = ops.sqrt(square) * ops.sqrt(ops.sum(wanted**2))
        cosine = ops.divide_no_nan(ops.sum(wanted * unit), length)
        return ops.sum(wanted * losses) - self.penalty * ops.where(zero, 0.0, cosine)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"preference": self.preference, "penalty": self.penalty}
