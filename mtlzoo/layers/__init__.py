"""Building blocks of the architectures, written in `keras.ops`."""

from mtlzoo.layers.experts import Experts

__all__ = ["Experts"]
