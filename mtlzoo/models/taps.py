"""What layers of a functional model put out, also of those inside the models that it is made of."""

from collections.abc import Sequence
from typing import Any

import keras

from mtlzoo.models import graph


def tapped(model: keras.Model, names: Sequence[str], argument: str) -> tuple[Any, dict[str, Any]]:
    """The outputs of a functional model, and those of some of its layers, in one graph.

    Args:
        model: a functional model.
        names: names of layers; `"backbone/stage_1"` is a layer of the model `backbone` inside. One
            inside may be named alone where no other layer has its name.
        argument: what gave the names, for messages.

    Returns:
        The outputs, in the structure of `model.output`, and a dict of tensors by the names given.

    Raises:
        ValueError: if there is no such layer, or several of that name, or if it is called several
            times or puts out something else than one tensor.
    """
    paths = {name: _path(model, name, argument) for name in names}
    if all(len(path) == 1 for path in paths.values()):
        found = {n: graph.outputs_of(model, model.get_layer(p[0])) for n, p in paths.items()}
        outputs = model.output
    else:
        outputs, found = _drawn(model, paths)
    for name, tensors in found.items():
        if len(tensors) != 1:
            raise ValueError(
                f"`{argument}` should be a layer of the model `{model.name}` that puts out one "
                f"tensor. Received: {argument}={name!r}, which puts out {len(tensors)}"
            )
    return outputs, {name: tensors[0] for name, tensors in found.items()}


def _drawn(model, paths):
    """The outputs of the model drawn again on its inputs, and the lists of tensors by name."""
    found: dict[str, list] = {name: [] for name in paths}

    def operation(own):
        here = [name for name, path in paths.items() if path == (own.name,)]
        inside = {n: path[1:] for n, path in paths.items() if path[0] == own.name and path[1:]}
        larger = _larger(own, inside) if inside else None

        def call(*args, **kwargs):
            if larger is None:
                outputs = own(*args, **kwargs)
            else:
                outputs, tensors = larger(*args, **kwargs)
                for name, tensor in tensors.items():
                    found[name].append(tensor)
            for name in here:
                found[name] += keras.tree.flatten(outputs)
            return outputs

        return call

    outputs = model._run_through_graph(model.inputs, operation_fn=operation)
    return outputs, found


def _larger(model, paths):
    """The model with the tensors of layers as further outputs."""
    outputs, found = _drawn(model, paths)
    tensors = {name: tensor for name, tensors in found.items() for tensor in tensors}
    return keras.Model(model.input, [outputs, tensors], name=model.name)


def _path(model, name: Any, argument: str) -> tuple[str, ...]:
    """The names of the models that the layer is inside, and its own."""
    known = _paths(model)
    wanted = tuple(name.split("/")) if isinstance(name, str) else ()
    fitting = [path for path in known if path == wanted]
    fitting = fitting or [path for path in known if path[-len(wanted) :] == wanted]
    if len(fitting) == 1 and wanted:
        return fitting[0]
    listed = ["/".join(path) for path in (fitting or known)]
    what = "one layer" if fitting else "a layer"
    raise ValueError(
        f"`{argument}` should name {what} of the model `{model.name}`, whose layers "
        f"{'of that name ' if fitting else ''}are {listed}. Received: {argument}={name!r}"
    )


def _paths(model) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        found.append((layer.name,))
        if hasattr(layer, "_run_through_graph") and not isinstance(layer, keras.Sequential):
            found += [(layer.name, *path) for path in _paths(layer)]
    return found
