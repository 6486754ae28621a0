"""Models for serving, one signature per task: SavedModels, and the formats of other runtimes."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.export.comparing import Comparison, compare
from mtlzoo.export.exported import Exported
from mtlzoo.export.formats import load, names
from mtlzoo.export.saving import save

__all__ = ["Comparison", "Exported", "compare", "load", "names", "save"]
