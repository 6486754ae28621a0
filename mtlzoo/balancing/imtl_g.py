"""IMTL-G: the same progress along every gradient."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.directions import in_unit_lengths, pseudo_inverse
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options

# The least sum of the parts, relative to the sum of their sizes, that they are divided by: then no
# weights add up, in size, to more than 1000.
_LEAST_SUM = 1e-3


@keras.saving.register_keras_serializable(package="mtlzoo")
class IMTLG(GradientBalancer):
    """Moves so that the update's projections onto all gradients are equally long.

    Liu, Li, Kuang, Xue, Chen, Yang, Liao & Zhang, *Towards Impartial Multi-task Learning*, ICLR
    2021. With unit gradients ĝᵢ = gᵢ/|gᵢ| and their cosines C,

        ĝᵢ·d = ĝⱼ·d  for all i, j,   d = Σᵢ wᵢ gᵢ,   Σᵢ wᵢ = 1:   wᵢ ∝ (C⁻¹ 1)ᵢ / |gᵢ|

    The weights have the scale of a **mean**: their sum is 1, but they may be negative. The
    direction does not depend on the lengths of the gradients, and, but for the case below, it
    conflicts with none. A zero gradient has the weight 0. Of dependent gradients the pseudo-inverse
    takes the place of C⁻¹, so
    that projections are as equal as they can be.

    Short gradients with negative parts can make the parts' sum zero or negative, and the weights
    infinite, or those of a step uphill for every task. Where the sum is less than a thousandth of
    the sum of the parts' sizes, the weights are equal ones.

    Args:
        **options: `wrt` (the paper's is `"features"`), `every` and `groups`, see
            `GradientBalancer`.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import IMTLG

    IMTLG().weights(np.diag([1.0, 9.0]))  # array([0.75, 0.25])
    ```

    Differences from the paper:
        The paper solves T − 1 equations relative to the first task, which has the same solution; it
        does not say what happens where that is not unique. The generalisation to dependent
        gradients of Quinton & Rey (*Jacobian Descent for Multi-Objective Optimization*, 2024) takes
        the pseudo-inverse of the Gramian; that of the cosines is the same for gradients of one
        length, and does not mind lengths far apart. Sums that are not positive are the paper's to
        divide by.
    """

    averages = True

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(**options)

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        lengths, inverse, cosines = in_unit_lengths(gramian)
        # In units of the shortest gradient, so that no part overflows.
        longest = ops.max(inverse, axis=-1, keepdims=True)
        shares = ops.divide_no_nan(inverse, longest)
        parts = pseudo_inverse(cosines, ops.cast(lengths > 0.0, gramian.dtype)) * shares
        total = ops.sum(parts, axis=-1, keepdims=True)
        size = ops.sum(ops.abs(parts), axis=-1, keepdims=True)
        sound = ops.logical_and(total >= _LEAST_SUM * size, size > 0.0)
        equal = self._preferred(None, present, gramian.dtype)
        return ops.where(sound, parts / ops.where(sound, total, 1.0), equal)
