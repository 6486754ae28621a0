"""Data sets by name, ready for `fit`: tasks, inputs, three splits and a preprocessor."""

from mtlzoo.data.loading import Loaded, load, names

__all__ = ["Loaded", "load", "names"]
