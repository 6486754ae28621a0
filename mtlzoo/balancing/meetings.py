"""Random orders in which each task's gradient meets those of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from mtlzoo.layers.hashing import random_bits


def orders(seed: int, step: Any, size: int) -> Any:
    """The turn in which each task meets each other one.

    Args:
        seed: Integer of at least 0.
        step: Integer, or a variable.
        size: The number of tasks.

    Returns:
        (T, T) integers; row i holds 0 … T−2 for the others, and T−1 for i itself.
    """
    keys = random_bits(seed, step, (size, size))
    # Ranks by counting, because sorting is slower and breaks ties differently under XLA.
    before = ops.less(keys[:, None, :], keys[:, :, None])  # (i, j, k): k comes before j
    tie: np.ndarray = np.tril(np.ones((size, size), bool), -1)
    before = ops.logical_or(
        before, ops.logical_and(ops.equal(keys[:, None, :], keys[:, :, None]), tie)
    )
    other: np.ndarray = ~np.eye(size, dtype=bool)
    rank = ops.sum(ops.cast(ops.logical_and(before, other[:, None, :]), "int32"), axis=-1)
    return ops.where(other, rank, size - 1)


def turns(seed: int, step: Any, size: int) -> list[Any]:
    """For each turn (T,) integers, the places of the tasks that are met then."""
    if size == 2:
        return [np.array([1, 0], "int32")]
    rank = orders(seed, step, size)
    places: np.ndarray = np.arange(size, dtype="int32")
    return [ops.sum(ops.where(rank == turn, places, 0), axis=-1) for turn in range(size - 1)]
