"""A network as a chain of stages that can be drawn again and again, for each task a copy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from mtlzoo.layers.normalization import finalize_normalizations
from mtlzoo.models import graph
from mtlzoo.models.architecture import dense_stack, features_of


class Stage:
    """One part of a network, from one tensor to the next.

    Attributes:
        name: the name of the layer at which it ends; `units_<i>` for one of `units`.
        part: the original between its two tensors, or `None` for a layer or one of `units`.
    """

    def __init__(
        self, name: str, draw: Callable[[Any, str], Any], part: keras.Model | None = None
    ) -> None:
        self.name = name
        self.part = part
        self._draw = draw

    def draw(self, features: Any, prefix: str) -> Any:
        """Draw a copy of the stage, with variables of its own, on `features`.

        Args:
            features: symbolic tensor, or for the first stage of a backbone the inputs.
            prefix: what the names of the new layers begin with.

        Returns:
            The symbolic tensor at which the copy ends.
        """
        return self._draw(features, prefix)

    def model(self, features: Any, prefix: str) -> keras.Model:
        """A copy of the stage as a model of its own, for inputs like `features`."""
        inputs = keras.tree.map_structure(
            lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name), features
        )
        return keras.Model(inputs, self.draw(inputs, prefix), name=f"{prefix}_{self.name}")

    @property
    def layer_names(self) -> list[str]:
        """What stands after the prefix in the names of a copy's layers that have weights."""
        if self.part is None:
            return [self.name]
        return [layer.name for layer in self.part.layers if layer.weights]


def stages_of(
    inputs: Any,
    backbone: Any,
    stages: Sequence[str] | None,
    units: Sequence[int],
    activation: Any,
    dropout: float,
    dtype: Any,
) -> tuple[Any, list[Stage]]:
    """The chain of stages that a backbone, followed by fully connected layers, consists of.

    Args:
        inputs: the inputs of the architecture.
        backbone: a functional Keras model, a `Sequential` or a layer, which is copied; or `None`.
            Copies begin with its weights, so that a pretrained one is put to use.
        stages: names of the layers of the backbone at which its stages end, in the order of the
            graph, where nothing else leads past, a Keras mask included. The rest, if there is any,
            is a stage too. `None`: `backbone.stage_names`, or
            for a backbone without it the whole as one stage.
        units: widths of fully connected layers after it, each a stage.
        activation: theirs.
        dropout: rate of the dropout after each of them.
        dtype: their dtype policy.

    Returns:
        What the first stage is drawn on, and the stages.

    Raises:
        ValueError: if the backbone cannot be cut at `stages`, or cannot be copied, or has a layer
            with weights in two of them, or if there is no stage at all.
    """
    chain: list[Stage] = []
    start = inputs
    if backbone is None:
        if stages is not None:
            raise ValueError(
                "`stages` should be None where there is no backbone whose layers they could name. "
                f"Received: stages={stages!r}"
            )
        start = features_of(inputs, dtype=dtype)
    else:
        features_of(inputs, backbone)  # what it checks of inputs and outputs; builds it, too
        chain += _cut(backbone, stages)
    for i, width in enumerate(units):
        chain.append(_dense(i, width, activation, dropout, dtype))
    if not chain:
        raise ValueError("There should be a `backbone` or `units`. Received: neither")
    return start, chain


def _dense(index: int, width: int, activation: Any, dropout: float, dtype: Any) -> Stage:
    def draw(features, prefix):
        prefix = f"{prefix}_units"  # backbones have layers `dense_0`, ... of their own
        return dense_stack(features, (width,), prefix, activation, dropout, dtype, index)

    return Stage(f"units_{index}", draw)


def _cut(backbone: Any, names: Sequence[str] | None) -> list[Stage]:
    """The stages of a backbone."""
    if isinstance(backbone, keras.Sequential):
        names = getattr(backbone, "stage_names", None) if names is None else names
        backbone = keras.Model(backbone.inputs, backbone.outputs[0], name=backbone.name)
    if not isinstance(backbone, keras.Model) or not hasattr(backbone, "_run_through_graph"):
        if names is not None or not isinstance(backbone, keras.layers.Layer):
            raise ValueError(
                "`backbone` should be a functional Keras model, so that it can be cut into stages "
                f"and copied. Received: backbone={backbone!r}, stages={names!r}"
            )
        return [Stage(backbone.name, _copier(backbone))]
    ends = _ends(backbone, names)
    chain: list[Stage] = []
    start = backbone.input
    # By id, in which stage each was first. The backbone keeps them, and so their ids taken.
    operations: dict[int, str] = {}
    variables: dict[int, str] = {}
    for name, end in ends.items():
        try:
            part = keras.Model(start, end, name=name)
        except ValueError as error:
            raise ValueError(
                f"`stages` should cut the backbone where a single tensor passes. Received: the cut "
                f"before the stage that ends with {name!r}, past which another tensor leads"
            ) from error
        for layer in part.layers:
            for variable in layer.weights:
                first = variables.setdefault(id(variable), name)
                if first != name:
                    raise ValueError(
                        "`stages` should be such that each layer with weights is in one stage "
                        "only, since every stage is copied by itself. Received: the layer "
                        f"{layer.name!r} in the stages {first!r} and {name!r}"
                    )
        # Without weights it is copied for each stage, under names that differ.
        again = {id(o) for o in part.operations if operations.setdefault(id(o), name) != name}
        chain.append(Stage(name, _redrawer(part, again, name), part))
        start = end
    return chain


