"""MGDA: the shortest vector among all weighted means of the task gradients."""

from __future__ import annotations

from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options


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
    """The weights for three gradients or more, by block principal pivoting.

    Let ĝᵢ = gᵢ/|gᵢ| and aᵢ = minⱼ|gⱼ| / |gᵢ|, so that scales do not matter. The minimiser u ≥ 0 of
    |Σ uᵢ ĝᵢ|² + (Σ uᵢ aᵢ − 1)² has wᵢ ∝ uᵢ aᵢ (Lawson & Hanson, *Solving Least Squares Problems*,
    1974, chapter 23), and unlike the problem in w it has no constraint but the signs. So for the
    right set of active tasks it is one linear system. The set is found by exchanging all tasks that
    break a sign condition at once (Júdice & Pires, *A block principal pivoting algorithm for
    large-scale strictly monotone linear complementarity problems*, 1994): one to five systems for
    most Gramians, where Lawson & Hanson's single exchanges need about T.
    """
    size = gramian.shape[-1]
    eps = size * float(np.finfo(keras.backend.standardize_dtype(gramian.dtype)).eps)
    eye = ops.eye(size, dtype=gramian.dtype)
    present = present[..., None]

    lengths = ops.sqrt(ops.relu(ops.diagonal(gramian, axis1=-2, axis2=-1)))[..., None]
    inverse = ops.divide_no_nan(1.0, lengths)
    shortest = ops.min(
        ops.where(present, lengths, ops.max(lengths, axis=-2, keepdims=True)),
        axis=-2,
        keepdims=True,
    )
    target = ops.where(present, ops.where(lengths > 0.0, shortest * inverse, 1.0), 0.0)
    cosines = ops.clip(gramian * inverse * _transpose(inverse), -1.0, 1.0)
    matrix = cosines + target * _transpose(target)
    # Parallel gradients make the matrix singular, and products in reduced precision (TF32) make it
    # indefinite; TensorFlow stops at a singular system. The shift keeps the system of every subset
    # regular. Of 16, 64 and 256 times the rounding error, 16 gave the most exact results; the
    # second `solve` takes most of its effect out again.
    lowest = ops.eigh(matrix)[0][..., :1, None]
    regular = matrix + eye * (16.0 * eps + ops.relu(-lowest))

    def step(count: Any, active: Any, change: Any, point: Any) -> tuple[Any, ...]:
        active = ops.logical_xor(active, change)
        system = ops.where(ops.logical_and(active, _transpose(active)), regular, eye)
        solution = ops.solve(system, ops.where(active, target, 0.0))
        rest = ops.where(active, target - ops.matmul(matrix, solution), 0.0)
        solution = solution + ops.solve(system, rest)
        rounding = 4.0 * eps * (1.0 + ops.sum(ops.abs(solution), axis=-2, keepdims=True))
        descent = target - ops.matmul(matrix, solution) - rounding
        leaving = ops.logical_and(active, solution < 0.0)
        entering = ops.logical_and(ops.logical_not(active), descent > 0.0)
        # Exchanging all of them can cycle, though it rarely does. After 8 rounds the point only
        # moves downhill, as in Lawson & Hanson: as far as the signs allow, then one task enters.
        blocks = count < 8
        fraction = ops.where(leaving, ops.divide_no_nan(point, point - solution), 1.0)
        shortest_step = ops.min(fraction, axis=-2, keepdims=True)
        point = ops.relu(ops.where(blocks, solution, point + shortest_step * (solution - point)))
        steepest = ops.max(ops.where(entering, descent, 0.0), axis=-2, keepdims=True)
        one = ops.where(
            ops.any(leaving, axis=-2, keepdims=True),
            ops.logical_and(leaving, fraction <= shortest_step),
            ops.logical_and(entering, descent >= steepest),
        )
        change = ops.where(blocks, ops.logical_or(leaving, entering), one)
        return count + 1, active, change, point

    nobody = ops.logical_and(present, False)
    _, _, _, point = ops.while_loop(
        lambda count, active, change, point: ops.any(change),
        step,
        (0, nobody, present, ops.zeros_like(target)),
        maximum_iterations=8 + 5 * size,
    )
    parts = (point * target)[..., 0]
    return ops.divide_no_nan(parts, ops.sum(parts, axis=-1, keepdims=True))


def _transpose(column: Any) -> Any:
    return ops.swapaxes(column, -1, -2)
