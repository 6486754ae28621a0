"""A functional model cut into stages, one after the other, at the outputs of named layers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from mtlzoo.models.graph import nodes_from_inputs


@dataclass
class Piece:
    """One stage of a functional model.

    Attributes:
        takes: the tensors that it reads and does not make: inputs, or those of earlier stages.
        gives: the tensors that it makes and that later stages read, or that are outputs.
        operations: its layers and other operations.
    """

    takes: list[Any] = field(default_factory=list)
    gives: list[Any] = field(default_factory=list)
    operations: list[Any] = field(default_factory=list)

    def model(self, name: str) -> keras.Model:
        """The stage as a model from the list of what it takes to that of what it gives.

        Args:
            name: of the model.
        """
        return keras.Model(self.takes, self.gives, name=name)


def cut(model: keras.Model, at: Sequence[str]) -> list[Piece]:
    """Cut a functional model into stages.

    What depends on the output of the layer `at[k]` is in a later stage than `k`, everything else in
    the earliest that it can be in. Tensors may lead past a cut.

    Args:
        model: a functional model.
        at: names of layers of it, in the order of the graph.

    Raises:
        ValueError: if `at` are no layers of the model, or not one after the other, or if nothing
            comes after the last one, or if a layer with weights would be in two stages.
    """
    nodes = [node for node in nodes_from_inputs(model) if not node.is_input]
    _check_names(at, nodes)
    places = {name: k for k, name in enumerate(at)}
    pieces = [Piece() for _ in range(len(at) + 1)]
    made_in: dict[int, int] = {}  # by tensor, the stage that makes it
    read_in: dict[int, int] = {id(tensor): 0 for tensor in model.inputs}  # the first that may
    stage_of: dict[int, int] = {}  # by operation
    for node in nodes:
        stage = max((read_in[id(tensor)] for tensor in node.input_tensors), default=0)
        operation = node.operation
        ends = operation.name in places
        if ends and places[operation.name] != stage:
            raise ValueError(
                "`at` should be layers that lie one after the other in the graph. Received: "
                f"{operation.name!r}, which does not depend on the layer before it in at={list(at)}"
            )
        first = stage_of.setdefault(id(operation), stage)
        if first != stage and getattr(operation, "weights", None):
            raise ValueError(
                "`at` should be such that each layer with weights is in one stage only. "
                f"Received: at={list(at)}, with {operation.name!r} on both sides"
            )
        pieces[stage].operations.append(operation)
        for tensor in node.input_tensors:
            if made_in.get(id(tensor)) != stage:
                _add(pieces[stage].takes, tensor)
                if id(tensor) in made_in:
                    _add(pieces[made_in[id(tensor)]].gives, tensor)
        for tensor in node.output_tensors:
            made_in[id(tensor)] = stage
            read_in[id(tensor)] = stage + ends
    for tensor in model.outputs:
        if id(tensor) in made_in:
            _add(pieces[made_in[id(tensor)]].gives, tensor)
    for name, piece in zip([*at, None], pieces, strict=True):
        if not piece.operations:
            before = at[-1] if name is None else name
            raise ValueError(
                "`at` should have layers before and after each cut. "
                f"Received: {before!r}, after which nothing comes"
            )
    return pieces


def _check_names(at: Sequence[str], nodes: list) -> None:
    names = [node.operation.name for node in nodes]
    for name in at:
        if names.count(name) != 1 or list(at).count(name) != 1:
            raise ValueError(
                "`at` should be names of different layers of the model that are called once, from "
                f"{sorted(set(names))}. Received: {name!r}"
            )
    for node in nodes:
        if node.operation.name in at and len(node.output_tensors) != 1:
            raise ValueError(
                "`at` should be layers with one output. "
                f"Received: {node.operation.name!r}, which has {len(node.output_tensors)}"
            )


def _add(tensors: list, tensor: Any) -> None:
    if not any(tensor is other for other in tensors):
        tensors.append(tensor)
