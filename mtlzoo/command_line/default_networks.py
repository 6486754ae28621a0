"""What a model is built with where nothing else is said: a backbone for each kind of input."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from mtlzoo import models, tasks
from mtlzoo.backbones import (
    AudioEncoder,
    ConvNet,
    ResNet,
    SensorEncoder,
    TabularEncoder,
    TextEncoder,
)
from mtlzoo.command_line.command import UsageError
from mtlzoo.data import Loaded

# What the command line gives itself, or cannot: networks are made in Python.
RESERVED = ("inputs", "tasks", "preprocessor", "backbone", "encoders", "expert_network", "name")
# These answer at each position of a sequence or a map.
_BY_POSITION = (
    tasks.SemanticSegmentation,
    tasks.DepthEstimation,
    tasks.SurfaceNormalEstimation,
    tasks.ObjectDetection,
    tasks.SequenceTagging,
    tasks.SpanExtraction,
)
# Widths where the inputs are columns, in place of constructors' defaults of none or of a paper's
# few units. Those of the recipes on census data.
_OF_COLUMNS = {
    "shared_units": (128,),
    "units": (128, 64),
    "expert_units": (64,),
    "subnetwork_units": (64, 64),
    "tower_units": (32,),
}
_EMBEDDING_DIM = 16
_SMALL_PICTURE, _LARGE_PICTURE = 64, 128  # pixels of a side


class Network(NamedTuple):
    """What a constructor is given.

    Attributes:
        arguments: the arguments by name.
        said: what was chosen, in words.
    """

    arguments: dict[str, Any]
    said: list[str]


def network(architecture: type, loaded: Loaded, given: Mapping[str, Any]) -> Network:
    """Arguments of an architecture for a data set.

    Args:
        architecture: a class of the zoo.
        loaded: the data set, with the tasks that are wanted.
        given: what was asked for; it stays as it is.

    Raises:
        UsageError: the architecture needs other inputs, or an argument that is not given.
    """
    name = architecture.__name__
    kinds = kinds_of(loaded)
    shown = ", ".join(f"`{each}` ({kind})" for each, kind in kinds.items())
    accepted = inspect.signature(architecture).parameters
    _check_required(architecture, given)
    positions = architecture is models.TaskQueryAttention or any(
        isinstance(task, _BY_POSITION) for task in loaded.tasks
    )
    is_columns = set(kinds.values()) <= {"numbers", "ids"}
    said: list[str] = []
    arguments: dict[str, Any] = {}
    if architecture is models.CrossModalFusion:
        if len(kinds) < 2 or is_columns:
            raise UsageError(
                f"`{name}` needs inputs of several kinds, such as a picture and a text. "
                f"Received: {shown}. See `mtlzoo list models` for those that read one"
            )
        encoders = {}
        for each, kind in kinds.items():
            encoders[each] = _encoder(each, kind, loaded, positions, said)
        arguments["encoders"] = {k: v for k, v in encoders.items() if v is not None}
    elif is_columns:
        if architecture is models.TaskQueryAttention:
            raise UsageError(
                f"`{name}` needs an input with positions: a picture, a text, a series or a sound. "
                f"Received: {shown}"
            )
        if _needs_table(loaded, kinds):
            arguments["backbone"] = _table(loaded, kinds, said)
        for key, value in _OF_COLUMNS.items():
            if key in accepted and _is_slight(accepted[key].default) and key not in given:
                arguments[key] = value
                said.append(f"{key}={value}")
    elif len(kinds) > 1:
        raise UsageError(
            f"`{name}` reads inputs of one kind. Received: {shown}. `CrossModalFusion` fuses "
            "several; a network that joins them for another model is made in Python, as `backbone`"
        )
    else:
        ((each, kind),) = kinds.items()
        arguments["backbone"] = _encoder(each, kind, loaded, positions, said)
        if "expert_units" in accepted and "expert_units" not in given:
            arguments["expert_units"] = _OF_COLUMNS["expert_units"]
            said.append(f"expert_units={_OF_COLUMNS['expert_units']}")
    said += [f"{key}={value!r}" for key, value in given.items()]
    return Network({**arguments, **given}, said)


def kinds_of(loaded: Loaded) -> dict[str, str]:
    """By input what it is: `"numbers"`, `"ids"`, `"text"`, `"picture"`, `"series"` or `"sound"`.

    Inputs that say whether another one is there are left out.
    """
    inputs = inputs_by_name(loaded)
    raw = {} if loaded.preprocessor is None else inputs_of(loaded.preprocessor)
    found = {}
    for name, tensor in inputs.items():
        if tensor.dtype == "bool" and name.removesuffix("_present") in inputs:
            continue
        rank = len(tensor.shape)
        if "int" in tensor.dtype:
            found[name] = "text" if rank == 2 and tensor.shape[1] != 1 else "ids"
        elif rank <= 2:
            # A waveform is kept as 16-bit integers.
            is_sound = name in raw and raw[name].dtype == "int16"
            found[name] = "sound" if is_sound else "numbers"
        elif rank in (3, 4):
            found[name] = "series" if rank == 3 else "picture"
        else:
            raise UsageError(
                f"There is no default network for the input `{name}` of shape {tensor.shape}. "
                "A model of it is made in Python, with a `backbone`"
            )
    return found


def inputs_by_name(loaded: Loaded) -> dict[str, Any]:
    """The inputs of a data set's models, by name."""
    given = loaded.inputs
    return dict(given) if isinstance(given, Mapping) else {given.name: given}


def inputs_of(model: keras.Model) -> dict[str, Any]:
    """The inputs of a model by name."""
    return {tensor.name: tensor for tensor in model.inputs}


