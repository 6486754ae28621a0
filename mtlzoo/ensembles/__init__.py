"""Several models as one: fused answers, averaged weights, calibrated probabilities."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.ensembles.averaging import average_weights, task_arithmetic
from mtlzoo.ensembles.ensemble import Ensemble
from mtlzoo.ensembles.fitted import FittedWeights, Stacking, Temperature
from mtlzoo.ensembles.fixed import (
    GeometricMean,
    MajorityVote,
    Maximum,
    Mean,
    Weighted,
    WeightedMean,
    WeightedVote,
)
from mtlzoo.ensembles.fusion import Fusion, get, names
from mtlzoo.ensembles.soups import Soup, greedy_soup
from mtlzoo.ensembles.statistics import refresh_statistics

__all__ = [
    "Ensemble",
    "FittedWeights",
    "Fusion",
    "GeometricMean",
    "MajorityVote",
    "Maximum",
    "Mean",
    "Soup",
    "Stacking",
    "Temperature",
    "Weighted",
    "WeightedMean",
    "WeightedVote",
    "average_weights",
    "get",
    "greedy_soup",
    "names",
    "refresh_statistics",
    "task_arithmetic",
]
