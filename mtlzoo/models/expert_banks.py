"""Banks of experts that are copies of a network, and what the gates beside them read."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.layers.arguments import check_count, check_units
from mtlzoo.layers.experts import Experts, ExpertStack
from mtlzoo.layers.positions import FlatFeatures
from mtlzoo.models.architecture import check_inputs, features_of
from mtlzoo.models.stages import copy_weights, draw_copies

UNITS = (16,)


def units_beside(expert_units: Any, expert_network: Any) -> Any:
    """`expert_units` as given or by default; `None` where a network is the experts.

    Args:
        expert_units: what the mixture was given.
        expert_network: what it was given beside it.

    Raises:
        ValueError: if both are given.
    """
    if expert_network is None:
        return UNITS if expert_units is None else expert_units
    if expert_units is not None:
        raise ValueError(
            "`expert_units` should be None where an `expert_network` is given, of which each "
            f"expert is a copy. Received: expert_units={expert_units!r}"
        )
    return None


def expert_features(inputs: Any, backbone: Any, expert_network: Any, dtype: Any) -> Any:
    """What the experts of the first level read.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        backbone: a network from the inputs to features, or `None`.
        expert_network: that of which experts are copies, or `None`. With it and without a backbone
            experts read the inputs as they are.
        dtype: dtype policy of the layer that joins inputs.

    Raises:
        ValueError: for unusable inputs or networks.
    """
    if expert_network is None or backbone is not None:
        return features_of(inputs, backbone, dtype)
    check_inputs(inputs)
    return inputs


def gate_features(features: Any, experts: Any, dtype: Any) -> Any:
    """What gates read: the features of the experts.

    If these have other positions than the experts' outputs, or are several tensors, they are one
    vector for each row.

    Args:
        features: one tensor, or a structure of them.
        experts: a bank of experts on them, `(batch, ..., num_experts, units)`.
        dtype: dtype policy of the layer that flattens.

    Raises:
        ValueError: if the features are no floats, or have positions of unknown number.
    """
    flat = keras.tree.flatten(features)
    for tensor in flat:
        if not keras.backend.is_float_dtype(tensor.dtype):
            raise ValueError(
                "Gates should read floats; a `backbone` makes features of other inputs. "
                f"Received: `{tensor.name}` of dtype {tensor.dtype}"
            )
    if len(flat) == 1 and flat[0].shape[:-1] == experts.shape[:-2]:
        return flat[0]
    for tensor in flat:
        if None in tensor.shape[1:]:
            raise ValueError(
                "Features that gates read should have a known number of positions where the "
                f"experts' outputs have others, {experts.shape[1:-2]}. "
                f"Received: `{tensor.name}` of shape {tensor.shape}"
            )
    return FlatFeatures(name="gate_features", dtype=dtype)(flat)


def make_experts(
    num_experts: int,
    expert_units: Any,
    expert_network: Any,
    name: str,
    activation: Any,
    dropout: float,
    dtype: Any,
) -> Callable[[Any], Any]:
    """What draws a bank of experts on features, `(batch, ..., num_experts, units)`.

    Args:
        num_experts: the number of experts.
        expert_units: widths of their layers, where they are no copies of a network.
        expert_network: the network, or a `NetworkExperts` of one with several banks, or `None`.
        name: name of the layer at which the bank ends.
        activation: activation of their layers, if they are no copies.
        dropout: rate of the dropout after each of these.
        dtype: dtype policy of the layers.

    Raises:
        ValueError: for unusable numbers, widths or networks.
    """
    check_count("num_experts", num_experts)
    if expert_network is not None:
        if not isinstance(expert_network, NetworkExperts):
            expert_network = NetworkExperts(expert_network, dtype)
        return expert_network.bank(num_experts, name)
    units = check_units("expert_units", expert_units)
    return Experts(
        num_experts, units, activation=activation, dropout=dropout, name=name, dtype=dtype
    )


class NetworkExperts:
    """Draws banks of experts that are copies of one network, each with a start of its own.

    Args:
        network: a functional Keras model, a `Sequential` or a layer.
        dtype: dtype policy of the layer that stacks their outputs.

    Raises:
        ValueError: if the network is none of these.
    """

    def __init__(self, network: Any, dtype: Any) -> None:
        if not isinstance(network, keras.layers.Layer):
            raise ValueError(
                "`expert_network` should be a functional Keras model, a Sequential or a layer. "
                f"Received: expert_network={network!r}"
            )
        self._network = network
        self._dtype = dtype
        self._first: list[np.ndarray] | None = None

    def bank(self, count: int, name: str) -> Callable[[Any], Any]:
        """What draws a bank, as `mtlzoo.layers.Experts` would, on features.

        Args:
            count: the number of its experts.
            name: name of the layer at which it ends; those of the experts are
                `<name>_<number>_<name in the network>`.
        """

        def draw(features):
            outputs = [self._draw(features, f"{name}_{k}") for k in range(count)]
            return ExpertStack(name=name, dtype=self._dtype)(outputs)

        return draw

    def _draw(self, features: Any, prefix: str) -> Any:
        """One copy."""
        network = self._network
        if self._first is None:
            _check_output(_built_on(features, network))
        if isinstance(network, keras.Sequential):
            network = keras.Model(network.inputs, network.outputs[0], name=network.name)

        def copy(operation):
            config = _reseeded(operation.get_config(), zlib.crc32(prefix.encode()))
            config["name"] = f"{prefix}_{operation.name}"
            return type(operation).from_config(config)

        if hasattr(network, "_run_through_graph"):
            output, pairs = draw_copies(network, features, copy)
        else:
            pairs = [(network, copy(network))]
            output = pairs[0][1](features)
        layers = [pair for pair in pairs if isinstance(pair[0], keras.layers.Layer)]
        self._check_start([new for _, new in layers], prefix)
        for original, new in layers:
            _keep_what_is_not_trained(original, new)
        return output

    def _check_start(self, layers: Sequence[keras.layers.Layer], prefix: str) -> None:
        start = [np.array(v) for layer in layers for v in layer.trainable_variables]
        if self._first is None:
            self._first = start
        elif all(map(np.array_equal, start, self._first)):
            raise ValueError(
                "`expert_network` should have weights whose initializers draw, so that experts "
                f"differ. Received: a network of which the copy `{prefix}` starts as the first one"
            )


def _built_on(features: Any, network: keras.layers.Layer) -> Any:
    try:
        return network(features)
    except (TypeError, ValueError) as error:
        shapes = keras.tree.map_structure(lambda tensor: tensor.shape, features)
        raise ValueError(
            f"`expert_network` should take what experts read, of shape {shapes}. Received: "
            f"`{network.name}`, which says: {error}"
        ) from error


def _check_output(output: Any) -> None:
    is_tensor = isinstance(output, keras.KerasTensor)
    if not is_tensor or len(output.shape) < 2 or output.shape[-1] is None:
        raise ValueError(
            "`expert_network` should return one tensor of features of known width. "
            f"Received: {output!r}"
        )


def _reseeded(config: Any, offset: int) -> Any:
    """A configuration with other seeds where these are fixed, so that copies draw anew."""
    if isinstance(config, dict):
        return {
            key: (value + offset) % 2**31
            if key == "seed" and isinstance(value, int)
            else _reseeded(value, offset)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_reseeded(value, offset) for value in config)
    return config


def _keep_what_is_not_trained(original: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """Frozen layers, and what normalization has adapted to, are as in the original."""
    pairs = zip(original._flatten_layers(), new._flatten_layers(), strict=True)
    for old, copied in pairs:
        if old.weights and not old.trainable_weights:
            copy_weights(old, copied)
