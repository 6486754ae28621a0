"""CAGrad: near the mean gradient, the step that is best for the task that it serves least."""

from __future__ import annotations

import math
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.directions import in_unit_lengths
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.quadratic import direction_of, least_squares, shift_of, shortest_step
from mtlzoo.layers.arguments import check_bool, check_number


@keras.saving.register_keras_serializable(package="mtlzoo")
class CAGrad(GradientBalancer):
    """Near the mean gradient, looks for the step that is best for the task it serves least.

    Liu, Liu, Jin, Stone & Liu, *Conflict-Averse Gradient Descent for Multi-task Learning*, NeurIPS
    2021. With the mean g₀ of the gradients of the tasks present,

        d = argmax minᵢ gᵢ·y   over   y with |y − g₀| ≤ c |g₀|
          = g₀ + c |g₀| / |g_w| g_w   with   g_w = Σᵢ wᵢ gᵢ,   w = argmin g_w·g₀ + c |g₀| |g_w|

    over w ≥ 0 with the sum 1. The update has the scale of a **mean**: its length is from 1−c to 1+c
    times that of g₀. The worst-served task is served no worse than by g₀. With c = 0 it is g₀; with
    c < 1 it leads to a minimum of the mean loss, and the larger c is, the nearer its direction is
    to that of MGDA. A zero gradient counts as a task that no step serves: of others in conflict
    none is then served at the cost of another.

    Where the gradients balance out (g_w = 0, at a Pareto-stationary point), several y are equally
    good. The update is the one nearest to g₀, which is that of `DualProj`. Where a mean of all
    gradients with positive weights is zero, so that no step serves one task but at the cost of
    another, it is zero for c ≥ 1; for a smaller c it goes on, at least (1 − c) |g₀| long.

    What the worst-served task gains is exact up to rounding of the update: in float32 a gradient
    1e7-fold shorter than another gains what rounding of the longer one leaves it, and the step is
    one in the radius but not the best for it.

    Args:
        c: Number of at least 0, the radius in which it looks, in lengths of g₀. Defaults to 0.5.
        rescale: Whether the update is divided by 1 + c², as in the authors' program, which then
            multiplies it by T. Defaults to `False`, as in the paper.
        **options: `wrt`, `every` and `groups`, see `GradientBalancer`.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import CAGrad

    CAGrad().weights(np.diag([1.0, 4.0]))  # about [1.06, 0.5]
    ```

    Differences from the paper:
        The paper and its program minimise over w by general methods, with 1e-8 or 1e-4 added where
        something may be zero; here the result is exact to rounding, and nothing is added. The paper
        has c below 1.
    """

    averages = True

    def __init__(self, c: float = 0.5, rescale: bool = False, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.c = check_number("c", c, "a number of at least 0", 0.0)
        self.rescale = check_bool("rescale", rescale)

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        mean = self._preferred(None, present, gramian.dtype)
        lengths, inverse, cosines = in_unit_lengths(gramian)
        radius, inner = direction_of(cosines, mean * lengths)
        weights = mean
        if self.c > 0:
            best = _best_step_of_two if cosines.shape[-1] == 2 else _best_step
            moves = best(cosines, inner / max(1.0, self.c), lengths, present, self.c)
            weights = mean + moves * (radius * max(1.0, self.c)) * inverse
        return weights / (1.0 + self.c**2) if self.rescale else weights

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"c": self.c, "rescale": self.rescale, **super().get_config()}


