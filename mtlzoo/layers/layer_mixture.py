"""A mixture of the features that several layers of a network end with."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_number
from mtlzoo.layers.cross_stitch import between_of, check_inputs


@keras.saving.register_keras_serializable(package="mtlzoo")
class LayerMixture(keras.layers.Layer):
    r"""A learned linear mixture of the outputs of all layers (Ruder et al., 2019).

    $$h = \sum_{k=1}^{K} \beta_k x_k.$$

    Args:
        last: what $\beta$ begins with for the last layer; the others have equal parts of the rest,
            so that they sum to 1. A single layer begins with 1. Defaults to 0.9.
        **kwargs: those of `keras.layers.Layer`.

    Attributes:
        beta: the variable, `(K,)`.

    Shapes:
        A list of K tensors of one shape in, one tensor of that shape out.

    Raises:
        ValueError: for inputs of different shapes, or if `last` is not a number.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import LayerMixture

    LayerMixture()([np.zeros((1, 2), "float32"), np.ones((1, 2), "float32")])  # [[0.9, 0.9]]
    ```

    References:
        Ruder et al., *Latent Multi-task Architecture Learning*, AAAI 2019.
    """

    def __init__(self, last: float = 0.9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.last = check_number("last", last)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make one weight for each layer."""
        count, _ = check_inputs(self, input_shape)
        values = [between_of(self.last, None, count)] * (count - 1)
        values.append(self.last if count > 1 else 1.0)

        def initialize(shape, dtype=None):
            return ops.convert_to_tensor(values, dtype=dtype)

        self.beta = self.add_weight(name="beta", shape=(count,), initializer=initialize)

    def call(self, features: Sequence[Any]) -> Any:
        """The mixture."""
        beta = ops.convert_to_tensor(self.beta)
        return sum(beta[i] * x for i, x in enumerate(features))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape of each input."""
        return tuple(input_shape[-1])

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the last layer's features."""
        return None if previous_mask is None else previous_mask[-1]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "last": self.last}
