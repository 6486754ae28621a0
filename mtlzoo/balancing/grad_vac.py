"""Gradient Vaccine: gradients turned towards the angles they usually have."""

from __future__ import annotations

from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import check_seed, is_number
from mtlzoo.balancing.directions import in_unit_lengths, product
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.meetings import orders, turns

# To have a cosine of 1 with another gradient, one would have to be infinitely longer. At this goal
# it becomes at most 1/√(1 − 0.999²) = 22 times as long.
_GREATEST_GOAL = 0.999


@keras.saving.register_keras_serializable(package="mtlzoo")
class GradVac(GradientBalancer):
    """Turns each gradient towards those with which it has a smaller cosine than usual.

    Wang, Tsvetkov, Firat & Cao, *Gradient Vaccine: Investigating and Improving Multi-task
    Optimization in Massively Multilingual Models*, ICLR 2021. Each gᵢ is taken through the other
    tasks j in random order. With φ the cosine of the gᵢ so far and the original gⱼ, and the goal
    φ̂ᵢⱼ, where φ < φ̂ᵢⱼ,

        gᵢ ← gᵢ + |gᵢ| (φ̂ √(1−φ²) − φ √(1−φ̂²)) / (|gⱼ| √(1−φ̂²)) · gⱼ

    whose cosine with gⱼ is φ̂ᵢⱼ. In any case φ̂ᵢⱼ ← (1−β) φ̂ᵢⱼ + β φ. The update is the **sum** of
    the gradients so found. The goals are 0 at the start, and then it is `PCGrad`. The weights may
    be negative where goals are. A zero gradient is not changed, and changes neither others nor
    goals.

    Args:
        beta: Number from 0 to 1, how fast the goals follow. Defaults to 0.01, as in the paper.
        seed: Integer; with the step it decides the orders, the same in every mode and replica.
            Defaults to 0.
        **options: `wrt`, `every` and `groups` (the paper has goals for groups of variables), see
            `GradientBalancer`.

    State: `cosines` (T, T), or (groups, T, T), the goals φ̂.

    Shapes: Gramian (..., T, T), weights (..., T). All matrices of a batch share the orders.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import GradVac

    GradVac().weights(np.array([[1.0, -0.5], [-0.5, 1.0]]))  # array([1.5, 1.5])
    ```

    Differences from the paper:
        It works on the Gramian, which gives the same update. Goals count as at most 0.999 when
        gradients are turned, because the formula is infinite at 1. Those of an absent task stay.
    """

    def __init__(self, beta: float = 0.01, seed: int = 0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if not (is_number(beta) and 0.0 <= beta <= 1.0):
            raise ValueError(f"`beta` should be a number from 0 to 1. Received: `beta={beta!r}`")
        self.beta = float(beta)
        self.seed = check_seed(seed)

    def create_variables(self) -> None:
        """Creates `cosines`."""
        count = len(self.task_names)
        self.cosines = self.add_variable("cosines", (*self.lead, count, count), "zeros")

    def orders(self, size: int) -> Any:
        """The turn in which each task meets each other one, at the present step.

        Args:
            size: The number of tasks.

        Returns:
            (T, T) integers; row i holds 0 … T−2 for the others, and T−1 for i itself.
        """
        return orders(self.seed, 0 if self.step is None else self.step, size)

    def _advance(self, gramian: Any, losses: Any, present: Any) -> tuple[Any, dict[str, Any]]:
        size, dtype = gramian.shape[-1], gramian.dtype
        lengths, inverse, cosines = in_unit_lengths(gramian)
        goals = ops.zeros_like(gramian)
        if self.built:
            goals = goals + ops.cast(self.cosines, dtype)
        aim = ops.minimum(goals, _GREATEST_GOAL)
        across = ops.sqrt(1.0 - aim * aim)  # of a unit gradient at the goal
        exists = ops.cast(lengths > 0.0, dtype)
        pairs = exists[..., :, None] * exists[..., None, :] * (1.0 - np.eye(size))
        pairs = ops.cast(pairs, dtype)
        # In units of each gradient's own length. Row i is the gradient i so far: its inner products
        # with all directions, and its length. In turn s it meets the one that is s-th in its order.
        inner, length = cosines, exists[..., :, None]
        added, found = ops.zeros_like(gramian), ops.zeros_like(gramian)
        step = 0 if self.step is None else self.step
        for others in turns(self.seed, step, size):
            met = ops.one_hot(others, size, dtype=dtype) * pairs
            cosine = ops.clip(ops.divide_no_nan(inner, length), -1.0, 1.0)
            beside = length * ops.sqrt(ops.relu(1.0 - cosine * cosine))
            # What is at right angles to gⱼ stays, and the part along it becomes what fits the goal.
            part = ops.where(cosine < goals, aim * beside / across - inner, 0.0)
            part = ops.relu(part) * met
            added = added + part
            found = found + cosine * met
            turned = ops.cast(part > 0.0, dtype)
            left = ops.sum(turned * beside / across, axis=-1, keepdims=True)
            length = ops.where(ops.any(part > 0.0, axis=-1, keepdims=True), left, length)
            along = ops.sum(part, axis=-1, keepdims=True)
            inner = inner + along * ops.take(cosines, others, axis=-2)
        weights = 1.0 + product(ops.swapaxes(added, -1, -2), lengths) * inverse
        if not self.built:
            return weights, {}
        return weights, {"cosines": goals + self.beta * pairs * (found - goals)}

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"beta": self.beta, "seed": self.seed, **super().get_config()}
