"""The zoo: the multi-task model, and one file for each architecture."""

from mtlzoo.models.hard_sharing import HardSharing
from mtlzoo.models.mmoe import MMoE
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.models.omoe import OMoE
from mtlzoo.models.ple import PLE
from mtlzoo.models.snr import SNR

__all__ = ["PLE", "SNR", "HardSharing", "MMoE", "MultiTaskModel", "OMoE"]
