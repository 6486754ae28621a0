"""The graph of one task drawn again, layer by layer, with what is inside nested models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from mtlzoo.models.stages import draw_again

_HINT = ", which are what `model.preprocessor` makes of raw columns"


@dataclass(frozen=True)
class Place:
    """What one layer, or other operation, puts out.

    Attributes:
        name: of the layer, after those of the models that it is inside: `"encoder/conv_1"`.
        operation: the layer.
        tensor: the symbolic tensor.
        reads: names of the inputs that it depends on.
        from_numbers: whether what it is made from holds numbers, not ids or flags alone.
        index: its place in the order of all, since a layer may be called several times.
    """

    name: str
    operation: Any
    tensor: Any
    reads: frozenset[str]
    from_numbers: bool
    index: int

    @property
    def is_float(self) -> bool:
        """Whether it holds numbers that have a gradient."""
        return is_float(self.tensor)


def is_float(tensor: Any) -> bool:
    """Whether a symbolic tensor holds numbers that have a gradient."""
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))


def check_task(model: Any, task: str) -> None:
    """Refuse what is no model with an output for this task.

    Raises:
        ValueError: naming the tasks that there are.
    """
    outputs = getattr(model, "output", None) if isinstance(model, keras.Model) else None
    if not isinstance(outputs, Mapping):
        raise ValueError(
            "`model` should be a functional Keras model whose outputs are a dict by task, such as "
            f"a `MultiTaskModel`. Received: model={model!r}"
        )
    if task not in outputs:
        raise ValueError(
            f"`task` should be one of the tasks {sorted(outputs)}. Received: task={task!r}"
        )


def input_names(model: keras.Model) -> list[str]:
    """How the inputs of a model are called: by the keys of a dict, else by their own names."""
    if isinstance(model.input, Mapping):
        return list(model.input)
    return [tensor.name for tensor in model.inputs]


def inputs_by_name(model: keras.Model, x: Any) -> dict[str, Any]:
    """What is fed to a model, by the names of its inputs.

    Raises:
        ValueError: if an input is missing.
    """
    names = input_names(model)
    if isinstance(x, Mapping):
        missing = [name for name in names if name not in x]
        if missing:
            has_own = getattr(model, "preprocessor", None) is not None
            raise ValueError(
                f"`x` should have an entry for each of the inputs {names}{_HINT * has_own}. "
                f"Received: one without {missing}"
            )
        return {name: x[name] for name in names}
    parts = list(x) if isinstance(x, list | tuple) and len(names) > 1 else [x]
    if len(parts) != len(names):
        raise ValueError(
            f"`x` should be a dict or a list of the {len(names)} inputs {names}. "
            f"Received: {len(parts)} of them"
        )
    return dict(zip(names, parts, strict=True))


def tensors_by_name(model: keras.Model) -> dict[str, Any]:
    """The symbolic inputs of a model, by name."""
    if isinstance(model.input, Mapping):
        return dict(model.input)
    return {tensor.name: tensor for tensor in model.inputs}


def draw(
    model: keras.Model,
    task: str,
    inputs: Mapping[str, Any],
    opened: Sequence[str],
    change: Callable[[Place], Any] | None = None,
) -> tuple[Any, list[Place]]:
    """Draw what one task depends on again, with the same layers.

    Functional models inside that read an opened input are drawn as their layers, so that
    what these put out is part of the graph. One whose layers have names that others have too stays
    whole.

    Args:
        model: a functional model with a dict of outputs.
        task: the task.
        inputs: by name of an input, the symbolic tensor in its place.
        opened: names of the inputs that are of interest.
        change: from what a layer puts out to the tensor that others are to read in its place, or
            `None` to leave it. Defaults to no changes.

    Returns:
        The task's output, and what all layers put out, inputs first.
    """
    part = keras.Model(list(tensors_by_name(model).values()), model.output[task])
    return _Drawing(part, inputs, frozenset(opened), change).draw(part, list(inputs.values()))


class _Drawing:
    def __init__(self, part, inputs, opened, change):
        self.opened, self.change = opened, change
        self.reads = {id(t): frozenset({name}) for name, t in inputs.items()}
        self.kept = list(inputs.values())  # so that ids stay taken
        self.names = {operation.name for operation in part.operations}
        self.whole: dict[int, bool] = {}
        self.functional_call = type(part).call
        self.places: list[Place] = []

    def draw(self, part, features):
        return draw_again(part, features, self.caller(())), self.places

    def caller(self, path):
        """What is called in place of each operation of the model at `path`."""

        def operation(own):
            def call(*args, **kwargs):
                tensors = [t for t in keras.tree.flatten((args, kwargs)) if hasattr(t, "dtype")]
                reads = frozenset().union(*(self.reads.get(id(t), ()) for t in tensors))
                inner = self.inside(own, args, kwargs) if reads & self.opened else None
                if inner is None:
                    outputs = own(*args, **kwargs)
                else:
                    features = _as_expected(inner, args[0])
                    outputs = draw_again(inner, features, self.caller((*path, own.name)))
                name = "/".join((*path, own.name))
                from_numbers = any(map(is_float, tensors))
                return keras.tree.map_structure(
                    lambda t: self.note(Place(name, own, t, reads, from_numbers, len(self.places))),
                    outputs,
                )

            return call

        return operation

    def note(self, place):
        changed = self.change(place) if self.change else None
        tensor = place.tensor if changed is None else changed
        self.reads[id(tensor)] = place.reads
        self.kept.append(tensor)
        self.places.append(place)
        return tensor

    def inside(self, operation, args, kwargs):
        """The functional model that a layer is, if it can be drawn as its layers."""
        masks = keras.tree.flatten(kwargs.get("mask"))
        if len(args) != 1 or any(mask is not None for mask in masks):
            return None
        if isinstance(operation, keras.Sequential):
            inner = keras.Model(operation.inputs, operation.outputs[0], name=operation.name)
        elif getattr(type(operation), "call", None) is self.functional_call:
            inner = operation
        else:
            return None
        if id(operation) not in self.whole:  # it may be called several times
            names = {o.name for o in inner.operations if not isinstance(o, keras.layers.InputLayer)}
            self.whole[id(operation)] = bool(names & self.names)
            self.names |= set() if self.whole[id(operation)] else names
        return None if self.whole[id(operation)] else inner


def _as_expected(inner, features):
    """The tensors that a model is called on, in the dtypes and ranks that its inputs have."""
    if isinstance(features, Mapping):
        expected = tensors_by_name(inner)
        known = {key: t for key, t in features.items() if key in expected}
        return {key: _cast(t, expected[key]) for key, t in known.items()}
    flat = keras.tree.flatten(features)
    return [_cast(t, like) for t, like in zip(flat, inner.inputs, strict=True)]


def _cast(tensor, like):
    if keras.backend.standardize_dtype(tensor.dtype) != like.dtype:
        tensor = ops.cast(tensor, like.dtype)
    if len(tensor.shape) == len(like.shape) - 1 and like.shape[-1] == 1:
        return ops.expand_dims(tensor, -1)
    return tensor
