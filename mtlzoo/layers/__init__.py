"""Building blocks of the architectures, written in `keras.ops`."""

from mtlzoo.layers.aspp import ASPP
from mtlzoo.layers.dselect_k import DSelectKGate
from mtlzoo.layers.experts import Experts
from mtlzoo.layers.gate import Gate
from mtlzoo.layers.gates import SoftmaxGate, TopKGate
from mtlzoo.layers.id_embedding import IdEmbedding
from mtlzoo.layers.log_mel import LogMelSpectrogram
from mtlzoo.layers.routing import SubNetworkRouting
from mtlzoo.layers.sequences import MaskedMean, PositionEmbedding, ZeroMasked

__all__ = [
    "ASPP",
    "DSelectKGate",
    "Experts",
    "Gate",
    "IdEmbedding",
    "LogMelSpectrogram",
    "MaskedMean",
    "PositionEmbedding",
    "SoftmaxGate",
    "SubNetworkRouting",
    "TopKGate",
    "ZeroMasked",
]