def _best_step(cosines: Any, inner: Any, lengths: Any, present: Any, c: float) -> Any:
    """What is added to the mean gradient, as parts of the directions ĝᵢ.

    The unit of length is the larger of |g₀| and c |g₀|. The shortest z with gᵢ·(g₀ + z) ≥ t for all
    i is a problem of `shortest_step`. Its length D(t) is convex and grows with t, and the t sought
    is that with D(t) = c |g₀|. From a t that is too large, Newton's steps come down to it and never
    past it. Each w on the simplex gives such a t, g_w·g₀ + c |g₀| |g_w|; with the w of MGDA, D(t)
    is at most (2 + c) |g₀|.

    Args:
        cosines: (..., T, T) inner products of the directions.
        inner: (..., T) inner products of g₀ with the directions.
        lengths: (..., T) those of the gradients.
        present: (..., T) booleans.
        c: Positive number.

    Returns:
        (..., T), not negative.
    """
    count = cosines.shape[-1]
    eps = count * float(np.finfo(keras.backend.standardize_dtype(cosines.dtype)).eps)
    reach = min(1.0, c)
    # t is in units of the shortest gradient, and aᵢ = minⱼ|gⱼ| / |gᵢ|. A zero gradient is no matter
    # of directions: it only says that t ≤ 0.
    usual = lengths > 0.0
    longest = ops.max(lengths, axis=-1, keepdims=True)
    shortest = ops.min(ops.where(usual, lengths, longest), axis=-1, keepdims=True)
    ratios = ops.divide_no_nan(shortest, lengths)
    shift = shift_of(cosines)
    point = least_squares(cosines, ratios, usual, shift)
    share = ops.divide_no_nan(point, ops.sum(ratios * point, axis=-1, keepdims=True))
    size, _ = direction_of(cosines, share)
    # Where the shortest mean is rounding, it is zero.
    rounding = math.sqrt(16.0 * eps) * ops.sum(share, axis=-1, keepdims=True)
    bound = ops.sum(share * inner, axis=-1, keepdims=True) + reach * size
    bound = ops.where(size > rounding, bound, 0.0)
    zero = ops.any(ops.logical_and(present, lengths <= 0.0), axis=-1, keepdims=True)
    bound = ops.where(zero, ops.minimum(bound, 0.0), bound)
    # The t of each task alone: lower, where long gradients conflict with the mean.
    single = ops.where(usual, ops.divide_no_nan(inner + reach, ratios), bound)
    level = ops.minimum(bound, ops.min(single, axis=-1, keepdims=True))
    limit = reach * (1.0 + 4.0 * eps)

    def step(level: Any, moves: Any, length: Any) -> tuple[Any, ...]:
        # No z of length 1 has less than −1 with a direction: so far, such a bound says nothing.
        wanted = level * ratios - inner
        bounds = ops.clip(wanted, -1.0, 1.0)
        moves, _ = shortest_step(cosines, bounds, moves > 0.0, shift)
        length, _ = direction_of(cosines, moves)
        grows = ops.where(wanted > -1.0, moves * ratios, 0.0)
        slope = ops.divide_no_nan(ops.sum(grows, axis=-1, keepdims=True), length)
        lower = level - ops.divide_no_nan(length - reach, slope)
        return ops.where(length > limit, lower, level), moves, length

    start = (level, ops.zeros_like(inner), 2.0 + ops.zeros_like(level))
    _, moves, length = ops.while_loop(
        lambda level, moves, length: ops.any(length > limit),
        step,
        start,
        maximum_iterations=30,
    )
    return moves * ops.minimum(1.0, ops.divide_no_nan(reach, length))


def _best_step_of_two(cosines: Any, inner: Any, lengths: Any, present: Any, c: float) -> Any:
    """The same for two gradients, in closed form.

    The best z is the end of the radius along ĝᵢ, where that serves i no better than the other task.
    Else it serves both alike: ĝᵢ·z = t aᵢ − ĝᵢ·g₀, with aᵢ as in `_best_step` and the larger t of
    the two that make z as long as the radius. Its part at right angles to the difference of the
    gradients is left out where that is rounding, as between opposite ones.

    Args:
        cosines: See `_best_step`, as the others.
        inner: (..., T).
        lengths: (..., T).
        present: (..., T).
        c: Positive number.

    Returns:
        (..., T), not negative.
    """
    eps = 2.0 * float(np.finfo(keras.backend.standardize_dtype(cosines.dtype)).eps)
    reach = min(1.0, c)
    shortest = ops.min(lengths, axis=-1, keepdims=True)
    ratios = ops.divide_no_nan(shortest, lengths)
    other, inner_of_other = ratios[..., ::-1], inner[..., ::-1]
    cosine = cosines[..., 0, 1][..., None]
    ends = other * (inner + reach) <= ratios * (inner_of_other + reach * cosine)

    toward = ratios - cosine * other
    square = ops.sum(ratios * toward, axis=-1, keepdims=True)  # of the length of a₁ĝ₁ − a₂ĝ₂
    along = ratios * inner_of_other - other * inner
    across = ops.sqrt(ops.relu(reach * reach * square - along * along))
    sine = ops.sqrt((1.0 - cosine) * (1.0 + cosine))
    total = ops.sum(toward, axis=-1, keepdims=True)
    agree = sine * ops.sqrt(ops.relu(square)) > math.sqrt(16.0 * eps) * total
    alike = other * along + ops.where(agree, ops.divide_no_nan(toward * across, sine), 0.0)
    alike = ops.divide_no_nan(alike, square)
    # Opposite gradients: what is added to both parts cancels.
    alike = ops.where(agree, ops.relu(alike), alike - ops.min(alike, axis=-1, keepdims=True))

    first = ops.argmax(ops.cast(ends, "int32"), axis=-1)
    one = ops.one_hot(first, 2, dtype=inner.dtype)
    moves = ops.where(ops.any(ends, axis=-1, keepdims=True), reach * one, alike)
    return ops.where(shortest > 0.0, moves, 0.0)  # a zero gradient: none is served
