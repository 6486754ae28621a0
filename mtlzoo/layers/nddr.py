"""Fusion of all tasks' features by a reduction of their channels."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_number
from mtlzoo.layers.cross_stitch import between_of, check_inputs, check_receiver
from mtlzoo.layers.normalization import normalization


@keras.saving.register_keras_serializable(package="mtlzoo")
class NDDRUnit(keras.layers.Layer):
    r"""What one task receives: all tasks' channels, reduced to its own width (Gao et al., 2019).

    $$\tilde x_t = a(n([x_1, \ldots, x_T] W_t)), \quad
    W_t^\top = [\beta I, \ldots, \alpha I, \ldots, \beta I] \text{ at first.}$$

    Channels are joined at each position, and $W_t$ is a convolution 1×1; $n$ is batch
    normalization.

    Args:
        receiver: int, which of the inputs is the receiving task's own.
        within: $\alpha$, on the diagonal of the receiver's own block. Defaults to 0.9.
        between: $\beta$, on the diagonals of the other blocks. Defaults to
            `(1 - within) / (T - 1)`.
        activation: activation $a$, a Keras activation or its name. Defaults to `"relu"`.
        weight_decay: factor of the squared length of $W_t$ in the loss. Defaults to 0.
        **kwargs: those of `keras.layers.Layer`.

    Attributes:
        kernel: $W_t$, `(T * channels, channels)`.

    Shapes:
        A list of T tensors of one shape `(batch, ..., channels)` in, one tensor of that shape out.

    Raises:
        ValueError: for arguments out of range, and for inputs that do not fit.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import NDDRUnit

    maps = [np.ones((2, 5, 5, 3), "float32"), np.zeros((2, 5, 5, 3), "float32")]
    NDDRUnit(0)(maps).shape  # (2, 5, 5, 3)
    ```

    References:
        Gao et al., *NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural
        Discriminative Dimensionality Reduction*, CVPR 2019.

    *Differences from the paper*: any number of tasks. The activation is that of its authors'
    program.
    """

    def __init__(
        self,
        receiver: int,
        within: float = 0.9,
        between: float | None = None,
        activation: Any = "relu",
        weight_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.receiver = check_receiver(receiver)
        self.within = check_number("within", within)
        self.between = None if between is None else check_number("between", between)
        self.activation = keras.activations.get(activation)
        self.weight_decay = check_number("weight_decay", weight_decay, "a number of at least 0", 0)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the kernel and the normalization."""
        count, channels = check_inputs(self, input_shape, self.receiver)
        between = between_of(self.within, self.between, count)

        def initialize(shape, dtype=None):
            one = ops.eye(channels, dtype=dtype)
            blocks = [one * between] * count
            blocks[self.receiver] = one * self.within
            return ops.concatenate(blocks, axis=0)

        decay = keras.regularizers.L2(self.weight_decay) if self.weight_decay else None
        shape = (count * channels, channels)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=initialize, regularizer=decay
        )
        self._norm = normalization("batch", channels, "norm", self.dtype_policy)
        self._norm.build(input_shape[self.receiver])

    def call(self, features: Sequence[Any], training: bool | None = None) -> Any:
        """The receiver's features."""
        joined = ops.concatenate(features, axis=-1)
        return self.activation(self._norm(ops.matmul(joined, self.kernel), training=training))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape of each input."""
        return tuple(input_shape[self.receiver])

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the receiver's own features."""
        return None if previous_mask is None else previous_mask[self.receiver]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "receiver": self.receiver,
            "within": self.within,
            "between": self.between,
            "activation": keras.activations.serialize(self.activation),
            "weight_decay": self.weight_decay,
        }
