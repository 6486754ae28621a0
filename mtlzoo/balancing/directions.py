"""Gramians in units of the gradients' own lengths, so that scales far apart do not matter."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


def in_unit_lengths(gramian: Any) -> tuple[Any, Any, Any]:
    """Splits a Gramian into lengths and cosines: Gᵢⱼ = |gᵢ| |gⱼ| cos(gᵢ, gⱼ).

    Args:
        gramian: (..., T, T) inner products.

    Returns:
        The lengths (..., T), their inverses, and the cosines (..., T, T). A zero gradient has
        zeros in all of them.
    """
    lengths = ops.sqrt(ops.relu(ops.diagonal(gramian, axis1=-2, axis2=-1)))
    inverse = ops.divide_no_nan(1.0, lengths)
    cosines = gramian * inverse[..., :, None] * inverse[..., None, :]
    return lengths, inverse, ops.clip(cosines, -1.0, 1.0)


def product(matrix: Any, vector: Any) -> Any:
    """Their product in full precision, where `matmul` would round its factors (TF32, bfloat16).

    Args:
        matrix: (..., T, T).
        vector: (..., T).

    Returns:
        (..., T).
    """
    return ops.sum(matrix * vector[..., None, :], axis=-1)


def eigen(matrix: Any) -> tuple[Any, Any]:
    """The eigenvalues, the lowest first, and eigenvectors: in closed form where there are two.

    Args:
        matrix: (..., T, T), symmetric, without negative eigenvalues but for rounding.

    Returns:
        (..., T), and (..., T, T) with the vectors as columns.
    """
    if matrix.shape[-1] != 2:
        return ops.eigh(matrix)
    first, second, across = matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 0, 1]
    half = 0.5 * (first - second)
    radius = ops.sqrt(half * half + across * across)
    high = 0.5 * (first + second) + radius
    # By the determinant, where a difference would lose the lesser of two that are far apart.
    low = ops.divide_no_nan(first * second - across * across, high)
    # Of the two ways to write the vector of the higher one, that without a difference.
    long = radius + ops.abs(half)
    x, y = ops.where(half < 0.0, across, long), ops.where(half < 0.0, long, across)
    length = ops.sqrt(x * x + y * y)
    x = ops.where(length > 0.0, ops.divide_no_nan(x, length), 1.0)
    y = ops.divide_no_nan(y, length)
    vectors = ops.stack([ops.stack([-y, x], axis=-1), ops.stack([x, y], axis=-1)], axis=-1)
    return ops.stack([low, high], axis=-1), vectors


def lowest_eigenvalue(matrix: Any) -> Any:
    """The lowest eigenvalue.

    Args:
        matrix: (..., T, T), as for `eigen`.

    Returns:
        (..., 1). A new axis has to be added apart from the slice: TensorFlow's graph optimizer
        loses it where both are one operation on stacked tensors.
    """
    return eigen(matrix)[0][..., :1]


def rounding(gramian: Any) -> float:
    """T times the rounding error of the dtype: what an eigenvalue of cosines may be off by."""
    dtype = keras.backend.standardize_dtype(gramian.dtype)
    return gramian.shape[-1] * float(np.finfo(dtype).eps)


def pseudo_inverse(cosines: Any, right: Any) -> Any:
    """The least-squares solution of C x = b that has no part in the kernel of C.

    Parts of b that are as small as rounding count as zero: else noise would be scaled up where b is
    at right angles to all directions that C has.

    Args:
        cosines: (..., T, T) symmetric, without negative eigenvalues but for rounding.
        right: (..., T) b.
    """
    limit = 16.0 * rounding(cosines)
    values, vectors = eigen(cosines)
    largest = ops.max(ops.abs(right), axis=-1, keepdims=True)
    parts = product(ops.swapaxes(vectors, -1, -2), right)
    kept = ops.logical_and(values > limit, ops.abs(parts) > limit * largest)
    parts = ops.where(kept, ops.divide_no_nan(parts, values), 0.0)
    return product(vectors, parts)
