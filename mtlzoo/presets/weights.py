"""The arrays of a model: what a preset keeps of it beside its configuration."""

import re
from collections.abc import Mapping

import keras
import numpy as np

from mtlzoo.models.balancer_state import BalancerState
from mtlzoo.models.multi_task_model import MultiTaskModel

# Layers that Keras has named itself have another number in each program.
_NUMBERED = re.compile(r"_\d+(?=/|$)")


def variables_of(model: MultiTaskModel) -> dict[str, keras.Variable]:
    """What a preset keeps, by place and path: the model's weights and those of its preprocessor.

    Places are those of the graph, which zoo models draw in sorted order of the tasks, so that a
    permuted list of tasks gives the same. What the balancers of training know is left out.

    Args:
        model: the model.

    Returns:
        Variables by names such as `0003/mmoe/income/kernel`.
    """
    layers = model._flatten_layers(include_self=False)
    states = [layer for layer in layers if isinstance(layer, BalancerState)]
    left_out = {id(v) for state in states for v in state.variables}
    own = [v for v in model.weights if id(v) not in left_out]
    found = {f"{i:04d}/{v.path}": v for i, v in enumerate(own)}
    if model.preprocessor is not None:
        front = model.preprocessor.weights
        found |= {f"preprocessor/{i:04d}/{v.path}": v for i, v in enumerate(front)}
    return found


def arrays_of(model: MultiTaskModel) -> dict[str, np.ndarray]:
    """The values of `variables_of`.

    Args:
        model: the model.
    """
    named = variables_of(model)
    return {name: keras.ops.convert_to_numpy(v) for name, v in named.items()}


def learned_names(model: MultiTaskModel) -> frozenset[str]:
    """The names in `variables_of` of what gradients change, frozen parts as well.

    Args:
        model: the model.
    """
    layers = model._flatten_layers()
    learned = {id(v) for layer in layers for v in layer._trainable_variables}
    return frozenset(name for name, v in variables_of(model).items() if id(v) in learned)


def assign(model: MultiTaskModel, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a model the arrays of a preset: all of them or, if they do not fit, none.

    Args:
        model: the model.
        arrays: the arrays by name.

    Raises:
        ValueError: if they are not those of such a model.
    """
    named = variables_of(model)
    theirs = {_place(name): (name, array) for name, array in arrays.items()}
    own = {_place(name): (name, variable) for name, variable in named.items()}
    if theirs.keys() != own.keys():
        differing = sorted(theirs.keys() ^ own.keys())[:3]
        raise ValueError(
            f"The preset's weights should be {len(own)} arrays, as its model has. "
            f"Received: {len(theirs)} arrays; one side alone has those at {differing}"
        )
    for place, (name, variable) in own.items():
        given, array = theirs[place]
        if _kind(given) != _kind(name) or array.shape != tuple(variable.shape):
            raise ValueError(
                f"The preset's weights should be those of its model, with `{name}` of shape "
                f"{tuple(variable.shape)}. Received: `{given}` of shape {array.shape} there"
            )
    for place, (_, variable) in own.items():
        variable.assign(theirs[place][1])
    front = [] if model.preprocessor is None else model.preprocessor._flatten_layers()
    for layer in [*model._flatten_layers(), *front]:
        if isinstance(layer, keras.layers.Normalization):  # it computes with copies of them
            layer.finalize_state()


def _place(name: str) -> str:
    """The part of a name that says where in the model the array stands."""
    first, second, *_ = name.split("/", 2)
    return f"{first}/{second}" if first == "preprocessor" else first


def _kind(name: str) -> str:
    """The part of a name that is the same in every program, such as `kernel`."""
    return _NUMBERED.sub("", name.rsplit("/", 1)[-1])
