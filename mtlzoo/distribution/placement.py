"""Parts of a model on devices of their own: model parallelism."""

import fnmatch
from collections.abc import Mapping

import keras

from mtlzoo.distribution.devices import check_device
from mtlzoo.distribution.plan import Plan, layers_inside
from mtlzoo.models import MultiTaskModel
from mtlzoo.models.graph import nodes_from_inputs


def place(model: MultiTaskModel, devices: Mapping[str, str]) -> None:
    r"""Put layers of a model on devices: their variables, what the optimizer keeps for these, and
    what they compute, forward and backward.

    Nothing else changes: the model trains to the same numbers by the same step, and is saved,
    loaded and exported without the plan. `model.summary()` shows it. A model that is compiled goes
    on where it was.

    A layer is the unit. Layers inside a nested functional model can be placed too; experts that are
    computed together, as those of `MMoE` by default, are one layer.

    Args:
        model: a multi-task model, on one replica.
        devices: by name of a layer, or pattern of names such as `"tower_*"`, the device, such as
            `"GPU:1"`. The first pattern that fits a layer counts. Layers that none fits are where
            TensorFlow puts them, so that an empty dict takes an earlier plan back.

    Raises:
        ValueError: for a device that is not there, or a pattern that fits no layer.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression, distribution

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16,), tower_units=(8,))
    distribution.place(model, {"click_*": "CPU:0", "shared_*": "CPU:0"})
    model.compile("adam", balancer="pcgrad")
    model.summary()
    ```
    """
    if not isinstance(devices, Mapping):
        raise ValueError(
            "`devices` should be a dict from names of layers to devices. "
            f"Received: devices={devices!r}"
        )
    checked = {
        pattern: check_device(f"devices[{pattern!r}]", name) for pattern, name in devices.items()
    }
    plan = Plan.of(model)
    found: dict[str, list] = {pattern: [] for pattern in checked}
    names: list[str] = []
    _match(model, checked, found, names)
    for pattern, operations in found.items():
        if not operations:
            raise ValueError(
                "`devices` should name layers of the model, "
                f"{sorted(set(names))}. Received: {pattern!r}, which fits none"
                + (" that an earlier pattern does not" if fnmatch.filter(names, pattern) else "")
            )
    placed = [(o, device) for p, device in checked.items() for o in found[p]]
    staged = {id(operation) for operation, _ in plan.staged}
    for operation, _ in placed:
        if id(operation) in staged:
            raise ValueError(
                "`devices` should name layers that are in no stage with a device of its own. "
                f"Received: {operation.name!r}"
            )
    rows = [row(pattern, device, found[pattern]) for pattern, device in checked.items()]
    rows_of_all = {**plan.rows, "place": rows}
    Plan(placed, plan.stages, plan.stage_of, plan.staged, rows_of_all).give_to(model)


def row(what: str, device: str, operations: list) -> list[str]:
    """A row of `summary`: what is where, how many layers, how many parameters."""
    layers = {id(o): o for o in operations if isinstance(o, keras.layers.Layer)}
    weights = {id(v): v for layer in layers.values() for v in layer.weights}
    count = sum(int(keras.ops.size(v)) for v in weights.values())
    return [what, device.removeprefix("/device:"), f"{len(layers)}", f"{count:,}"]


def _match(model, devices: Mapping[str, str], found: dict, names: list[str]) -> None:
    """Find the layers that each pattern fits; where a model inside fits, it is placed whole."""
    for node in nodes_from_inputs(model):
        operation = node.operation
        if node.is_input or any(operation is o for each in found.values() for o in each):
            continue
        names.append(operation.name)
        fitting = [p for p in devices if fnmatch.fnmatchcase(operation.name, p)]
        if fitting:
            found[fitting[0]].append(operation)
        elif layers_inside(operation):
            _match(operation, devices, found, names)
