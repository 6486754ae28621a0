"""The preprocessor of numbers: each channel with the mean 0 and the variance 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras


def standardizing(name: str, train: np.ndarray) -> keras.Model:
    """Make the model that standardizes an input along its last axis.

    Args:
        name: of the input.
        train: its values in the training rows, `(n, ..., channels)`; neither validation nor test
            rows belong here.

    Returns:
        A model from `{name: (batch, ..., channels)}` to the same shape.

    Example:
        ```python
        import numpy as np

        from mtlzoo.data.standardizing import standardizing

        model = standardizing("features", np.array([[1.0, 10.0], [3.0, 30.0]]))
        model({"features": np.array([[1.0, 30.0]])})  # [[-1.0, 1.0]]
        ```
    """
    import keras

    shape = train.shape[1:]
    seen = train.reshape(-1, shape[-1]).astype("float64")
    raw = {name: keras.Input(shape, name=name)}
    layer = keras.layers.Normalization(mean=seen.mean(0), variance=seen.var(0), name="standardized")
    return keras.Model(raw, layer(raw[name]), name="preprocessor")
