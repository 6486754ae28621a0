"""The trunk of a model in stages, from the input to where the tasks part."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from mtlzoo.models import MultiTaskModel
from mtlzoo.models.graph import nodes_by_depth, nodes_from_inputs, outputs_of
from mtlzoo.training.transfer.matching import Layers


def trunk_stages(model: MultiTaskModel) -> dict[str, list[keras.layers.Layer]]:
    """The stages of what the tasks share, from the input to where they part.

    A backbone with `stage_names`, as those of `mtlzoo.backbones` have, is in as many stages, nested
    in the model or copied into its graph. Of the rest each layer,
    or model in the model, is one if it has variables that no single task owns; those that lie side
    by side are one together, with their names joined.

    Args:
        model: a multi-task model.

    Returns:
        By name of the stage its layers.

    Raises:
        ValueError: if the model is none of several tasks, or they share nothing.

    Example:
    ```python
    import keras
    from mtlzoo import HardSharing, Regression
    from mtlzoo.backbones import ConvNet
    from mtlzoo.training import trunk_stages

    tasks = [Regression("width"), Regression("height")]
    backbone = ConvNet((28, 28, 1), filters=(4, 8))
    model = HardSharing(keras.Input((28, 28, 1)), tasks, backbone=backbone, shared_units=(16,))
    list(trunk_stages(model))  # the stages of the backbone, and "shared_0"
    ```
    """
    if not isinstance(model, MultiTaskModel):
        raise ValueError(
            f"`model` should be a multi-task model. Received: a {type(model).__name__}"
        )
    found = _of_graph(model)
    if not found:
        raise ValueError(
            f"`model` should have layers that its tasks share. Received: `{model.name}` of the "
            f"tasks {list(model.task_names)}, which share none"
        )
    return found


def _of_graph(model) -> dict[str, Layers]:
    copied, ownership = _copied(model), model._ownership
    found: dict[str, Layers] = {}
    known: set[int] = set()

    def add(stage, layers):
        if layers:
            found.setdefault(stage, []).extend(layers)
            known.update(map(id, layers))

    for nodes in nodes_by_depth(model):
        beside: dict[int, Any] = {}
        for node in nodes:
            operation = node.operation
            if node.is_input or not isinstance(operation, keras.layers.Layer):
                continue
            if _has_stages(operation):
                for stage, layer in _of_backbone(operation):
                    add(stage, [layer] if id(layer) not in known else [])
                continue
            for layer in _shared(operation, ownership):
                if id(layer) in known:
                    continue
                original = _original(layer.name, copied)
                if original is None:
                    beside[id(layer)] = layer
                else:
                    add(copied[original], [layer])
        add(", ".join(sorted(layer.name for layer in beside.values())), list(beside.values()))
    return found


def _shared(layer, ownership) -> Layers:
    """A layer, or the largest ones inside it, with variables that no single task owns."""
    tasks = [ownership.of(v) for v in layer.variables]
    if not any(len(of) > 1 for of in tasks):
        return []
    inside = {id(v) for part in layer._layers for v in part.variables}
    own = [ownership.of(v) for v in layer.variables if id(v) not in inside]
    if all(len(of) != 1 for of in tasks) or any(len(of) > 1 for of in own):
        return [layer]
    return [found for part in layer._layers for found in _shared(part, ownership)]


def _has_stages(operation) -> bool:
    return isinstance(operation, keras.Model) and bool(getattr(operation, "stage_names", ()))


def _of_backbone(backbone, names: Sequence[str] = ()) -> Iterator[tuple[str, Any]]:
    """The layers of a backbone, each with the name of its stage."""
    names = names or backbone.stage_names
    if isinstance(backbone, keras.Sequential):
        backbone = keras.Model(backbone.inputs, backbone.outputs)
    ends = {name: outputs_of(backbone, backbone.get_layer(name))[0] for name in names}
    ends |= {"rest": backbone.outputs[0]}
    seen: set[int] = set()
    for name, end in ends.items():
        for node in nodes_from_inputs(keras.Model(backbone.inputs, end)):
            layer = node.operation
            is_layer = isinstance(layer, keras.layers.Layer) and not node.is_input
            if is_layer and id(layer) not in seen:
                seen.add(id(layer))
                yield name, layer


def _copied(model) -> Mapping[str, str]:
    """By name of a layer of the backbone that an architecture has copied the name of its stage."""
    backbone = model._held.arguments.get("backbone")
    if not isinstance(backbone, keras.Model) or backbone in model._flatten_layers():
        return {}
    names = model._held.arguments.get("stages") or getattr(backbone, "stage_names", None)
    names = names or [backbone.layers[-1].name]
    return {layer.name: stage for stage, layer in _of_backbone(backbone, names)}


def _original(name, copied) -> str | None:
    """The layer of the backbone of which one in the graph is a copy: `<prefix>_<its name>`."""
    fitting = [original for original in copied if name.endswith(f"_{original}")]
    return max(fitting, key=len, default=None)