def _ends(backbone: keras.Model, names: Sequence[str] | None) -> dict[str, Any]:
    """The tensors at which stages end, by the layer's name, the backbone's output last."""
    names = getattr(backbone, "stage_names", ()) if names is None else names
    if not isinstance(names, list | tuple):
        raise ValueError(
            f"`stages` should be a list of names of layers. Received: stages={names!r}"
        )
    ends: dict[str, Any] = {}
    for name in names:
        try:
            layer = backbone.get_layer(name)
        except ValueError as error:
            known = [layer.name for layer in backbone.layers]
            raise ValueError(
                f"`stages` should be names of layers of the backbone, {known}. Received: {name!r}"
            ) from error
        tensors = graph.outputs_of(backbone, layer)
        if len(tensors) != 1 or name in ends:
            raise ValueError(
                "`stages` should be different layers with one output each. "
                f"Received: stages={list(names)!r}"
            )
        ends[name] = tensors[0]
    (last,) = backbone.outputs
    if not ends or list(ends.values())[-1] is not last:
        ends[last._keras_history.operation.name] = last
    return ends


def copy_weights(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Give a layer or model the weights of another of the same architecture."""
    target.set_weights(source.get_weights())
    finalize_normalizations(target)


def _copier(layer: keras.layers.Layer) -> Callable[[Any, str], Any]:
    def draw(features, prefix):
        copied = _copy(layer, prefix)
        output = copied(features)
        copy_weights(layer, copied)
        return output

    return draw


def _redrawer(part: keras.Model, again: set[int], name: str) -> Callable[[Any, str], Any]:
    """How a stage is drawn; `again` are the ids of operations that an earlier one has, too."""

    def draw(features, prefix):
        def copy(operation):
            start = f"{prefix}_{name}" if id(operation) in again else prefix
            return _copy(operation, start)

        output, pairs = draw_copies(part, features, copy)
        for original, new in pairs:
            if isinstance(original, keras.layers.Layer) and original.weights:
                copy_weights(original, new)
        return output

    return draw


def draw_copies(
    part: keras.Model, features: Any, copy: Callable[[Any], Any]
) -> tuple[Any, list[tuple[Any, Any]]]:
    """Draw the graph of a model on other features, with a copy of each of its operations.

    Args:
        part: a functional model.
        features: symbolic tensors like its inputs.
        copy: a function from an operation to a new one, called once for each.

    Returns:
        The symbolic tensor at which the graph ends, and the pairs of operations and their copies.
    """
    copies: dict[int, tuple[Any, Any]] = {}  # the original keeps its id taken

    def copy_of(operation):
        if id(operation) not in copies:
            copies[id(operation)] = operation, copy(operation)
        return copies[id(operation)][1]

    output = draw_again(part, features, copy_of)
    return output, list(copies.values())


def draw_again(part: keras.Model, features: Any, operation: Callable[[Any], Any]) -> Any:
    """Draw the graph of a model on other features, not as a model but as its layers.

    Args:
        part: a functional model.
        features: symbolic tensors like its inputs.
        operation: a function from each layer, or other operation of the graph, to what is called in
            its place: itself, so that its variables are shared, or another.

    Returns:
        The symbolic tensor at which the graph ends.
    """
    return part._run_through_graph(_in_order(part, features), operation_fn=operation)


def is_network(operation: Any) -> bool:
    """Whether it is a functional model or a `Sequential` that does what Keras's do when called."""
    if not hasattr(operation, "_run_through_graph") and not isinstance(operation, keras.Sequential):
        return False
    calls = next(kind for kind in type(operation).__mro__ if "call" in vars(kind))
    return calls.__module__.startswith("keras.")


def as_functional(network: Any) -> keras.Model:
    """The functional model that such a network is."""
    if isinstance(network, keras.Sequential):
        return keras.Model(network.inputs, network.outputs[0], name=network.name)
    return network


def _in_order(part: keras.Model, features: Any) -> list:
    """The tensors of `features` in the order of the inputs of `part`."""
    if isinstance(features, Mapping):
        if isinstance(part.input, Mapping):
            features = {key: features[key] for key in part.input}
        elif len(part.inputs) > 1 or len(features) > 1:
            return [features[tensor.name] for tensor in part.inputs]
    return keras.tree.flatten(features)


def _copy(operation: Any, prefix: str) -> Any:
    """A new layer, or other operation of a graph, from the configuration of another."""
    config = {**operation.get_config(), "name": f"{prefix}_{operation.name}"}
    return type(operation).from_config(config)
