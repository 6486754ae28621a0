"""Trunks and encoders: functional models from inputs to one tensor of features, in named stages.

Any other Keras model that returns one tensor serves as a `backbone` as well, one of
`keras.applications` or of KerasHub.
"""

from mtlzoo.backbones.audio_encoder import AudioEncoder
from mtlzoo.backbones.backbone import Backbone
from mtlzoo.backbones.bert_encoder import BertEncoder
from mtlzoo.backbones.conv_net import ConvNet
from mtlzoo.backbones.efficientnet_lite import EfficientNetLite0
from mtlzoo.backbones.mlp import MLP
from mtlzoo.backbones.resnet import ResNet
from mtlzoo.backbones.sensor_encoder import SensorEncoder
from mtlzoo.backbones.tabular_encoder import TabularEncoder
from mtlzoo.backbones.text_encoder import TextEncoder

__all__ = [
    "MLP",
    "AudioEncoder",
    "Backbone",
    "BertEncoder",
    "ConvNet",
    "EfficientNetLite0",
    "ResNet",
    "SensorEncoder",
    "TabularEncoder",
    "TextEncoder",
]
