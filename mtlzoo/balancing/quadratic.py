"""The shortest vector under linear conditions, which several methods look for."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.directions import lowest_eigenvalue, product


def direction_of(cosines: Any, parts: Any) -> tuple[Any, Any]:
    """The length |v| of v = Σᵢ partsᵢ ĝᵢ, and the inner products of its direction with all ĝⱼ.

    Args:
        cosines: (..., T, T) inner products of the directions ĝ.
        parts: (..., T).

    Returns:
        (..., 1) and (..., T); zeros where v is zero or rounding.
    """
    most = ops.max(ops.abs(parts), axis=-1, keepdims=True)
    parts = ops.divide_no_nan(parts, most)
    inner = product(cosines, parts)
    length = ops.sqrt(ops.relu(ops.sum(parts * inner, axis=-1, keepdims=True)))
    return length * most, ops.clip(ops.divide_no_nan(inner, length), -1.0, 1.0)


def shortest_step(
    cosines: Any, bounds: Any, near: Any = None, shift: Any = None
) -> tuple[Any, Any]:
    """The shortest vector z with ĝᵢ·z ≥ hᵢ for all i.

    It is z = Σᵢ λᵢ ĝᵢ with λ ≥ 0, and λᵢ = 0 where ĝᵢ·z > hᵢ. With u from `least_squares`, it has
    λ = u / (1 − h·u) and 1 − h·u = 1 / (1 + |z|²) (Lawson & Hanson, *Solving Least Squares
    Problems*, 1974, chapter 23). So if no z exists, the second result is 0 up to rounding.

    Args:
        cosines: (..., T, T) inner products of the directions ĝ.
        bounds: (..., T) the numbers h, from −1 to 1; 0 or less for a zero ĝᵢ.
        near: (..., T) booleans, where λ > 0 in a similar problem. Defaults to nothing known.
        shift: That of `shift_of`. Defaults to a new one.

    Returns:
        λ (..., T), and 1 / (1 + |z|²), of the shape (..., 1).

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing.quadratic import shortest_step

    shortest_step(np.eye(2), np.array([0.5, -1.0]))  # [0.5, 0.0] and [0.8]
    ```
    """
    start = bounds > 0.0
    if near is not None:
        start = ops.where(ops.any(near, axis=-1, keepdims=True), near, start)
    point = least_squares(cosines, bounds, start, shift)
    rest = ops.relu(1.0 - ops.sum(bounds * point, axis=-1, keepdims=True))
    return ops.divide_no_nan(point, rest), rest


def shift_of(cosines: Any) -> Any:
    """What is added to the diagonal of systems of these directions, so that all can be solved.

    Parallel gradients make their matrix singular, and products in reduced precision (TF32) make it
    indefinite; TensorFlow stops at a system that is not positive definite. With the shift that of
    every subset is. Of 16, 64 and 256 times the rounding error, 16 gave the most exact results.

    Args:
        cosines: (..., T, T) inner products of the directions ĝ.

    Returns:
        (..., 1, 1).
    """
    eps = float(np.finfo(keras.backend.standardize_dtype(cosines.dtype)).eps)
    lowest = lowest_eigenvalue(cosines)[..., None]
    return 16.0 * cosines.shape[-1] * eps + ops.relu(-lowest)


def least_squares(cosines: Any, target: Any, start: Any, shift: Any = None) -> Any:
    """The minimiser u ≥ 0 of |Σ uᵢ ĝᵢ|² + (Σ uᵢ aᵢ − 1)², by block principal pivoting.

    The problem has no constraint but the signs, so for the right set of active entries it is one
    linear system. The set is found by exchanging all entries that break a sign condition at once
    (Júdice & Pires, *A block principal pivoting algorithm for large-scale strictly monotone linear
    complementarity problems*, 1994): one to five systems for most Gramians, where the single
    exchanges of Lawson & Hanson need about T.

    Args:
        cosines: (..., T, T) inner products of the directions ĝ.
        target: (..., T) the numbers a, from −1 to 1.
        start: (..., T) booleans, the first set.
        shift: That of `shift_of`. Defaults to a new one.

    Returns:
        u (..., T); of the many where gradients are dependent, one.
    """
    size = cosines.shape[-1]
    eps = size * float(np.finfo(keras.backend.standardize_dtype(cosines.dtype)).eps)
    eye = ops.eye(size, dtype=cosines.dtype)
    target = target[..., None]
    matrix = cosines + target * _transpose(target)
    regular = matrix + eye * (shift_of(cosines) if shift is None else shift)

    def step(count: Any, active: Any, change: Any, point: Any) -> tuple[Any, ...]:
        active = ops.logical_xor(active, change)
        system = ops.where(ops.logical_and(active, _transpose(active)), regular, eye)
        # For a singular system XLA's `solve` leaves a rest of 1e-3 in float64; Cholesky does not.
        # A second solution, of the rest, takes most of the shift's effect out again.
        factor = ops.cholesky(system)
        solution = _solve(factor, ops.where(active, target, 0.0))
        rest = ops.where(active, target - product(matrix, solution[..., 0])[..., None], 0.0)
        solution = solution + _solve(factor, rest)
        rounding = 4.0 * eps * (1.0 + ops.sum(ops.abs(solution), axis=-2, keepdims=True))
        descent = target - product(matrix, solution[..., 0])[..., None] - rounding
        leaving = ops.logical_and(active, solution < 0.0)
        entering = ops.logical_and(ops.logical_not(active), descent > 0.0)
        # Exchanging all of them can cycle, though it rarely does. After 8 rounds the point only
        # moves downhill, as in Lawson & Hanson: as far as the signs allow, then one task enters.
        blocks = count < 8
        fraction = ops.where(leaving, ops.divide_no_nan(point, point - solution), 1.0)
        shortest = ops.min(fraction, axis=-2, keepdims=True)
        point = ops.relu(ops.where(blocks, solution, point + shortest * (solution - point)))
        steepest = ops.max(ops.where(entering, descent, 0.0), axis=-2, keepdims=True)
        one = ops.where(
            ops.any(leaving, axis=-2, keepdims=True),
            ops.logical_and(leaving, fraction <= shortest),
            ops.logical_and(entering, descent >= steepest),
        )
        change = ops.where(blocks, ops.logical_or(leaving, entering), one)
        return count + 1, active, change, point

    start = start[..., None]
    nobody = ops.logical_and(start, False)
    _, _, _, point = ops.while_loop(
        lambda count, active, change, point: ops.any(change),
        step,
        (0, nobody, start, ops.zeros_like(target)),
        maximum_iterations=8 + 5 * size,
    )
    return point[..., 0]


def _solve(factor: Any, right: Any) -> Any:
    """The solution of a system by its Cholesky factor."""
    half = ops.solve_triangular(factor, right, lower=True)
    return ops.solve_triangular(_transpose(factor), half, lower=False)


def _transpose(matrix: Any) -> Any:
    return ops.swapaxes(matrix, -1, -2)
