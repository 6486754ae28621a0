"""Data sets by name, ready for `fit`; of others checks, splits, and several in one stream."""

from mtlzoo.data.checking import Report, check
from mtlzoo.data.cross_validation import CrossValidation, cross_validate
from mtlzoo.data.loading import Loaded, load, names
from mtlzoo.data.mixing import Mixture, mix
from mtlzoo.data.sampling import Annealed, Temperature
from mtlzoo.data.splits import check_parts, kfold, rows_with_labels, split

__all__ = [
    "Annealed",
    "CrossValidation",
    "Loaded",
    "Mixture",
    "Report",
    "Temperature",
    "check",
    "check_parts",
    "cross_validate",
    "kfold",
    "load",
    "mix",
    "names",
    "rows_with_labels",
    "split",
]
