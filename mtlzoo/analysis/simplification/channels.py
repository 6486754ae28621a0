"""Which units of a model may go: where each unit's output is read, and by what."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from mtlzoo.layers.experts import Experts, Mix
from mtlzoo.models import MultiTaskModel, graph

_layers = keras.layers
CONVOLUTIONS = (_layers.Conv1D, _layers.Conv2D, _layers.Conv3D)
# What leaves a unit whose output is cut away out of all others, and has nothing of its own for it.
_UNIT_BY_UNIT = (
    *(_layers.Activation, _layers.ReLU, _layers.LeakyReLU, _layers.ELU, _layers.Identity),
    *(_layers.Dropout, _layers.SpatialDropout1D, _layers.SpatialDropout2D),
    *(_layers.SpatialDropout3D, _layers.AlphaDropout),
    *(_layers.GaussianDropout, _layers.GaussianNoise),
    *(_layers.MaxPooling1D, _layers.MaxPooling2D, _layers.MaxPooling3D),
    *(_layers.AveragePooling1D, _layers.AveragePooling2D, _layers.AveragePooling3D),
    *(_layers.GlobalMaxPooling1D, _layers.GlobalMaxPooling2D, _layers.GlobalMaxPooling3D),
    *(_layers.GlobalAveragePooling1D, _layers.GlobalAveragePooling2D),
    _layers.GlobalAveragePooling3D,
    *(_layers.ZeroPadding1D, _layers.ZeroPadding2D, _layers.ZeroPadding3D),
    *(_layers.Cropping1D, _layers.Cropping2D, _layers.Cropping3D),
    *(_layers.UpSampling1D, _layers.UpSampling2D, _layers.UpSampling3D),
)
_ACTIVATIONS = {
    *("celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh"),
    *("leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid"),
    *("silu", "softplus", "softsign", "tanh"),
}
FIXED = -1  # in place of the number of a unit that cannot go


@dataclass
class Channels:
    """The units of a model whose layers all are in its own graph.

    Each unit of a layer that might be cut has a number; the last axis of a tensor is described by
    the numbers of the units that its entries are of.

    Attributes:
        layers: The layers that might be cut, by name.
        units: The numbers of the units of each.
        read: By `id` of a layer, the units that it reads.
        reasons: Why a layer cannot be cut, by name.
    """

    layers: dict[str, Any] = field(default_factory=dict)
    units: dict[str, np.ndarray] = field(default_factory=dict)
    read: dict[int, np.ndarray] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def lock(self, ids: np.ndarray, reason: str) -> None:
        """Say that these units have to stay.

        Args:
            ids: Their numbers.
            reason: Why.
        """
        for name, own in self.units.items():
            if np.isin(ids, own).any():
                self.reasons.setdefault(name, reason)

    @property
    def cuttable(self) -> list[str]:
        """The names of the layers that can be cut."""
        return [name for name in self.layers if name not in self.reasons]


def read_channels(model: MultiTaskModel) -> Channels:
    """Follow the units of all fully connected and convolutional layers through the graph.

    Args:
        model: One without models inside it, as `redrawn` makes it.
    """
    found = Channels()
    of_tensor: dict[int, np.ndarray] = {}
    for node in graph.nodes_from_inputs(model):
        if node.is_input:
            for tensor in node.output_tensors:
                of_tensor[id(tensor)] = _fixed(tensor)
            continue
        ids = [of_tensor[id(tensor)] for tensor in node.input_tensors]
        out = _through(found, node, ids)
        for tensor in node.output_tensors:
            of_tensor[id(tensor)] = _fixed(tensor) if out is None else out
    for name, tensor in model.output.items():
        found.lock(of_tensor[id(tensor)], f"it puts out the answer of the task `{name}`")
    return found


def _through(found: Channels, node: Any, ids: list[np.ndarray]) -> np.ndarray | None:
    """The units of what a node puts out; `None` where they are no units that could go."""
    operation = node.operation
    for kinds, rule in _RULES:
        if isinstance(operation, kinds):
            out = rule(found, node, ids)
            if out is not REFUSED:
                return out
    for each in ids:
        found.lock(
            each, f"`{operation.name}` ({type(operation).__name__}) reads it, which cannot be cut"
        )
    if has_units(operation):  # what is left is grouped, or has its channels first
        found.layers[operation.name] = operation
        found.reasons[operation.name] = "its groups or the order of its axes are not known here"
    return None


REFUSED: Any = object()


def has_units(operation: Any) -> bool:
    """Whether it is one of the layers whose units might go.

    Args:
        operation: A layer or another operation.
    """
    return isinstance(operation, (_layers.Dense, *CONVOLUTIONS, Experts))


def _fixed(tensor: Any) -> np.ndarray:
    shape = tensor.shape
    return np.full(shape[-1] if len(shape) > 1 and shape[-1] else 0, FIXED)


def _first_read(found: Channels, layer: Any, ids: np.ndarray) -> None:
    """What a layer reads; called again on other units, neither can go."""
    before = found.read.setdefault(id(layer), ids)
    if not np.array_equal(before, ids):
        for each in (before, ids):
            found.lock(each, f"`{layer.name}` reads other units too, when it is called again")


def _weighing(found: Channels, node: Any, ids: list[np.ndarray]) -> Any:
    layer = node.operation
    if len(ids) != 1:
        return REFUSED
    if isinstance(layer, CONVOLUTIONS) and (
        layer.groups != 1 or layer.data_format != "channels_last"
    ):
        return REFUSED
    _first_read(found, layer, ids[0])
    if layer.name not in found.layers:
        start = sum(map(len, found.units.values()))
        found.layers[layer.name] = layer
        found.units[layer.name] = np.arange(start, start + unit_count(layer))
        activation = getattr(layer.activation, "__name__", str(layer.activation))
        if activation not in _ACTIVATIONS:
            found.reasons[layer.name] = f"its activation `{activation}` mixes its units"
    return found.units[layer.name]


def unit_count(layer: Any) -> int:
    """How many units a layer has; of experts, the width of their outputs.

    Args:
        layer: One that `has_units`.
    """
    if isinstance(layer, Experts):
        return layer.units[-1]
    return layer.units if isinstance(layer, _layers.Dense) else layer.filters


def _unit_by_unit(found: Channels, node: Any, ids: list[np.ndarray]) -> Any:
    layer = node.operation
    if isinstance(layer, _layers.Activation):
        activation = getattr(layer.activation, "__name__", "")
        if activation not in _ACTIVATIONS:
            return REFUSED
    if getattr(layer, "data_format", "channels_last") != "channels_last" or len(ids) != 1:
        return REFUSED
    return ids[0]


def _normalization(found: Channels, node: Any, ids: list[np.ndarray]) -> Any:
    layer = node.operation
    axes = (-1, len(node.input_tensors[0].shape) - 1)
    if len(ids) != 1 or layer.axis not in axes:
        return REFUSED
    _first_read(found, layer, ids[0])
    return ids[0]


def _depthwise(found: Channels, node: Any, ids: list[np.ndarray]) -> Any:
    layer = node.operation
    activation = getattr(layer.activation, "__name__", "")
    known = layer.depth_multiplier == 1 and layer.data_format == "channels_last"
    if not known or activation not in _ACTIVATIONS:
        return REFUSED
    _first_read(found, layer, ids[0])
    return ids[0]


def _flatten(found: Channels, node: Any, ids: list[np.ndarray]) -> Any:
    positions = node.input_tensors[0].shape[1:-1]
    if node.operation.data_format != "channels_last" or None in positions:
        return REFUSED
    return np.tile(ids[0], math.prod(positions))


def _concatenate(found: Channels, node: Any, ids: list[np.ndarray]) -> Any:
    rank = len(node.input_tensors[0].shape)
    return np.concatenate(ids) if node.operation.axis in (-1, rank - 1) else REFUSED


def _mixture(found: Channels, node: Any, ids: list[np.ndarray]) -> Any:
    weights, first, *others = ids
    if any(not np.array_equal(first, each) for each in others):
        for each in ids:
            found.lock(each, f"`{node.operation.name}` (Mix) adds it to units of other experts")
        return None
    found.lock(weights, f"`{node.operation.name}` (Mix) weighs experts by it")
    return first


_RULES: list[tuple[Any, Callable[..., Any]]] = [
    ((_layers.Dense, *CONVOLUTIONS, Experts), _weighing),
    (_UNIT_BY_UNIT, _unit_by_unit),
    (_layers.BatchNormalization, _normalization),
    ((_layers.DepthwiseConv1D, _layers.DepthwiseConv2D), _depthwise),
    (_layers.Flatten, _flatten),
    (_layers.Concatenate, _concatenate),
    (Mix, _mixture),
]
