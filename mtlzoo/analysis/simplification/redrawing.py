"""A trained model drawn again as a plain graph, with other layers in place of some."""

import contextlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.layers.trainability import switch
from mtlzoo.models import MultiTaskModel
from mtlzoo.models.stages import as_functional, copy_weights, draw_again, is_network


@dataclass
class Replacement:
    """What stands in place of a layer.

    Attributes:
        layers: New layers that are called one after the other.
        weights: Those of each, in the order of `get_weights`.
    """

    layers: list[Any]
    weights: list[list[np.ndarray]]


@contextlib.contextmanager
def same_seeds_after() -> Iterator[None]:
    """Leave Python's random numbers, of which layers that are made draw seeds, as they were."""
    before = random.getstate()
    try:
        yield
    finally:
        random.setstate(before)


def check_model(model: Any) -> MultiTaskModel:
    """Refuse what cannot be made smaller here.

    Args:
        model: What should be a multi-task model with tasks.

    Raises:
        ValueError: If it is none, has no tasks, is trained together with others, is quantized, or
            has updates of low rank beside its kernels.
    """
    if not isinstance(model, MultiTaskModel):
        raise ValueError(
            f"`model` should be a `MultiTaskModel`. Received: a {type(model).__name__}"
        )
    if not model.tasks:
        raise ValueError(
            "`model` should have tasks: make it with `tasks=`, or `compile` it before. "
            f"Received: `{model.name}`, without tasks"
        )
    if model.row_of:
        raise ValueError(
            "`model` should be the student alone, `model.student`, not what teaches it too. "
            f"Received: `{model.name}`"
        )
    for layer in model._flatten_layers(include_self=False):
        if getattr(layer, "quantization_mode", None) is not None:
            raise ValueError(
                "`model` should not be quantized: that is the last step. "
                f"Received: `{model.name}`, whose layer `{layer.name}` is"
            )
        if getattr(layer, "lora_enabled", False):
            raise ValueError(
                "`model` should have no updates of low rank beside its kernels. "
                f"Received: `{model.name}`, whose layer `{layer.name}` has one"
            )
    return model


def redrawn(
    model: MultiTaskModel, replacements: Mapping[int, Replacement] | None = None
) -> tuple[MultiTaskModel, list[tuple[Any, Any]]]:
    """The model as a plain `MultiTaskModel` with variables of its own, models inside taken apart.

    It is not compiled, and is no architecture of the zoo any more: what those let one read is gone.
    A layer inside a model keeps its name, with that of the model before it where another one has
    it.

    Args:
        model: The model.
        replacements: What stands in place of layers, by their `id`. Defaults to `None`.

    Returns:
        The new model, and the pairs of old operations and the last of what stands in their place.

    Raises:
        ValueError: For a layer that cannot be made again from its config, and for two that have a
            variable in common, which would then be two.
    """
    _check_variables(model)
    warn_of_penalty(model)
    replacements = replacements or {}
    names = _names(model)
    made: dict[int, tuple[Any, list[Any]]] = {}  # the original keeps its id taken

    def chain_of(operation):
        if id(operation) not in made:
            own = replacements.get(id(operation))
            chain = own.layers if own else [_again(operation, names[id(operation)])]
            made[id(operation)] = operation, chain
        return made[id(operation)][1]

    def caller(training):
        def operation(original):
            def call(*args, **kwargs):
                told = kwargs.get("training", training)
                if is_network(original):
                    part = as_functional(original)
                    features = args[0] if args else kwargs["inputs"]
                    return draw_again(part, features, caller(told))
                if training is not None and getattr(original, "_call_has_training_arg", False):
                    kwargs = {**kwargs, "training": told}
                first, *others = chain_of(original)
                outputs = first(*args, **kwargs)
                for layer in others:
                    outputs = layer(outputs)
                return outputs

            return call

        return operation

    inputs = keras.tree.map_structure(_input_like, model.input)
    outputs = draw_again(model, inputs, caller(None))
    tasks = list(model.tasks.values())
    new = MultiTaskModel(
        inputs, outputs, name=model.name, tasks=tasks, preprocessor=model.preprocessor
    )
    for original, chain in made.values():
        own = replacements.get(id(original))
        if own:
            for layer, values in zip(chain, own.weights, strict=True):
                layer.set_weights(values)
        elif isinstance(original, keras.layers.Layer):
            copy_weights(original, chain[0])
            for old, layer in zip(
                original._flatten_layers(), chain[0]._flatten_layers(), strict=True
            ):
                if layer.trainable and not old.trainable:
                    switch([layer], False)
    return new, [(original, chain[-1]) for original, chain in made.values()]


def warn_of_penalty(model: MultiTaskModel) -> None:
    """Say that a model made of another one is without its penalty of `add_l2_sp`.

    Args:
        model: The other one.
    """
    if model.attached is not None:
        logging.warning(
            "What is made of `%s` has no penalty for leaving the starting point: call `add_l2_sp` "
            "on it before `compile`, if it should have one.",
            model.name,
        )


def _input_like(tensor):
    """A new input as the one that a model has."""
    return keras.layers.InputLayer.from_config(tensor._keras_history.operation.get_config()).output


def _check_variables(model: Any) -> None:
    owners: dict[int, Any] = {}
    for operation in _operations(model):
        for variable in getattr(operation, "variables", []):
            first = owners.setdefault(id(variable), operation)
            if first is not operation:
                raise ValueError(
                    "`model` should have no variable inside two layers, which no graph of copies "
                    f"can share. Received: `{model.name}`, whose layers `{first.name}` and "
                    f"`{operation.name}` have `{variable.path}`"
                )


def _operations(network: Any) -> Iterator[Any]:
    """Those of a model and of the models inside it."""
    for operation in as_functional(network).operations:
        if is_network(operation):
            yield from _operations(operation)
        else:
            yield operation


def _names(model: Any) -> dict[int, str]:
    """By `id` of each operation a name that no other one has."""
    found: dict[int, tuple[str, ...]] = {}

    def visit(network, path):
        for operation in as_functional(network).operations:
            own = (*path, operation.name)
            if is_network(operation):
                visit(operation, own)
            else:
                found.setdefault(id(operation), own)

    visit(model, ())
    counts = Counter(path[-1] for path in found.values())
    taken = {path[-1] for path in found.values() if len(path) == 1}
    names: dict[int, str] = {}
    for key, path in found.items():
        name = path[-1]
        if len(path) > 1 and counts[name] > 1:
            name = "_".join(path)
            while name in taken:
                name = f"{name}_again"
        taken.add(name)
        names[key] = name
    return names


def _again(operation: Any, name: str) -> Any:
    """A new operation of the same config."""
    try:
        return type(operation).from_config({**operation.get_config(), "name": name})
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            "`model` should be made of layers that can be made again from their config. Received: "
            f"the layer `{operation.name}`, a {type(operation).__name__}: {str(error)[:200]}"
        ) from error
