"""Data sets by name, ready for `fit`; and several of them in one stream."""

from mtlzoo.data.loading import Loaded, load, names
from mtlzoo.data.mixing import Mixture, mix
from mtlzoo.data.sampling import Annealed, Temperature

__all__ = ["Annealed", "Loaded", "Mixture", "Temperature", "load", "mix", "names"]
