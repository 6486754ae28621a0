"""Data sets by name, ready for `fit`; of others checks, splits, and several in one stream."""

from mtlzoo.data.augmentation import augment
from mtlzoo.data.checking import Report, check
from mtlzoo.data.class_weights import class_weights, weigh_classes
from mtlzoo.data.cross_validation import CrossValidation, cross_validate
from mtlzoo.data.importance import ImportanceSampling
from mtlzoo.data.keeping import keep
from mtlzoo.data.loading import Loaded, load, names
from mtlzoo.data.mixing import Mixture, mix
from mtlzoo.data.narrowing import labels_of
from mtlzoo.data.parts import check_parts
from mtlzoo.data.resampling import resample
from mtlzoo.data.row_mixing import cut_mix, mix_up
from mtlzoo.data.sampling import Annealed, InTurn, Temperature
from mtlzoo.data.service import distribute
from mtlzoo.data.splits import kfold, rows_with_labels, split

__all__ = [
    "Annealed",
    "CrossValidation",
    "ImportanceSampling",
    "InTurn",
    "Loaded",
    "Mixture",
    "Report",
    "Temperature",
    "augment",
    "check",
    "check_parts",
    "class_weights",
    "cross_validate",
    "cut_mix",
    "distribute",
    "keep",
    "kfold",
    "labels_of",
    "load",
    "mix",
    "mix_up",
    "names",
    "resample",
    "rows_with_labels",
    "split",
    "weigh_classes",
]
