"""Dtype policies."""

from typing import Any

import keras
from keras import ops


def policy_config(dtype: Any) -> Any:
    """The dtype policy that layers built now get, so that a reloaded model has the same."""
    try:
        policy = keras.config.dtype_policy() if dtype is None else keras.dtype_policies.get(dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`dtype` should be a Keras dtype policy or the name of one. Received: dtype={dtype!r}"
        ) from error
    return policy if isinstance(policy, str) else policy.name


def at_least_float32(dtype: Any = None) -> str:
    """`"float64"` for a policy, or that of now, whose variables are float64, else `"float32"`."""
    policy = keras.dtype_policies.get(policy_config(dtype))
    return "float64" if policy.variable_dtype == "float64" else "float32"


def in_full(tensor: Any) -> Any:
    """A tensor in float32, or in float64 as it was."""
    return ops.cast(tensor, keras.backend.result_type(tensor.dtype, "float32"))
