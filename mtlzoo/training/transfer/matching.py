"""The layers of a model that names and patterns mean."""

import difflib
import fnmatch
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from mtlzoo.layers.trainability import open_layers

Layers = list[keras.layers.Layer]


def named_layers(network: keras.layers.Layer, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every layer inside a network with its path, outer ones before those inside, none closed.

    Args:
        network: a model or layer.
        path: what the paths begin with.
    """
    for layer in _parts(network):
        own = f"{path}{layer.name}"
        yield own, layer
        yield from named_layers(layer, f"{own}/")


def match(model: keras.Model, argument: str, patterns: Sequence[str]) -> dict[str, Layers]:
    """By pattern the layers that it means, and no layers inside these.

    Args:
        model: the model.
        argument: that of the patterns, for the message.
        patterns: names of layers, paths such as `"backbone/conv_1"`, or patterns of either.

    Raises:
        ValueError: if a pattern is no string, or fits no layer.
    """
    found: dict[str, Layers] = {}
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise ValueError(
                f"`{argument}` should be names of layers, or patterns of names. "
                f"Received: {pattern!r}"
            )
        found[pattern] = list(_fitting(model, pattern, ""))
        if not found[pattern]:
            raise ValueError(
                f"`{argument}` should name layers of the model `{model.name}`; "
                f"{_near(model, pattern)}. Received: {pattern!r}, which fits none"
            )
    return found


def inside(layers: Sequence[keras.layers.Layer]) -> Layers:
    """These layers and all inside them, once each; none that is closed."""
    found = {id(part): part for layer in layers for part in open_layers(layer)}
    return list(found.values())


def close_to(name: str, known: Sequence[str]) -> str:
    """What a message says of the names that are near another, or of all."""
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    if near:
        return f"near it are {near}"
    few = list(known)[:20]
    return f"there are {few}" + (f" and {len(known) - 20} more" if len(known) > 20 else "")


def _parts(network) -> Layers:
    return [
        layer
        for layer in network._layers
        if not getattr(layer, "beside_graph", False)
        and not getattr(layer, "closed", False)
        and not isinstance(layer, keras.layers.InputLayer)
    ]


def _fitting(network, pattern, path):
    for layer in _parts(network):
        own = f"{path}{layer.name}"
        if any(fnmatch.fnmatchcase(name, pattern) for name in (layer.name, own)):
            yield layer
        else:
            yield from _fitting(layer, pattern, f"{own}/")


def _near(model, pattern):
    names = {n: None for path, layer in named_layers(model) for n in (layer.name, path)}
    return close_to(pattern, list(names))
