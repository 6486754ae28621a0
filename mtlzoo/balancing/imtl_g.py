"""IMTL-G: the same progress along every gradient."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.directions import eigen, in_unit_lengths, product, rounding
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
    direction does not depend on the lengths of the gradients. For two tasks the weights are always
    wᵢ ∝ 1/|gᵢ|. A zero gradient has the weight 0.

    Dependent gradients, such as g and −g, or more of them than they have dimensions, may have no
    direction with equal projections other than zero: where 1 has a part N1 in the kernel of C. Then

        wᵢ ∝ (N1)ᵢ / |gᵢ|

    solves the equations with d = 0, also where a step without conflict exists. It is the only
    solution if C has the rank T − 1, and of several it is that to which those of nearly dependent
    gradients come. Where 1 is in the range of C, as it is for copies of independent gradients,
    the pseudo-inverse takes the place of C⁻¹. The rank is decided up to rounding in the precision
    of the Gramian.

    Short gradients with negative parts can make the sum of the parts zero or negative. Where it is
    less than a thousandth of the sum of the parts' sizes, the weights are equal ones: the solution
    would be none, very large, or with a negative sum a step uphill for every task. A negative sum
    is divided by where d is 0. But for equal weights all projections are equal and not negative, to
    rounding: the update conflicts with no task, and serves each where it is not zero.

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
        The paper solves T − 1 equations relative to the first task, with the inverse of a matrix
        that exists where their solution is unique; then the weights are the same, but for sums that
        are not positive, by which the paper divides. Of several solutions it says nothing. Quinton
        & Rey (*Jacobian Descent for Multi-Objective Optimization*, 2024) take the pseudo-inverse of
        the Gramian for dependent gradients, with projections that differ. The eigenvalues are
        computed in float64.
    """

    averages = True

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(**options)

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        limit = 16.0 * rounding(gramian)
        lengths, inverse, cosines = in_unit_lengths(ops.cast(gramian, "float64"))
        # In units of the shortest gradient, so that no part overflows.
        longest = ops.max(inverse, axis=-1, keepdims=True)
        shares = ops.divide_no_nan(inverse, longest)
        parts = valid = ops.cast(lengths > 0.0, lengths.dtype)
        no_step = ops.zeros_like(longest) > 0.0
        if gramian.shape[-1] > 2:
            solved, no_step = _solve(cosines, valid, limit)
            # Of two, both parts are the same, also where rounding hides it.
            two = ops.sum(valid, axis=-1, keepdims=True) == 2.0
            parts = ops.where(two, valid, solved)
        parts = parts * shares
        total = ops.sum(parts, axis=-1, keepdims=True)
        size = ops.sum(ops.abs(parts), axis=-1, keepdims=True)
        divisor = ops.where(no_step, ops.abs(total), total)
        sound = ops.logical_and(divisor >= _LEAST_SUM * size, size > 0.0)
        equal = self._preferred(None, present, parts.dtype)
        weights = ops.where(sound, parts / ops.where(sound, total, 1.0), equal)
        return ops.cast(weights, gramian.dtype)


def _solve(cosines: Any, valid: Any, limit: float) -> tuple[Any, Any]:
    """The x with C x equal for all valid tasks, and whether C x is zero.

    Args:
        cosines: (..., T, T), float64, with zeros for other tasks.
        valid: (..., T) numbers, 1 for valid tasks.
        limit: Eigenvalues up to here are rounding.

    Returns:
        (..., T), and (..., 1) booleans.
    """
    values, vectors = eigen(cosines)
    along = product(ops.swapaxes(vectors, -1, -2), valid)
    there = values > limit
    least = ops.min(ops.where(there, values, 1.0), axis=-1, keepdims=True)
    inside = product(vectors, ops.where(there, 0.0, along)) * valid
    # Rounding turns the kernel by less than a sixteenth of this. With a lowest eigenvalue just
    # above the limit, too, this is where the part in the kernel begins to outweigh the others.
    outweighs = ops.max(ops.abs(inside), axis=-1, keepdims=True) * least > limit
    usable = ops.logical_and(there, ops.abs(along) > limit)
    parts = product(vectors, ops.where(usable, ops.divide_no_nan(along, values), 0.0))
    return ops.where(outweighs, inside, parts), outweighs
