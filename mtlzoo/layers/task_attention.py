"""Attention of a task to the channels and positions of shared features."""

from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_units
from mtlzoo.layers.normalization import normalization


@keras.saving.register_keras_serializable(package="mtlzoo")
class TaskAttention(keras.layers.Layer):
    r"""A mask of shared features, read off features of the same positions (Liu et al., 2019).

    $$m = \sigma(n_2(\mathrm{relu}(n_1(u W_1)) W_2)).$$

    $W_1$ and $W_2$ act on the channels of each position, as convolutions 1×1 do; $n_1$ and $n_2$
    are batch normalization. Several inputs are joined along their channels.

    Args:
        units: int, the channels of the mask, and of the layer before it.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A tensor `(batch, ..., channels)` in, or a list of them; `(batch, ..., units)` out, between
        0 and 1.

    Raises:
        ValueError: if `units` is not a positive integer.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import TaskAttention

    shared, before = np.ones((2, 5, 5, 3), "float32"), np.ones((2, 5, 5, 4), "float32")
    TaskAttention(8)([shared, before]).shape  # (2, 5, 5, 8)
    ```

    References:
        Liu, Johns and Davison, *End-to-End Multi-Task Learning with Attention*, CVPR 2019.

    *Differences from the paper*: the products have no bias, which the normalization after them
    takes away.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        (self.units,) = check_units("units", (units,))
        self.supports_masking = True
        policy = self.dtype_policy
        self._first = keras.layers.Dense(units, use_bias=False, name="first", dtype=policy)
        self._first_norm = normalization("batch", units, "first_norm", policy)
        self._second = keras.layers.Dense(units, use_bias=False, name="second", dtype=policy)
        self._second_norm = normalization("batch", units, "second_norm", policy)

    def build(self, input_shape: Any) -> None:
        """Make the kernels and the normalizations."""
        shapes = _shapes(input_shape)
        width = sum(shape[-1] for shape in shapes)
        hidden = (*shapes[0][:-1], self.units)
        self._first.build((*shapes[0][:-1], width))
        self._first_norm.build(hidden)
        self._second.build(hidden)
        self._second_norm.build(hidden)

    def call(self, features: Any, training: bool | None = None) -> Any:
        """The mask."""
        if isinstance(features, list | tuple):
            features = ops.concatenate(features, axis=-1)
        hidden = ops.relu(self._first_norm(self._first(features), training=training))
        return ops.sigmoid(self._second_norm(self._second(hidden), training=training))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, ..., units)`."""
        return (*_shapes(input_shape)[0][:-1], self.units)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of padding of the first input."""
        several = isinstance(previous_mask, list | tuple)
        return previous_mask[0] if several else previous_mask

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "units": self.units}


def _shapes(input_shape) -> list[tuple]:
    """The shapes of one input or of several."""
    several = isinstance(input_shape[0], list | tuple)
    return [tuple(shape) for shape in (input_shape if several else [input_shape])]
