"""A functional model cut into stages, one after the other, at the outputs of named layers."""

from collections.abc import Mapping, Sequence
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


def stages_of(model: keras.Model, at: Sequence[str]) -> dict[int, int]:
    """By the id of each operation of a functional model the number of its stage.

    What depends on the output of the layer `at[k]` is in a later stage than `k`, everything else in
    the earliest that it can be in. Operations without weights may be called in several stages, and
    then have no number.

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
    first: dict[int, int] = {id(tensor): 0 for tensor in model.inputs}  # that may read a tensor
    found: dict[int, set[int]] = {}
    for node in nodes:
        stage = max((first[id(tensor)] for tensor in node.input_tensors), default=0)
        operation = node.operation
        ends = operation.name in places
        if ends and places[operation.name] != stage:
            raise ValueError(
                "`at` should be layers that lie one after the other in the graph. Received: "
                f"{operation.name!r}, which does not depend on the layer before it in at={list(at)}"
            )
        stages = found.setdefault(id(operation), set())
        stages.add(stage)
        if len(stages) > 1 and getattr(operation, "weights", None):
            raise ValueError(
                "`at` should be such that each layer with weights is in one stage only. "
                f"Received: at={list(at)}, with {operation.name!r} on both sides"
            )
        for tensor in node.output_tensors:
            first[id(tensor)] = stage + ends
    used = set().union(*found.values())
    for k in range(len(at)):
        if k + 1 not in used:
            raise ValueError(
                "`at` should have layers before and after each cut. "
                f"Received: {at[k]!r}, after which nothing comes"
            )
    return {key: stages.pop() for key, stages in found.items() if len(stages) == 1}


def pieces_of(model: keras.Model, stage_of: Mapping[int, int]) -> dict[int, Piece]:
    """A functional model in pieces by the stages of its operations, in their order.

    Args:
        model: the model that `stages_of` was asked about, or a part of it with the same layers.
        stage_of: what that has said.
    """
    pieces: dict[int, Piece] = {}
    made_in: dict[int, int] = {}  # by tensor, the stage that makes it
    for node in nodes_from_inputs(model):
        if node.is_input:
            continue
        earliest = max((made_in.get(id(tensor), 0) for tensor in node.input_tensors), default=0)
        stage = stage_of.get(id(node.operation), earliest)
        piece = pieces.setdefault(stage, Piece())
        piece.operations.append(node.operation)
        for tensor in node.input_tensors:
            if made_in.get(id(tensor)) != stage:
                _add(piece.takes, tensor)
                if id(tensor) in made_in:
                    _add(pieces[made_in[id(tensor)]].gives, tensor)
        made_in |= dict.fromkeys(map(id, node.output_tensors), stage)
    for tensor in model.outputs:
        if id(tensor) in made_in:
            _add(pieces[made_in[id(tensor)]].gives, tensor)
    return dict(sorted(pieces.items()))


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
