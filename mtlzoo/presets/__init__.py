"""Models that are ready to use: by name, with their weights and a card that says what they are.

A preset is a folder of plain data: a configuration, arrays, and a card. Nothing in it is run, and
nothing is unpickled.
"""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.presets.loading import card, check, load, names
from mtlzoo.presets.model_card import Card
from mtlzoo.presets.saving import save
from mtlzoo.presets.tables import table

__all__ = ["Card", "card", "check", "load", "names", "save", "table"]
