"""The inputs of several models together."""

from collections.abc import Mapping
from typing import Any

import keras

from mtlzoo.models import MultiTaskModel
from mtlzoo.models.graph import is_automatic


def joined(members: Mapping[str, MultiTaskModel]) -> tuple[Any, dict[str, Any]]:
    """New inputs of all members together, and what each reads of them.

    Args:
        members: the models by name.

    Returns:
        The inputs, those of one name once, in the structure of the members' own if that is the
        same for all, else a dict by name; and by member the inputs in its structure.

    Raises:
        ValueError: for inputs of one name that differ, or a model named as an input or as another.
    """
    first, *others = members.values()
    specs = [keras.tree.map_structure(_spec, model.input) for model in (first, *others)]
    if all(spec == specs[0] for spec in specs):
        inputs = keras.tree.map_structure(_new, first.input)
        _check_names(members, inputs)
        return inputs, dict.fromkeys(members, inputs)
    by_name: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for member, model in members.items():
        for tensor in model.inputs:
            name = tensor.name
            if name in by_name and _spec(by_name[name]) != _spec(tensor):
                raise ValueError(
                    f"`members` should have inputs of one name in one shape and dtype. Received: "
                    f"{name!r} is {_words(by_name[name])} in `{owner[name]}` and {_words(tensor)} "
                    f"in `{member}`"
                )
            if name not in by_name:
                by_name[name], owner[name] = _new(tensor), member
    _check_names(members, by_name)
    read = {
        member: keras.tree.map_structure(lambda tensor: by_name[tensor.name], model.input)
        for member, model in members.items()
    }
    return by_name, read


def _check_names(members: Mapping[str, MultiTaskModel], inputs: Any) -> None:
    """Refuse what Keras would refuse without naming the member."""
    taken = {tensor.name: "an input" for tensor in keras.tree.flatten(inputs)}
    for member, model in members.items():
        if model.name in taken:
            raise ValueError(
                f"Member `{member}` should be a model with a name of its own: give it another "
                f"`name`. Received: model `{model.name}`, and {taken[model.name]} of that name"
            )
        taken[model.name] = f"member `{member}`"


def _spec(tensor: Any) -> tuple:
    name = None if is_automatic(tensor.name) else tensor.name
    return name, tuple(tensor.shape[1:]), str(tensor.dtype)


def _words(tensor: Any) -> str:
    return f"of shape {tuple(tensor.shape)} and dtype {tensor.dtype}"


def _new(tensor: Any) -> Any:
    return keras.layers.InputLayer.from_config(tensor._keras_history.operation.get_config()).output
