"""Normalization by name."""

import math
from typing import Any

import keras

# Group normalization's own paper (Wu and He, 2018) takes 32 groups.
_MOST_GROUPS = 32


def finalize_normalizations(model: keras.Model) -> None:
    """Have the `Normalization` layers of a model compute with the weights that it was given.

    They make two tensors of what they have adapted to, and compute with these.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def check_norm(norm: Any, *allowed: str | None) -> Any:
    """The name of a normalization, if it is one of `allowed`.

    Raises:
        ValueError: for any other.
    """
    if isinstance(norm, str | None) and norm in allowed:
        return norm
    names = ", ".join(repr(name) for name in allowed)
    raise ValueError(f"`norm` should be one of {names}. Received: norm={norm!r}")


def normalization(
    norm: str, width: int, name: str, dtype: Any, epsilon: float = 1e-5
) -> keras.layers.Layer:
    """A new normalization layer for features of this width.

    Args:
        norm: `"batch"`, `"group"` or `"layer"`.
        width: number of channels, which decides how many groups there are.
        name: name of the layer.
        dtype: its dtype policy.
        epsilon: what is added to variances; He et al.'s if not given. Defaults to `1e-5`.
    """
    if norm == "batch":
        # Keras's momentum of 0.99 needs some hundred steps to forget the initial statistics. Only
        # TensorFlow has replicas, and JAX refuses to train with it.
        return keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=epsilon,
            synchronized=keras.backend.backend() == "tensorflow",
            name=name,
            dtype=dtype,
        )
    if norm == "group":
        groups = math.gcd(width, _MOST_GROUPS)
        return keras.layers.GroupNormalization(groups, epsilon=epsilon, name=name, dtype=dtype)
    return keras.layers.LayerNormalization(epsilon=epsilon, name=name, dtype=dtype)
