"""Sequences with padding: learned positions, zeros where padding is, means over the rest."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtlzoo")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector for each position (Devlin et al., 2019).

    Args:
        initializer: Keras initializer of the vectors. Defaults to `"glorot_uniform"`.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, length, width)` in and out.

    Raises:
        ValueError: if length or width are not known when the layer is built.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import PositionEmbedding

    PositionEmbedding()(np.zeros((2, 5, 3), "float32")).shape  # (2, 5, 3)
    ```

    References:
        Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding*, NAACL 2019.
    """

    def __init__(self, initializer: Any = "glorot_uniform", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make one vector for each position."""
        if len(input_shape) != 3 or None in input_shape[1:]:
            raise ValueError(
                "The features of `PositionEmbedding` should have shape (None, length, width), both "
                f"known. Received: shape={tuple(input_shape)}"
            )
        self.positions = self.add_weight(
            name="positions", shape=tuple(input_shape[1:]), initializer=self.initializer
        )

    def call(self, features: Any) -> Any:
        """Features and positions added."""
        return features + ops.cast(self.positions, features.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the features."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "initializer": initializer}


@keras.saving.register_keras_serializable(package="mtlzoo")
class PaddingMask(keras.layers.Layer):
    """Where a sequence has something: ids that are not 0, or vectors that are not all zero.

    Keras's own masks are attached to tensors, and lost where a model is cut or goes on on another
    device; this one is read from the values (see `ZeroMasked`).

    Args:
        num_ids: number of ids, for sequences of ids; an id outside is padding too. Defaults to
            None, for any number.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        Ids `(batch, length)` or features `(batch, length, width)` in; bool `(batch, length)` out.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import PaddingMask

    PaddingMask()(np.array([[5, 7, 0]]))  # [[True, True, False]]
    ```
    """

    def __init__(self, num_ids: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_ids = num_ids
        self.supports_masking = True  # a Keras mask ends here, without a warning

    def call(self, sequence: Any) -> Any:
        """The mask."""
        if len(sequence.shape) == 3:
            return ops.any(ops.not_equal(sequence, 0), axis=-1)
        mask = ops.greater(sequence, 0)
        if self.num_ids is None:
            return mask
        return ops.logical_and(mask, ops.less(sequence, self.num_ids))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: what comes out is itself a mask."""

    def compute_output_spec(self, sequence: Any) -> keras.KerasTensor:
        """Bool `(batch, length)`."""
        return keras.KerasTensor(sequence.shape[:2], dtype="bool")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_ids": self.num_ids}


@keras.saving.register_keras_serializable(package="mtlzoo")
class ZeroMasked(keras.layers.Layer):
    """Puts zeros where the mask says padding, so that the mask can be read from the features.

    `PaddingMask` reads it, as does `keras.layers.Masking`. Without a mask features pass as they
    are.

    Args:
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, length, width)` in and out, with a mask `(batch, length)`.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import ZeroMasked

    ZeroMasked()(np.ones((1, 2, 1)), mask=np.array([[True, False]]))  # [[[1.], [0.]]]
    ```
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, features: Any, mask: Any = None) -> Any:
        """The features, zero where masked."""
        if mask is None:
            return features
        return ops.where(ops.expand_dims(mask, -1), features, ops.zeros_like(features))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the features."""
        return input_shape


@keras.saving.register_keras_serializable(package="mtlzoo")
class MaskedMean(keras.layers.Layer):
    r"""The mean over the positions that are not masked, zero where all are.

    $$y = \frac{\sum_s m_s x_s}{\max(1, \sum_s m_s)}.$$

    Keras's `GlobalAveragePooling1D` divides by zero where all positions are masked, and one such
    row, even if it has no label, makes the gradients of all rows NaN. Sums are float32 at least.

    Args:
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, length, width)` in, with or without a mask `(batch, length)`; `(batch, width)` out.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import MaskedMean

    MaskedMean()(np.array([[[1.0], [3.0]]]), mask=np.array([[True, False]]))  # [[1.]]
    ```
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def call(self, features: Any, mask: Any = None) -> Any:
        """The mean."""
        dtype = features.dtype
        wide = keras.backend.result_type(dtype, "float32")
        features = ops.cast(features, wide)
        if mask is None:
            return ops.cast(ops.mean(features, axis=1), dtype)
        mask = ops.expand_dims(ops.cast(mask, "bool"), -1)
        total = ops.sum(ops.where(mask, features, ops.zeros_like(features)), axis=1)
        count = ops.sum(ops.cast(mask, wide), axis=1)
        return ops.cast(total / ops.maximum(count, 1), dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: there are no positions left."""

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, width)`."""
        return (input_shape[0], input_shape[2])
