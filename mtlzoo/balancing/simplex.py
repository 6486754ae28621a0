"""Projection onto the simplex: weights that are not negative and sum to one."""

from __future__ import annotations

from typing import Any

from keras import ops


def move_on_simplex(old: Any, step: Any, present: Any) -> tuple[Any, Any]:
    """Moves weights on the simplex, where those of absent tasks stay.

    Args:
        old: (..., T) weights that are not negative and sum to one.
        step: (..., T), what is subtracted before the projection.
        present: (..., T) booleans. Those of present tasks keep their sum.

    Returns:
        The new weights, and the same of the present tasks alone, with the sum 1.
    """
    total = ops.sum(ops.where(present, old, 0.0), axis=-1, keepdims=True)
    unit = ops.where(total > 0.0, total, 1.0)
    shares = nearest_on_simplex((old - step) / unit, present)
    return ops.where(present, total * shares, old), shares


def nearest_on_simplex(point: Any, present: Any) -> Any:
    """The nearest weights that are not negative and sum to one, over the tasks that are present.

    Duchi, Shalev-Shwartz, Singer & Chandra, *Efficient Projections onto the l1-Ball for Learning in
    High Dimensions*, ICML 2008, figure 1.

    Args:
        point: (..., T) numbers.
        present: (..., T) booleans. Absent tasks get 0; with none present, all do.

    Returns:
        (..., T) weights.
    """
    size = point.shape[-1]
    lowest = ops.min(point, axis=-1, keepdims=True)
    highest = ops.max(ops.where(present, point, lowest), axis=-1, keepdims=True)
    # Relative to the largest: it always stays, and large numbers lose nothing by the sum. Those
    # that are 2 below it or more cannot.
    point = ops.where(present, ops.maximum(point - highest, -2.0), -2.0)
    down = -ops.sort(-point, axis=-1)
    places = ops.cast(ops.arange(1, size + 1), point.dtype)
    surplus = (ops.cumsum(down, axis=-1) - 1.0) / places
    kept = ops.sum(ops.cast(down > surplus, point.dtype), axis=-1, keepdims=True)
    level = ops.sum(ops.where(places == kept, surplus, 0.0), axis=-1, keepdims=True)
    return ops.where(present, ops.relu(point - level), 0.0)
