"""Models of mixed precision, explained in full precision."""

import contextlib
from collections.abc import Iterator

import keras

_LOW = ("float16", "bfloat16")


@contextlib.contextmanager
def in_float32(model: keras.Model) -> Iterator[None]:
    """Have the layers of a model compute in float32 inside of the `with` block.

    A difference of two answers of 16 bits is mostly rounding, and SciPy cannot enlarge maps of
    bfloat16. The variables, which are float32 in mixed precision, are not touched. Another thread
    should not use the model meanwhile.

    Args:
        model: whose layers, those inside of layers too.
    """
    before = []
    try:
        for layer in model._flatten_layers(include_self=False):
            policy = layer.dtype_policy
            mixed = policy.compute_dtype in _LOW and policy.variable_dtype == "float32"
            if mixed and policy.quantization_mode is None:
                before.append((layer, policy))
                layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in before:
            layer.dtype_policy = policy
