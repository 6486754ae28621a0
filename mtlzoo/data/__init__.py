"""Data sets by name, ready for `fit`; a check of others; and several of them in one stream."""

from mtlzoo.data.checking import Report, check
from mtlzoo.data.loading import Loaded, load, names
from mtlzoo.data.mixing import Mixture, mix
from mtlzoo.data.sampling import Annealed, Temperature

__all__ = [
    "Annealed",
    "Loaded",
    "Mixture",
    "Report",
    "Temperature",
    "check",
    "load",
    "mix",
    "names",
]
