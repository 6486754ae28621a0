"""Training on many devices and machines: strategies by name, placement, stages, pipelines."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip
from mtlzoo.distribution.pipeline import pipeline, rematerialize
from mtlzoo.distribution.placement import place
from mtlzoo.distribution.schedules import Schedule, Work
from mtlzoo.distribution.strategies import is_chief, strategy, strategy_names

__all__ = [
    "Schedule",
    "Work",
    "is_chief",
    "pipeline",
    "place",
    "rematerialize",
    "strategy",
    "strategy_names",
]
