"""Ways of training beyond `fit`: going on after the process was killed."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.training.backup import Backup
from mtlzoo.training.co_training import CoTraining, CoTrainingHistory, MutualLearning
from mtlzoo.training.distillation import AttentionTransfer, Distillation, Hint, precompute
from mtlzoo.training.transfer import (
    L2SP,
    GradualUnfreezing,
    LoadedVariable,
    LoadReport,
    add_l2_sp,
    add_task,
    freeze,
    layerwise_learning_rates,
    load_weights_by_task,
    remove_task,
    trunk_stages,
    unfreeze,
    with_adapters,
)

__all__ = [
    "L2SP",
    "AttentionTransfer",
    "Backup",
    "CoTraining",
    "CoTrainingHistory",
    "Distillation",
    "GradualUnfreezing",
    "Hint",
    "LoadReport",
    "LoadedVariable",
    "MutualLearning",
    "add_l2_sp",
    "add_task",
    "freeze",
    "layerwise_learning_rates",
    "load_weights_by_task",
    "precompute",
    "remove_task",
    "trunk_stages",
    "unfreeze",
    "with_adapters",
]
