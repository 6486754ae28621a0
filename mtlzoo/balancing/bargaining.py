"""Weights w > 0 with G w = w⁻ᵖ: the bargaining solution for p = 1, α-fairness for p = 1/α."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.directions import in_unit_lengths, lowest_eigenvalue, product, rounding

# Newton's method needs 4 to 9 steps where the gradients are not nearly dependent, up to about 60
# where their lengths are 1e8-fold apart and p is 0.1 or 10, and up to 200 where p is 0.01 and a
# weight comes down to 1e-200.
_STEPS = 300
# Sizes of a step that are tried, as parts of the largest one: down to 1e-5.
_FRACTIONS = 0.7 ** np.arange(32)


def fair_weights(gramian: Any, power: float, present: Any) -> Any:
    """The weights w > 0 with G w = w⁻ᵖ, entry by entry.

    They minimise ½ wᵀGw − Σᵢ wᵢ¹⁻ᵖ/(1−p), with log wᵢ as the last term for p = 1, which is strictly
    convex. With G = DCD, where D holds the lengths and C the cosines, and w = D⁻¹ E x with
    E = D^((p−1)/(p+1)), it becomes

        (E C E) x = E² x⁻ᵖ

    so that x = 1 for gradients at right angles, whatever their lengths: for p = 1, C x = 1/x. Each
    step is one of Newton's in units of x, as far as a search along it goes, after the best multiple
    of x in closed form. For p = 1 the function is self-concordant, so that few steps are enough
    from any start (Nesterov & Nemirovskii, *Interior-Point Polynomial Algorithms in Convex
    Programming*, 1994).

    There is no solution where a weighted mean of gradients is zero. The cosines' lowest eigenvalue
    is raised to 16 T times the rounding error of the Gramian: that leaves other gradients as they
    are, and makes the weights of such gradients large but finite, and their update zero.

    All is computed in float64: with a small p, weights in single precision come to 0 on the way,
    where Newton's method does not come back from.

    Args:
        gramian: (..., T, T) inner products.
        power: Positive number, p.
        present: (..., T) booleans.

    Returns:
        (..., T) weights, float64. A zero gradient is left out, and has the mean weight of the
        others.
    """
    least = 16.0 * rounding(gramian)
    lengths, inverse, cosines = in_unit_lengths(ops.cast(gramian, "float64"))
    dtype, size = lengths.dtype, gramian.shape[-1]
    valid = ops.cast(lengths > 0.0, dtype)
    count = ops.maximum(ops.sum(valid, axis=-1, keepdims=True), 1.0)
    eye = ops.eye(size, dtype=dtype)
    empty = eye * (1.0 - valid)[..., None]
    lowest = lowest_eigenvalue(cosines + empty)[..., None]
    cosines = cosines + (eye - empty) * ops.relu(least - lowest)

    # In units of the geometric mean of the lengths, so that their powers do not overflow.
    logs = valid * ops.log(ops.where(lengths > 0.0, lengths, 1.0))
    middle = ops.sum(logs, axis=-1, keepdims=True) / count
    exponent = (power - 1.0) / (power + 1.0)
    stretch = valid * ops.exp(exponent * (logs - middle))
    stretched = cosines * stretch[..., :, None] * stretch[..., None, :]
    eps = float(np.finfo(keras.backend.standardize_dtype(dtype)).eps)
    near = 0.3 / (1.0 + power)  # changes for which the full step is right
    # TensorFlow stops where rounding makes a system singular.
    regular = empty + eye * (2.0 * rounding(lengths))

    def step(moved: Any, old: Any) -> tuple[Any, Any]:
        matrix = stretched * old[..., :, None] * old[..., None, :]
        right = stretch * stretch * _power(old, 1.0 - power)
        # The best multiple of the point.
        total = ops.sum(matrix, axis=(-2, -1))[..., None]
        share = ops.divide_no_nan(ops.sum(right, axis=-1, keepdims=True), total)
        multiple = _power(ops.where(share > 0.0, share, 1.0), 1.0 / (1.0 + power))
        matrix = matrix * (multiple * multiple)[..., None]
        right = right * _power(multiple, 1.0 - power)
        # Newton's step, from a system with ones on the diagonal.
        rest = right - ops.sum(matrix, axis=-1)
        curvature = ops.diagonal(matrix, axis1=-2, axis2=-1) + power * right
        scale = ops.where(curvature > 0.0, ops.rsqrt(curvature), 1.0)
        system = matrix + eye * (power * right)[..., None]
        system = system * scale[..., :, None] * scale[..., None, :] + regular
        system = ops.where(ops.all(ops.isfinite(system), (-2, -1), keepdims=True), system, eye)
        change = scale * ops.solve(system, (scale * rest)[..., None])[..., 0]
        size = ops.max(ops.abs(change), axis=-1, keepdims=True)
        length = ops.where(size < near, 1.0, _step_length(matrix, right, change, power))
        point = old * multiple * (1.0 + length * change)
        # It ends with a step that leaves an error of its square, with a residual that is rounding,
        # or where powers of numbers far apart overflow: then the last point is the best there is.
        doubt = 4.0 * eps * (ops.sum(ops.abs(matrix), axis=-1) + right)
        solved = ops.all(ops.abs(rest) <= doubt, axis=-1, keepdims=True)
        finite = ops.all(ops.isfinite(point), axis=-1, keepdims=True)
        moved = ops.where(ops.logical_and(finite, ops.logical_not(solved)), size, 0.0)
        return moved, ops.where(finite, point, old)

    _, point = ops.while_loop(
        lambda moved, point: ops.any(moved > near * eps**0.5),
        step,
        (ops.ones_like(count), ops.ones_like(lengths)),
        maximum_iterations=_STEPS,
    )
    weights = ops.exp(exponent * middle) * stretch * point * inverse
    mean = ops.sum(weights, axis=-1, keepdims=True) / count
    mean = ops.where(mean > 0.0, mean, 1.0)
    return ops.where(lengths > 0.0, weights, mean) * ops.cast(present, dtype)


def _step_length(matrix: Any, right: Any, change: Any, power: float) -> Any:
    """The longest of some steps along `change` at whose end the function still falls."""
    size = ops.max(ops.abs(change), axis=-1, keepdims=True)
    back = ops.max(ops.relu(-change), axis=-1, keepdims=True)
    # No entry falls or grows more than 10⁴-fold.
    longest = ops.minimum(0.9999 / ops.maximum(back, 1e-6), 1e4 / ops.maximum(size, 1e-6))
    steps = longest * ops.cast(_FRACTIONS, matrix.dtype)  # (..., 32)
    ahead = 1.0 + steps[..., None] * change[..., None, :]
    left = ops.sum(ops.sum(matrix, axis=-1) * change, axis=-1, keepdims=True)
    bend = product(matrix, change)
    bend = ops.sum(bend * change, axis=-1, keepdims=True)
    slope = left + steps * bend
    slope = slope - ops.sum((right * change)[..., None, :] * _power(ahead, -power), axis=-1)
    falls = ops.max(ops.where(slope <= 0.0, steps, 0.0), axis=-1, keepdims=True)
    return ops.maximum(falls, steps[..., -1:])


def _power(base: Any, exponent: float) -> Any:
    """A power of positive numbers."""
    if exponent == 0.0:
        return ops.ones_like(base)
    if exponent == -1.0:
        return 1.0 / base
    return ops.exp(exponent * ops.log(base))
