"""Sequences and maps as the vectors of their positions, for layers that are written for vectors."""

import math
from typing import Any

import keras
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


@keras.saving.register_keras_serializable(package="mtlzoo")
class FlatFeatures(keras.layers.Layer):
    """Features of all positions of one or more tensors as one vector, zero where they are masked.

    Args:
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of `(batch, ...)` in, `(batch, sum of their sizes)` out.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True  # a mask ends here, without a warning

    def call(self, features: Any, mask: Any = None) -> Any:
        """The vector."""
        rows = []
        for i, each in enumerate(features):
            kept = None if mask is None else mask[i]
            if kept is not None:
                kept = ops.reshape(kept, (*ops.shape(kept), *(1,) * (each.ndim - kept.ndim)))
                each = ops.where(kept, each, ops.zeros_like(each))
            rows.append(ops.reshape(each, (-1, math.prod(each.shape[1:]))))
        return ops.concatenate(rows, axis=-1)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: there are no positions left."""

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, sum of the sizes)`."""
        return (input_shape[0][0], sum(math.prod(shape[1:]) for shape in input_shape))
