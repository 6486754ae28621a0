"""Tuning by KerasTuner (extra `tuning`): architecture, balancer and sharing, for several tasks."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

try:
    import keras_tuner  # noqa: F401
except ImportError as error:
    raise ImportError("Tuning needs KerasTuner: pip install 'mtlzoo[tuning]'") from error

from mtlzoo.tuning.hyper_model import MultiTaskHyperModel
from mtlzoo.tuning.objective import MultiTaskObjective
from mtlzoo.tuning.pareto import ParetoFront, pareto_front

__all__ = ["MultiTaskHyperModel", "MultiTaskObjective", "ParetoFront", "pareto_front"]
