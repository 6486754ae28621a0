"""Where in an image a network looks."""

from typing import Any

import keras
from keras import ops

# Least length that a map is divided by.
_SHORTEST = 1e-6


@keras.saving.register_keras_serializable(package="mtlzoo")
class AttentionMap(keras.layers.Layer):
    r"""The mean square of the channels at each position, with length 1 over all positions.

    Zagoruyko and Komodakis, *Paying More Attention to Attention: Improving the Performance of
    Convolutional Neural Networks via Attention Transfer*, ICLR 2017. With the features $A_{pc}$ of
    the position $p$,

    $$q_p = \frac{Q_p}{\|Q\|_2}, \qquad Q_p = \frac1C \sum_c A_{pc}^2.$$

    Args:
        **kwargs: Name and dtype, as for every layer.

    Shapes:
        `(B, ..., C)` to `(B, ...)`.

    Example:
    ```python
    from keras import ops
    from mtlzoo.layers import AttentionMap

    AttentionMap()(ops.reshape([2.0, 0.0], (1, 1, 2, 1)))  # [[[1.0, 0.0]]]
    ```

    References:
        Zagoruyko and Komodakis, arXiv:1612.03928.

    *Differences from the paper*: the mean of the squares in place of their sum, which the length
    takes out again; features that are 0 everywhere have the map 0.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def call(self, inputs: Any) -> Any:
        """The map."""
        inputs = ops.cast(inputs, self.compute_dtype)
        # Divided by the largest number first, so that squares of squares neither vanish nor
        # overflow.
        axes = tuple(range(1, len(inputs.shape)))
        largest = ops.stop_gradient(ops.max(ops.abs(inputs), axis=axes, keepdims=True))
        squares = ops.mean(ops.square(inputs / ops.maximum(largest, _SHORTEST)), axis=-1)
        axes = axes[:-1]
        length = ops.sqrt(ops.maximum(ops.sum(ops.square(squares), axes, keepdims=True), _SHORTEST))
        return squares / length

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape without the channels."""
        return tuple(input_shape[:-1])
