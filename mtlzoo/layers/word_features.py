"""The features of words out of those of their pieces."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtlzoo")
class WordFeatures(keras.layers.Layer):
    """The features of each word's first piece, as Devlin et al. (2019) tag words.

    Words without a place have zeros, and a Keras mask that leaves them out.

    Args:
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of features `(batch, length, width)` and places `(batch, words)`, as of
        `WordPieceOfWords`, in; `(batch, words, width)` out.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import WordFeatures

    features = np.array([[[1.0], [2.0], [3.0]]])
    WordFeatures()([features, np.array([[2, 0, -1]])])  # [[[3.], [1.], [0.]]]
    ```
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """The features by word."""
        features, first_pieces = inputs
        there = ops.expand_dims(ops.greater_equal(first_pieces, 0), -1)
        places = ops.expand_dims(ops.maximum(first_pieces, 0), -1)
        found = ops.take_along_axis(features, places, axis=1)
        return ops.where(there, found, ops.zeros_like(found))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Which words have a place."""
        return ops.greater_equal(inputs[1], 0)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, words, width)`."""
        features, places = input_shape
        return (*places, features[-1])
