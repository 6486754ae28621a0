"""A model of the same architecture for other tasks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from absl import logging

from mtlzoo.models import AITM, ESMM, PLE, DBMTLNet, HardSharing, LearningToBranch, MultiTaskModel
from mtlzoo.models.architecture import Architecture
from mtlzoo.models.graph import split
from mtlzoo.models.stages import draw_copies
from mtlzoo.tasks import Task


def check_model(model: Any) -> None:
    """Refuse what cannot be made again with other tasks.

    Args:
        model: what should be such a model.

    Raises:
        ValueError: if it is none.
    """
    known = isinstance(model, Architecture) or type(model) is MultiTaskModel
    if not known:
        raise ValueError(
            "`model` should be a `MultiTaskModel` or an architecture of the zoo. "
            f"Received: a {type(model).__name__}"
        )
    if not model._declared:
        raise ValueError(
            f"`model` should be made with its tasks, `MultiTaskModel(..., tasks=[...])`. Received: "
            f"`{model.name}`, whose tasks are made from losses"
        )


def rebuilt(
    model: Any,
    tasks: Sequence[Task],
    like: Mapping[str, str],
    features: str | None = None,
    warns: bool = True,
) -> MultiTaskModel:
    """The model with other tasks and new variables, and without the penalty of `add_l2_sp`.

    Args:
        model: the model.
        tasks: all the tasks that the new one has.
        like: by name of a new task that of the one whose part it has one like.
        features: for a graph, the layer whose output a new task reads.
        warns: whether it is said that the penalty of `add_l2_sp` is left out. Defaults to True.

    Raises:
        ValueError: if a new task has no place in it.
    """
    if warns and model.attached is not None:
        logging.warning(
            "The new model of `%s` has no penalty for leaving the starting point: call `add_l2_sp` "
            "on it before `compile`, if it should have one.",
            model.name,
        )
    if isinstance(model, Architecture):
        config = model.get_config()
        for key in model._added_later():
            del config[key]
        changed = _arguments(model, [task.name for task in tasks], like)
        serialize = keras.saving.serialize_keras_object
        config |= {key: serialize(value) for key, value in changed.items()}
        config |= {"tasks": serialize(list(tasks)), "preprocessor": None}
        new: Any = type(model).from_config(config)
        new._held.preprocessor = model.preprocessor  # not its config, which lacks what it adapted
        return new
    config = {**model.get_config(), "preprocessor": None, "attached": None}
    twin: Any = type(model).from_config(config)
    outputs = {}
    for task in tasks:
        if task.name in twin.task_names:
            outputs[task.name] = twin.output[task.name]
        else:
            outputs[task.name] = _drawn(twin, task, like.get(task.name), features)
    return MultiTaskModel(
        twin.input, outputs, name=model.name, tasks=list(tasks), preprocessor=model.preprocessor
    )


# -- architectures: the arguments that name tasks, or depend on how many there are ----------------


def _arguments(model, names, like) -> dict[str, Any]:
    for kind, change in _CHANGED.items():
        if isinstance(model, kind):
            return change(model, names, like)
    return {}


def _tree(model, names, like):
    if model.tree is None:
        return {}
    found = []
    for groups in model.tree:
        is_shared = len(groups) == 1
        kept = [[n for n in group if n in names] for group in groups]
        for new in names:
            if any(new in group for group in groups):
                continue
            joined = next((g for g in kept if like.get(new) in g), kept[0] if is_shared else None)
            if joined is None:
                kept.append([new])
            else:
                joined.append(new)
        found.append([group for group in kept if group])
    return {"tree": found}


def _chain(argument):
    def change(model, names, like):
        return {argument: [name for name in model._held.arguments[argument] if name in names]}

    return change


def _relations(model, names, like):
    relations = {
        child: [parent for parent in parents if parent in names]
        for child, parents in model._held.arguments["relations"].items()
        if child in names
    }
    for new, old in like.items():
        if old in relations:
            relations[new] = relations[old]
    return {"relations": relations}


def _experts(model, names, like):
    def change(of_level):
        if not isinstance(of_level, Mapping):
            return of_level
        return {n: of_level[n] if n in of_level else of_level.get(like.get(n), 1) for n in names}

    counts = model._held.arguments["num_task_experts"]
    listed = isinstance(counts, list | tuple)
    return {"num_task_experts": [change(c) for c in counts] if listed else change(counts)}


def _nodes(model, names, like):
    """As many as there are, of which the number of tasks may have been the default."""
    return {"num_nodes": list(model._node_counts)}


_CHANGED: dict[type, Callable[..., dict[str, Any]]] = {
    HardSharing: _tree,
    AITM: _chain("sequence"),
    ESMM: _chain("funnel"),
    DBMTLNet: _relations,
    PLE: _experts,
    LearningToBranch: _nodes,
}


# -- graphs ---------------------------------------------------------------------------------------


def _drawn(model: Any, task: Task, like: str | None, features: str | None) -> Any:
    """The output of a new task, on a part like another's, or on the output of a layer."""
    if features is not None:
        layer = next((la for la in model.layers if la.name == features), None)
        if layer is None:
            raise ValueError(
                f"`features` should be the name of a layer of `{model.name}`, "
                f"{[la.name for la in model.layers]}. Received: features={features!r}"
            )
        return task.head(layer.output)
    try:
        boundary = split(model, model._ownership).boundary
    except ValueError as reason:
        raise ValueError(
            f"`features` should name the layer of `{model.name}` whose output the task "
            f"`{task.name}` reads, since the graph does not say where its shared part ends: "
            f"{reason}. Received: features=None"
        ) from None
    if like is None:
        if len(boundary) != 1:
            raise ValueError(
                f"`features` should name the layer of `{model.name}` whose output the task "
                f"`{task.name}` reads, or `like` a task whose part it has one like, since "
                f"{len(boundary)} tensors leave its shared part. Received: neither"
            )
        return task.head(boundary[0])
    return _like(model, boundary, task, like)


def _like(model, boundary, task, like):
    """A copy of what one task has of its own, with the head of another."""
    old = model.tasks[like]
    same = type(old) is type(task) and old.output_shape == task.output_shape
    end = model.output[like] if same else _before_head(model, like)
    if any(end is tensor for tensor in boundary):
        return task.head(end)

    def copy(operation):
        name = operation.name
        other = name.replace(like, task.name, 1) if like in name else f"{task.name}_{name}"
        return type(operation).from_config({**operation.get_config(), "name": other})

    drawn, _ = draw_copies(keras.Model(boundary, end), boundary, copy)
    return drawn if same else task.head(drawn)


def _before_head(model, like):
    """The tensor that the head of a task is on: one layer, after a pooling perhaps."""
    layer = model.get_layer(like)
    tensor = layer.input
    before = tensor._keras_history.operation
    return before.input if before.name == f"{like}_pool" else tensor