def _check_required(architecture: type, given: Mapping[str, Any]) -> None:
    for key, each in inspect.signature(architecture).parameters.items():
        if each.default is each.empty and key not in (*RESERVED, *given):
            raise UsageError(
                f"`{architecture.__name__}` needs `{key}`: give it by --set {key}=VALUE, such as "
                f"--set \"{key}=['first','second']\". `mtlzoo describe {architecture.__name__}` "
                "says what it is"
            )


def _is_slight(default: Any) -> bool:
    """Whether a constructor's widths are none, or a paper's few units."""
    return default is None or (isinstance(default, tuple) and sum(default) <= 32)


def _needs_table(loaded: Loaded, kinds: Mapping[str, str]) -> bool:
    vectors = all(len(tensor.shape) == 2 for tensor in inputs_by_name(loaded).values())
    return "ids" in kinds.values() or not vectors


def _table(loaded: Loaded, kinds: Mapping[str, str], said: list[str]) -> keras.Model:
    ids = _numbers_of_ids([name for name, kind in kinds.items() if kind == "ids"], loaded)
    tensors = inputs_by_name(loaded)
    dense = {
        name: 1 if len(tensors[name].shape) == 1 else tensors[name].shape[1]
        for name, kind in kinds.items()
        if kind == "numbers"
    }
    said.append(f"a TabularEncoder of {', '.join([*ids, *dense])}")
    encoder = TabularEncoder(ids, dense)
    if all(len(tensors[name].shape) == 2 for name in dense):
        return encoder
    inputs = {
        name: keras.Input(t.shape[1:], dtype=t.dtype, name=name) for name, t in tensors.items()
    }
    # Keras does not know how wide a column of single numbers is.
    columns = {
        name: keras.layers.Reshape((1,), name=f"{name}_column")(tensor)
        if name in dense and len(tensor.shape) == 1
        else tensor
        for name, tensor in inputs.items()
    }
    return keras.Model(inputs, encoder(columns), name="table")


def _encoder(
    name: str, kind: str, loaded: Loaded, positions: bool, said: list[str]
) -> keras.Model | None:
    """A new network for an input; `None` for vectors of numbers, which need none."""
    shape = inputs_by_name(loaded)[name].shape[1:]
    if kind == "numbers":
        column = [keras.Input(shape), keras.layers.Reshape((1,))]
        return None if len(shape) == 1 else keras.Sequential(column, name=f"{name}_column")
    if kind == "ids":
        embed = keras.layers.Embedding(_number_of_ids(name, loaded), _EMBEDDING_DIM)
        layers = [keras.Input(shape, dtype="int32"), embed, keras.layers.Reshape((-1,))]
        said.append(f"an embedding for `{name}`")
        return keras.Sequential(layers, name=f"{name}_embedding")
    made = _ENCODERS[kind](name, shape, loaded, positions)
    said.append(f"{type(made).__name__} for `{name}`, a {kind}")
    return made


def _picture(name: str, shape: tuple, loaded: Loaded, positions: bool) -> keras.Model:
    height, width, _ = shape
    if positions:
        large = None in (height, width) or min(height, width) > _SMALL_PICTURE
        return ResNet(
            shape,
            (1, 1, 1, 1),
            (32, 64, 128, 128),
            stem="large" if large else "small",
            output_stride=8 if large else 4,
            pooled=False,
        )
    if None in (height, width) or max(height, width) > _SMALL_PICTURE:
        large = None in (height, width) or min(height, width) > _LARGE_PICTURE
        stem = "large" if large else "small"
        return ResNet(shape, (1, 1, 1), (32, 64, 128), stem=stem)
    return ConvNet(shape)


def _text(name: str, shape: tuple, loaded: Loaded, positions: bool) -> keras.Model:
    words = _number_of_ids(name, loaded)
    return TextEncoder(words, shape[0], width=64, num_layers=1, pooled=not positions)


def _series(name: str, shape: tuple, loaded: Loaded, positions: bool) -> keras.Model:
    return SensorEncoder(*shape, pooled=not positions)


def _sound(name: str, shape: tuple, loaded: Loaded, positions: bool) -> keras.Model:
    return AudioEncoder(shape[0], pooled=not positions)


_ENCODERS: dict[str, Callable[..., keras.Model]] = {
    "picture": _picture,
    "text": _text,
    "series": _series,
    "sound": _sound,
}


def _number_of_ids(name: str, loaded: Loaded) -> int:
    return _numbers_of_ids([name], loaded)[name]


def _numbers_of_ids(names: Sequence[str], loaded: Loaded) -> dict[str, int]:
    """How many ids inputs may have: what the preprocessor knows, else what the data has."""
    found: dict[str, int] = {}
    front = loaded.preprocessor
    if front is not None:
        output = front.output
        for name in names:
            part = keras.Model(front.input, output[name] if isinstance(output, Mapping) else output)
            sizes = [
                layer.vocabulary_size()
                for layer in part.layers
                if hasattr(layer, "vocabulary_size")
            ]
            if sizes:
                found[name] = max(sizes)
    unknown = [name for name in names if name not in found]
    if unknown:
        most = dict.fromkeys(unknown, 0)
        for rows in (loaded.train, loaded.valid, loaded.test):
            for x, *_ in rows:
                for name in unknown:
                    ids = np.asarray(x[name] if isinstance(x, Mapping) else x)
                    most[name] = max(most[name], int(ids.max(initial=0)))
        found |= {name: largest + 1 for name, largest in most.items()}
    return {name: found[name] for name in names}
