"""The zoo: the multi-task model, and one file for each architecture."""

import mtlzoo.tensorflow_only  # noqa: F401  before all that imports TensorFlow
from mtlzoo.models.aitm import AITM
from mtlzoo.models.dbmtl_net import DBMTLNet
from mtlzoo.models.esmm import ESMM
from mtlzoo.models.hard_sharing import HardSharing
from mtlzoo.models.mmoe import MMoE
from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.models.omoe import OMoE
from mtlzoo.models.ple import PLE
from mtlzoo.models.snr import SNR
from mtlzoo.models.task_query_attention import TaskQueryAttention

__all__ = [
    "AITM",
    "ESMM",
    "PLE",
    "SNR",
    "DBMTLNet",
    "HardSharing",
    "MMoE",
    "MultiTaskModel",
    "OMoE",
    "TaskQueryAttention",
]
