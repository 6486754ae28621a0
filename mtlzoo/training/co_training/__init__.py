"""Several models that learn from each other: in rounds of labels, or in every step."""

from mtlzoo.training.co_training.co_training import CoTraining
from mtlzoo.training.co_training.history import CoTrainingHistory
from mtlzoo.training.co_training.mutual_learning import MutualLearning

__all__ = ["CoTraining", "CoTrainingHistory", "MutualLearning"]
