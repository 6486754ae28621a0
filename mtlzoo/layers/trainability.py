"""Which layers of a network are frozen, and how that is kept in a config."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras


def switch(layers: Iterable[keras.layers.Layer], trainable: bool) -> None:
    """Freeze layers, or have them trained, without the layers inside them.

    Args:
        layers: the layers.
        trainable: whether they are trained. Closed layers are left as they are.
    """
    for layer in layers:
        if getattr(layer, "closed", False):
            continue
        # The setter would reach inside, and change what is frozen there for good.
        layer._trainable = trainable
        for variable in own_variables(layer):
            variable.trainable = trainable


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The variables of a layer, without those of layers inside it, that are trained if it is.

    Args:
        layer: the layer.

    Returns:
        The variables; none of a closed layer.
    """
    if getattr(layer, "closed", False):
        return []
    updated = None  # the kernel beside Keras's update of low rank stays frozen
    if getattr(layer, "lora_enabled", False):
        updated = getattr(layer, "_kernel", getattr(layer, "_embeddings", None))
    return [v for v in layer._trainable_variables if v is not updated]


def open_layers(network: keras.layers.Layer) -> list[Any]:
    """A layer and all inside it, once each, without closed layers and what is inside these.

    A layer with the attribute `closed` keeps for itself what is trained in it, which is nothing.

    Args:
        network: a model or layer.
    """
    found: dict[int, Any] = {}

    def visit(layer: Any) -> None:
        if id(layer) not in found and not getattr(layer, "closed", False):
            found[id(layer)] = layer
            for part in layer._layers:
                visit(part)

    visit(network)
    return list(found.values())


def frozen_layers(network: keras.layers.Layer) -> list[int]:
    """The places of the frozen layers among those that a network was drawn with.

    Args:
        network: a model or layer.

    Returns:
        Indices, which are the same for every network of the same configuration.
    """
    return [i for i, layer in enumerate(drawn_with(network)) if not layer.trainable]


def unknown_layers(network: keras.layers.Layer, known: Iterable[keras.Variable]) -> list[int]:
    """The places of the layers that were frozen when an optimizer was built.

    Args:
        network: a model or layer.
        known: the variables that the optimizer was built for.

    Returns:
        Indices as those of `frozen_layers`.
    """
    ids = {id(v) for v in known}
    places = []
    for i, layer in enumerate(drawn_with(network)):
        own = [v for part in layer._flatten_layers() for v in own_variables(part)]
        if not (ids & {id(v) for v in own} if own else layer.trainable):
            places.append(i)
    return places


def freeze_again(network: keras.layers.Layer, places: Sequence[int]) -> None:
    """Freeze the layers of a network that were frozen before, and no other.

    Args:
        network: a model or layer.
        places: what `frozen_layers` gave for one of the same configuration.

    Raises:
        ValueError: if the network has not as many layers.
    """
    layers = drawn_with(network)
    if any(not isinstance(i, int) or not 0 <= i < len(layers) for i in places):
        raise ValueError(
            f"`frozen` of a config should be places among the {len(layers)} layers of "
            f"`{network.name}`. Received: frozen={places!r}"
        )
    frozen, known = set(places), {id(layer) for layer in open_layers(network)}
    for i, layer in enumerate(layers):
        if id(layer) in known and layer.trainable is (i in frozen):
            switch([layer], i not in frozen)


def drawn_with(network: keras.layers.Layer) -> list[Any]:
    """The network and its layers, without what was added beside its graph, as by `compile`, and
    without inputs: a trunk drawn on the model's own has them once, the one of the file has them
    twice.

    Args:
        network: a model or layer.
    """
    layers = [la for la in network._flatten_layers() if not getattr(la, "beside_graph", False)]
    return [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
