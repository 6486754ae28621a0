"""What a model has learned before, and how it is put to use: freezing, tasks that come and go."""

from mtlzoo.training.transfer.adapting import with_adapters
from mtlzoo.training.transfer.changing_tasks import add_task, remove_task
from mtlzoo.training.transfer.freezing import freeze, unfreeze
from mtlzoo.training.transfer.gradual_unfreezing import GradualUnfreezing
from mtlzoo.training.transfer.l2_sp import L2SP, add_l2_sp
from mtlzoo.training.transfer.learning_rates import layerwise_learning_rates
from mtlzoo.training.transfer.loading import LoadedVariable, LoadReport, load_weights_by_task
from mtlzoo.training.transfer.stages import trunk_stages

__all__ = [
    "L2SP",
    "GradualUnfreezing",
    "LoadReport",
    "LoadedVariable",
    "add_l2_sp",
    "add_task",
    "freeze",
    "layerwise_learning_rates",
    "load_weights_by_task",
    "remove_task",
    "trunk_stages",
    "unfreeze",
    "with_adapters",
]
