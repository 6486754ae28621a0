"""Embedding of ids that may be out of range."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtlzoo")
class IdEmbedding(keras.layers.Embedding):
    """Keras's `Embedding`, in which an id outside of the table is read as id 0.

    What Keras does with such an id depends on the machine: an error, zeros, NaN or another row.
    Keras's lookup layers keep 0 for what is not in their vocabulary, or for padding. With
    `mask_zero=True` an id outside of the table is masked, as 0 is.

    Arguments are those of `keras.layers.Embedding`.

    Shapes:
        Integers of any shape in; that shape and `output_dim` out.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import IdEmbedding

    layer = IdEmbedding(5, 2)
    layer(np.array([0, 5, -1]))  # three times the same row
    ```
    """

    def call(self, inputs: Any) -> Any:
        """The rows of the table."""
        return super().call(self._in_table(inputs))

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Where ids are not 0, if `mask_zero`."""
        return super().compute_mask(self._in_table(inputs), mask)

    def _in_table(self, ids: Any) -> Any:
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(ids.dtype)):
            ids = ops.cast(ids, "int32")
        is_row = ops.logical_and(ops.greater_equal(ids, 0), ops.less(ids, self.input_dim))
        return ops.where(is_row, ids, ops.zeros_like(ids))
