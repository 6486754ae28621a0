"""Random numbers as a hash of seed and step: the same eagerly, in graphs, under XLA, everywhere.

TensorFlow's own streams are of no use here: `tf.random` differs between replicas, and XLA changes
the stateless streams.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

# 2^32 divided by the golden ratio: multiples of it are spread evenly (Steele, Lea & Flood 2014,
# "Fast Splittable Pseudorandom Number Generators").
_GOLDEN = np.uint32(0x9E3779B9)


def mix(bits: Any) -> Any:
    """Scrambles 32-bit integers one to one.

    The shifts and factors are those of `lowbias32` (Wellons, "Prospecting for Hash Functions",
    2018), found by search: flipping one input bit flips each output bit with probability one half.

    Args:
        bits: uint32 integers, NumPy or tensor.

    Returns:
        uint32 integers of the same shape.
    """
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(16)))
    bits = ops.multiply(bits, np.uint32(0x7FEB352D))
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(15)))
    bits = ops.multiply(bits, np.uint32(0x846CA68B))
    return ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(16)))


def random_bits(seed: int, step: Any, shape: tuple[int, ...]) -> Any:
    """Random 32-bit integers for one step.

    Args:
        seed: Any integer.
        step: Integer scalar, constant or variable.
        shape: Shape of the result.

    Returns:
        uint32 integers of `shape`, a different set in each step.
    """
    # The starts are constants of the graph, so a step costs one round of mixing.
    starts = np.random.default_rng(seed).integers(2**32, size=shape, dtype=np.uint32)
    return mix(ops.add(starts, ops.multiply(ops.cast(step, "uint32"), _GOLDEN)))
