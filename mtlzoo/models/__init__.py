"""The zoo: the multi-task model, and one file for each architecture."""

import mtlzoo.tensorflow_only  # noqa: F401  before all that imports TensorFlow
from mtlzoo.models.adapter_sharing import AdapterSharing
from mtlzoo.models.aitm import AITM
from mtlzoo.models.cross_modal_fusion import CrossModalFusion
from mtlzoo.models.cross_stitch import CrossStitch
from mtlzoo.models.dbmtl_net import DBMTLNet
from mtlzoo.models.dynamic_sharing import DynamicSharing, LogSharing
from mtlzoo.models.esmm import ESMM
from mtlzoo.models.hard_sharing import HardSharing
from mtlzoo.models.learning_to_branch import LearningToBranch
from mtlzoo.models.mmoe import MMoE
from mtlzoo.models.mtan import MTAN
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.models.nddr import NDDR
from mtlzoo.models.omoe import OMoE
from mtlzoo.models.ple import PLE
from mtlzoo.models.sluice import Sluice
from mtlzoo.models.snr import SNR
from mtlzoo.models.soft_sharing import SoftSharing
from mtlzoo.models.task_query_attention import TaskQueryAttention

__all__ = [
    "AITM",
    "ESMM",
    "MTAN",
    "NDDR",
    "PLE",
    "SNR",
    "AdapterSharing",
    "CrossModalFusion",
    "CrossStitch",
    "DBMTLNet",
    "DynamicSharing",
    "HardSharing",
    "LearningToBranch",
    "LogSharing",
    "MMoE",
    "MultiTaskModel",
    "OMoE",
    "Sluice",
    "SoftSharing",
    "TaskQueryAttention",
]
