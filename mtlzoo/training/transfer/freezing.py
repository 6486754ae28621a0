"""Freezing parts of a model."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from absl import logging

from mtlzoo.layers.trainability import own_variables, switch
from mtlzoo.models import optimizers
from mtlzoo.models.compile_checks import check_replicas
from mtlzoo.training.transfer.matching import Layers, close_to, inside, match
from mtlzoo.training.transfer.stages import trunk_stages


def freeze(
    model: keras.Model,
    *layers: str,
    stages: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> list[str]:
    """Keep parts of a model as they are in training.

    What is frozen gets no gradient, no update and no weight decay; batch normalization in it
    computes with the statistics that it has, and these stay. Dropout goes on. Balancers see
    the shared variables that are trained. The optimizer keeps what it has for a frozen variable, so
    that after `unfreeze` training goes on with it. What is frozen is so again in a loaded model.

    Freeze before `compile`, and the optimizer keeps nothing for frozen variables, which saves
    memory; freeze after it, and they can be trained again without another `compile`. A compiled
    model is traced anew at its next step.

    Args:
        model: the model that is trained.
        *layers: names of layers, paths such as `"backbone/conv_1"`, or patterns of either, such as
            `"shared_*"`. What is inside a layer that fits is frozen with it. Without any, and
            without stages and tasks: all that the tasks share.
        stages: names of stages of the trunk, see `trunk_stages`. Defaults to none.
        tasks: names of tasks whose own layers are frozen. Defaults to none.

    Returns:
        The names of the layers with variables that are frozen now.

    Raises:
        ValueError: for what the model does not have; then nothing is frozen.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.training import freeze, unfreeze

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16, 8), tower_units=(4,))
    freeze(model)  # ["shared_0", "shared_1"]
    unfreeze(model, "shared_1")
    freeze(model, tasks=["click"])  # ["click", "click_tower_0"]
    ```
    """
    chosen = inside(_chosen(model, layers, stages, tasks, frozen=False))
    switch(chosen, False)
    trace_again(model)
    return _names(chosen)


def unfreeze(
    model: keras.Model,
    *layers: str,
    stages: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> list[str]:
    """Have frozen parts of a model trained again.

    Where the model was compiled while they were frozen, its optimizer does not know them, and it is
    to be compiled again; a warning says so, and `fit` refuses it until then.

    Args:
        model: the model that is trained.
        *layers: as for `freeze`. Without any, and without stages and tasks: everything.
        stages: as for `freeze`. Defaults to none.
        tasks: as for `freeze`. Defaults to none.

    Returns:
        The names of the layers with variables that are trained now.

    Raises:
        ValueError: for what the model does not have, and on several replicas for batch
            normalization that is not synchronized, in a model that is compiled; then nothing
            changes.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.training import freeze, unfreeze

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16, 8))
    freeze(model)
    unfreeze(model, "shared_1")  # ["shared_1"]
    unfreeze(model)
    ```
    """
    chosen = inside(_chosen(model, layers, stages, tasks, frozen=True))
    train_if_allowed(model, chosen)
    trace_again(model)
    unknown = unknown_to_optimizer(model, chosen)
    if unknown:
        logging.warning(
            "The model `%s` should be compiled again before it is trained, since its optimizer was "
            "built while %s and %d more variables were frozen.",
            model.name,
            unknown[0].path,
            len(unknown) - 1,
        )
    return _names(chosen)


def train(model: keras.Model, layers: Layers) -> None:
    """Have layers trained, and those that hold them count as trained.

    Args:
        model: the model.
        layers: the layers.
    """
    wanted = {id(layer) for layer in layers}
    switch(layers, True)
    holders = [layer for layer in model._flatten_layers() if not layer.trainable]
    switch([h for h in holders if wanted & {id(part) for part in h._flatten_layers()}], True)


def train_if_allowed(model: keras.Model, layers: Layers) -> None:
    """Have layers trained, unless a compiled model cannot train them on its replicas.

    Args:
        model: the model.
        layers: the layers.

    Raises:
        ValueError: as `compile` does; then nothing changes.
    """
    frozen = [layer for layer in model._flatten_layers() if not layer.trainable]
    train(model, layers)
    if not getattr(model, "compiled", False):
        return
    replicas = model.distribute_strategy.num_replicas_in_sync
    try:
        if replicas > 1:
            check_replicas(model, replicas)
    except ValueError:
        switch(frozen, False)
        raise


def unknown_to_optimizer(model: keras.Model, layers: Layers) -> list[keras.Variable]:
    """The variables of layers that the optimizer was not built for.

    Args:
        model: a model; one that is not compiled has no optimizer.
        layers: the layers.
    """
    if not getattr(model, "compiled", False) or not model.optimizer.built:
        return []
    variables = [v for layer in layers for v in own_variables(layer)]
    return optimizers.unknown(model.optimizer, variables)


def trace_again(model: keras.Model) -> None:
    """Have the training step traced anew, where there is one.

    Args:
        model: a model.
    """
    if getattr(model, "train_function", None) is not None:
        model.make_train_function(force=True)


def _chosen(model: Any, layers, stages, tasks, frozen: bool) -> Layers:
    """The layers that the arguments mean."""
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(f"`model` should be a Keras model. Received: model={model!r}")
    if not layers and not stages and not tasks:
        if frozen:
            return inside([model])
        return [layer for stage in trunk_stages(model).values() for layer in stage]
    found = [layer for each in match(model, "layers", layers).values() for layer in each]
    if stages:
        known = trunk_stages(model)
        for stage in _strings("stages", stages):
            if stage not in known:
                raise ValueError(
                    f"`stages` should name stages of the model `{model.name}`; "
                    f"{close_to(stage, list(known))}. Received: {stage!r}"
                )
            found += known[stage]
    for task in _strings("tasks", tasks):
        found += _of_task(model, task)
    return found


def _of_task(model: Any, task: str) -> Layers:
    """The layers all of whose variables belong to a task."""
    if task not in getattr(model, "task_names", ()):
        known = list(getattr(model, "task_names", ()))
        raise ValueError(
            f"`tasks` should name tasks of the model `{model.name}`; {close_to(task, known)}. "
            f"Received: {task!r}"
        )
    ownership = model._ownership
    found = [
        layer
        for layer in inside([model])[1:]
        if layer.variables and all(ownership.of(v) == {task} for v in layer.variables)
    ]
    if not found:
        raise ValueError(
            f"`tasks` should name tasks with layers of their own. Received: {task!r}, which has "
            f"none in the model `{model.name}`"
        )
    return found


def _strings(argument: str, names: Iterable) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"`{argument}` should be a list of names. Received: {argument}={names!r}")
    return list(names)


def _names(layers: Layers) -> list[str]:
    """The names of those layers that have variables of their own."""
    return sorted(layer.name for layer in layers if own_variables(layer))
