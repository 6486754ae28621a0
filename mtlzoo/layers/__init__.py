"""Building blocks of the architectures, written in `keras.ops`."""

from mtlzoo.layers.aspp import ASPP
from mtlzoo.layers.attention_fusion import BottleneckFusion, CrossAttentionFusion
from mtlzoo.layers.calibrator import Calibrator
from mtlzoo.layers.dselect_k import DSelectKGate
from mtlzoo.layers.experts import Experts
from mtlzoo.layers.fusion import ConcatenationFusion, Fusion, GatedFusion, LowRankFusion
from mtlzoo.layers.gate import Gate
from mtlzoo.layers.gates import SoftmaxGate, TopKGate
from mtlzoo.layers.id_embedding import IdEmbedding
from mtlzoo.layers.information_transfer import InformationTransfer
from mtlzoo.layers.log_mel import LogMelSpectrogram
from mtlzoo.layers.modalities import ContrastiveAlignment, ModalityDropout
from mtlzoo.layers.product_of_probabilities import ProductOfProbabilities
from mtlzoo.layers.query_attention import QueryAttention
from mtlzoo.layers.routing import SubNetworkRouting
from mtlzoo.layers.sequences import MaskedMean, PositionEmbedding, ZeroMasked

__all__ = [
    "ASPP",
    "BottleneckFusion",
    "Calibrator",
    "ConcatenationFusion",
    "ContrastiveAlignment",
    "CrossAttentionFusion",
    "DSelectKGate",
    "Experts",
    "Fusion",
    "Gate",
    "GatedFusion",
    "IdEmbedding",
    "InformationTransfer",
    "LogMelSpectrogram",
    "LowRankFusion",
    "MaskedMean",
    "ModalityDropout",
    "PositionEmbedding",
    "ProductOfProbabilities",
    "QueryAttention",
    "SoftmaxGate",
    "SubNetworkRouting",
    "TopKGate",
    "ZeroMasked",
]
