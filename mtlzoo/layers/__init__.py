"""Building blocks of the architectures, written in `keras.ops`."""

from mtlzoo.layers.adapters import BottleneckAdapter, LowRankUpdate
from mtlzoo.layers.aspp import ASPP
from mtlzoo.layers.attention_fusion import BottleneckFusion, CrossAttentionFusion
from mtlzoo.layers.attention_map import AttentionMap
from mtlzoo.layers.blended_stage import BlendedStage
from mtlzoo.layers.branching import Branching
from mtlzoo.layers.calibrator import Calibrator
from mtlzoo.layers.cross_stitch import CrossStitchUnit
from mtlzoo.layers.dselect_k import DSelectKGate
from mtlzoo.layers.experts import Experts
from mtlzoo.layers.fusion import ConcatenationFusion, Fusion, GatedFusion, LowRankFusion
from mtlzoo.layers.gate import Gate
from mtlzoo.layers.gates import SoftmaxGate, TopKGate
from mtlzoo.layers.id_embedding import IdEmbedding
from mtlzoo.layers.information_transfer import InformationTransfer
from mtlzoo.layers.layer_mixture import LayerMixture
from mtlzoo.layers.log_mel import LogMelSpectrogram
from mtlzoo.layers.modalities import ContrastiveAlignment, ModalityDropout
from mtlzoo.layers.nddr import NDDRUnit
from mtlzoo.layers.position_fusion import PositionFusion
from mtlzoo.layers.product_of_probabilities import ProductOfProbabilities
from mtlzoo.layers.query_attention import QueryAttention
from mtlzoo.layers.routing import SubNetworkRouting
from mtlzoo.layers.sequences import MaskedMean, PaddingMask, PositionEmbedding, ZeroMasked
from mtlzoo.layers.task_attention import TaskAttention
from mtlzoo.layers.word_features import WordFeatures
from mtlzoo.layers.word_piece import WordPiece, WordPieceOfWords

__all__ = [
    "ASPP",
    "AttentionMap",
    "BlendedStage",
    "BottleneckAdapter",
    "BottleneckFusion",
    "Branching",
    "Calibrator",
    "ConcatenationFusion",
    "ContrastiveAlignment",
    "CrossAttentionFusion",
    "CrossStitchUnit",
    "DSelectKGate",
    "Experts",
    "Fusion",
    "Gate",
    "GatedFusion",
    "IdEmbedding",
    "InformationTransfer",
    "LayerMixture",
    "LogMelSpectrogram",
    "LowRankFusion",
    "LowRankUpdate",
    "MaskedMean",
    "ModalityDropout",
    "NDDRUnit",
    "PaddingMask",
    "PositionEmbedding",
    "PositionFusion",
    "ProductOfProbabilities",
    "QueryAttention",
    "SoftmaxGate",
    "SubNetworkRouting",
    "TaskAttention",
    "TopKGate",
    "WordFeatures",
    "WordPiece",
    "WordPieceOfWords",
    "ZeroMasked",
]
