"""MGDA: the shortest vector among all weighted means of the task gradients."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.directions import in_unit_lengths
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.quadratic import least_squares


@keras.saving.register_keras_serializable(package="mtlzoo")
class MGDA(GradientBalancer):
    """Moves along the shortest weighted mean of the task gradients.

    Désidéri, *Multiple-gradient descent algorithm (MGDA) for multiobjective optimization*, Comptes
    Rendus Mathématique 350, 2012; Sener & Koltun, *Multi-Task Learning as Multi-Objective
    Optimization*, NeurIPS 2018.

        w = argmin |Σᵢ wᵢ gᵢ|²   over   w ≥ 0, Σᵢ wᵢ = 1

    The weights are a **convex combination**: their sum is 1, so the update is about T times shorter
    than that of the summed losses. No task's loss increases to first order: gᵢ·Σⱼ wⱼ gⱼ is never
    less than the squared length of the update. A task with a short gradient dominates, and one with
    a zero gradient stops the shared variables.

    Args:
        **options: `wrt` (with `"features"` it is the paper's MGDA-UB), `every` and `groups`, see
            `GradientBalancer`.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import MGDA

    MGDA().weights(np.diag([1.0, 4.0]))  # array([0.8, 0.2])
    ```

    Differences from the paper:
        Sener & Koltun approximate the minimum with Frank-Wolfe steps; here it is exact to rounding,
        in fewer and cheaper iterations. Their normalisation of the gradients is not done.
    """

    averages = True

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(**options)

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        if gramian.shape[-1] == 2:
            return _nearest_on_segment(gramian)
        return _nearest_on_hull(gramian, present)


def _nearest_on_segment(gramian: Any) -> Any:
    """The weights for two gradients, in closed form.

    Both are computed, rather than one as 1 minus the other, because a weight of 1e-8 matters to a
    gradient that is 1e8 times longer.
    """
    squares = ops.diagonal(gramian, axis1=-2, axis2=-1)
    parts = ops.relu(squares[..., ::-1] - gramian[..., 0, 1][..., None])
    total = ops.sum(parts, axis=-1, keepdims=True)
    return ops.where(total > 0.0, ops.divide_no_nan(parts, total), 0.5)


def _nearest_on_hull(gramian: Any, present: Any) -> Any:
    """The weights for three gradients or more.

    Let ĝᵢ = gᵢ/|gᵢ| and aᵢ = minⱼ|gⱼ| / |gᵢ|, so that scales do not matter. The minimiser u ≥ 0 of
    |Σ uᵢ ĝᵢ|² + (Σ uᵢ aᵢ − 1)² has wᵢ ∝ uᵢ aᵢ (Lawson & Hanson, *Solving Least Squares Problems*,
    1974, chapter 23).
    """
    lengths, inverse, cosines = in_unit_lengths(gramian)
    longest = ops.max(lengths, axis=-1, keepdims=True)
    shortest = ops.min(ops.where(present, lengths, longest), axis=-1, keepdims=True)
    target = ops.where(present, ops.where(lengths > 0.0, shortest * inverse, 1.0), 0.0)
    parts = least_squares(cosines, target, present) * target
    return ops.divide_no_nan(parts, ops.sum(parts, axis=-1, keepdims=True))
