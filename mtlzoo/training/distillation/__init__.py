"""Students that learn from teachers."""

from mtlzoo.training.distillation.distillation import Distillation
from mtlzoo.training.distillation.hints import AttentionTransfer, Hint
from mtlzoo.training.distillation.precomputing import precompute

__all__ = ["AttentionTransfer", "Distillation", "Hint", "precompute"]
