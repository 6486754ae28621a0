"""Sequences and maps as the vectors of their positions, for layers that are written for vectors."""

from typing import Any

from keras import ops


def to_rows(features: Any) -> Any:
    """`(..., width)` as `(rows, width)`; what has that form already is left alone."""
    if len(features.shape) == 2:
        return features
    return ops.reshape(features, (-1, features.shape[-1]))


def to_positions(rows: Any, features: Any) -> Any:
    """What was computed of `to_rows(features)`, `(rows, ...)`, as `(..., ...)`."""
    if len(features.shape) == 2:
        return rows
    return ops.reshape(rows, (*ops.shape(features)[:-1], *rows.shape[1:]))


def with_mask(tensor: Any, source: Any) -> Any:
    """The tensor with the Keras mask of another, if that has one."""
    mask = getattr(source, "_keras_mask", None)
    if mask is not None:
        tensor._keras_mask = mask
    return tensor
