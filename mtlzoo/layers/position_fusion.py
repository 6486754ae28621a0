"""A fused vector, joined to the features at each position of one modality."""

from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count
from mtlzoo.layers.fusion import masked


@keras.saving.register_keras_serializable(package="mtlzoo")
class PositionFusion(keras.layers.Layer):
    r"""One fully connected layer on the features of a position and one vector side by side.

    For the features $x_s$ at the positions $s$ of a sequence or a map, a vector $z$, and $p$ 1
    where the features are there, else 0,

    $$y_s = a([p\, x_s, z]\, W + b).$$

    The product with $z$ is computed once for all positions. A mask of the positions is handed on,
    but of a row that it would leave nothing of: that is, one without a text, whose positions all
    hold what $z$ says.

    Args:
        units: width of the result.
        activation: its activation $a$, a Keras activation or its name. Defaults to none.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, ..., width)`, `(batch, features)` and `(batch, 1)` of ones and zeros;
        `(batch, ..., units)` out.

    Raises:
        ValueError: if `units` is not a positive integer, or the features have no positions.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import PositionFusion

    maps, fused = np.ones((2, 6, 6, 4), "float32"), np.ones((2, 8), "float32")
    PositionFusion(5)(maps, fused, np.array([[1.0], [0.0]])).shape  # (2, 6, 6, 5)
    ```
    """

    def __init__(self, units: int, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = check_count("units", units)
        self.activation = keras.activations.get(activation)
        self.supports_masking = True

    def build(
        self, features_shape: Any, fused_shape: Any = None, present_shape: Any = None
    ) -> None:
        """Make one kernel, for the features and then the vector, and one bias."""
        if len(features_shape) < 3 or len(fused_shape) != 2:
            raise ValueError(
                "`PositionFusion` should be given features (batch, ..., width) and a vector "
                "(batch, features). "
                f"Received: shapes={[tuple(features_shape), tuple(fused_shape)]}"
            )
        self.width = features_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.width + fused_shape[-1], self.units),
            initializer="glorot_uniform",
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, features: Any, fused: Any, present: Any) -> Any:
        """The features with the vector at each position."""
        (features,) = masked([features], present)
        kernel = ops.convert_to_tensor(self.kernel)
        vector = ops.matmul(fused, kernel[self.width :]) + self.bias
        axes = (1,) * (len(features.shape) - 2)
        at_positions = ops.matmul(features, kernel[: self.width])
        return self.activation(at_positions + ops.reshape(vector, (-1, *axes, self.units)))

    def compute_mask(self, features: Any, previous_mask: Any = None) -> Any:
        """That of the features; all positions of a row that has none."""
        if previous_mask is None:
            return None
        none = ops.logical_not(ops.any(previous_mask, axis=-1, keepdims=True))
        return ops.logical_or(previous_mask, none)

    def compute_output_shape(self, features_shape: Any, *rest: Any) -> tuple[int | None, ...]:
        """`(batch, ..., units)`."""
        return (*features_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
        }
