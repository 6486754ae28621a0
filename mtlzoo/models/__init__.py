"""The zoo: the multi-task model, and one file for each architecture."""

from mtlzoo.models.hard_sharing import HardSharing
from mtlzoo.models.mmoe import MMoE
from mtlzoo.models.multi_task_model import MultiTaskModel

__all__ = ["HardSharing", "MMoE", "MultiTaskModel"]
