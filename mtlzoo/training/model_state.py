"""All that a training has changed in a model, and whose it is."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from mtlzoo.models import optimizers
from mtlzoo.models.second_forward import recurrent_states


def variables(model: Any) -> dict[str, list[keras.Variable]]:
    """The variables that training changes.

    Args:
        model: a compiled multi-task model.

    Returns:
        Those of the `model` (its layers, their random generators and recurrent states, and the
        balancer), of the training `step`, of the `metrics` (and of what else is kept of an epoch)
        and of the `optimizer`.
    """
    step = model._step
    found: dict[str, list[Any]] = {
        "model": [
            *model.variables,
            *recurrent_states(model._flatten_layers(include_self=False)),
        ],
        "step": [*vars(step).values(), *vars(step.failures).values()],
        "metrics": [
            *(variable for metric in model.metrics for variable in metric.variables),
            *(step.record.variables if step.record is not None else []),
        ],
        "optimizer": model.optimizer.variables,
    }
    seen: set[int] = set()
    kept: dict[str, list[keras.Variable]] = {}
    for group, each in found.items():
        kept[group] = []
        for variable in each:
            if isinstance(variable, keras.Variable) and id(variable) not in seen:
                seen.add(id(variable))
                kept[group].append(variable)
    return kept


def identity(model: Any) -> dict[str, Any]:
    """What two models must have in common for one to go on from the other's state.

    Args:
        model: a compiled multi-task model.
    """
    optimizer = model.optimizer
    parts = [optimizer, *(o for o in optimizers.leaves(optimizer) if o is not optimizer)]
    return {
        "tasks": list(model.task_names),
        "balancer": [type(part).__name__ for part in model.balancer.whole],
        "optimizer": [type(part).__name__ for part in parts],
        "variables": {
            group: [[v.path, list(v.shape), str(v.dtype)] for v in each]
            for group, each in variables(model).items()
        },
    }


def build_metrics(model: Any) -> None:
    """Have every metric create its variables, which some of Keras's do at their first update.

    Args:
        model: a compiled multi-task model.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:  # else `compile` has done so
        with strategy.scope():
            strategy.run(model._step.objectives.build_metrics)


def check_identity(model: Any, other: Mapping[str, Any], path: Any) -> None:
    """Refuse the state of another model.

    Args:
        model: a compiled multi-task model.
        other: the `identity` of that which was saved.
        path: of the file.

    Raises:
        ValueError: if it is another.
    """
    own = identity(model)
    for what in ("tasks", "balancer", "optimizer"):
        if own[what] != other[what]:
            raise ValueError(
                f"`path` should be a file of a training with the {what} {own[what]}; give another "
                f"path to begin anew. Received: path={str(path)!r} with {other[what]}"
            )
    for group, variables in own["variables"].items():
        for mine, its in zip(variables, other["variables"][group], strict=False):
            if _comparable(mine) != _comparable(its):
                raise ValueError(
                    f"`path` should be a file of a training of the same model, whose {group} has a "
                    f"variable {_shown(mine)}; give another path to begin anew. "
                    f"Received: path={str(path)!r}, with {_shown(its)} there"
                )
        if len(variables) != len(other["variables"][group]):
            raise ValueError(
                f"`path` should be a file of a training of the same model, whose {group} has "
                f"{len(variables)} variables; give another path to begin anew. "
                f"Received: path={str(path)!r}, with {len(other['variables'][group])}"
            )


def read(model: Any) -> dict[str, Any]:
    """The state of a training; on several workers all have to read it.

    Args:
        model: a compiled multi-task model.
    """
    return {
        "values": {
            group: [keras.ops.convert_to_numpy(v) for v in each]
            for group, each in variables(model).items()
        },
        "metrics_by_replica": [
            [keras.ops.convert_to_numpy(part) for part in parts] for parts in _metric_parts(model)
        ],
        "initial_losses": model._step.initial_losses,
        "selected_tasks": model.selected_tasks,
        "stopped": bool(model.stop_training),
    }


def restore(model: Any, state: Mapping[str, Any]) -> None:
    """Put the state of a training into a model of the same identity.

    Args:
        model: a compiled multi-task model.
        state: what `read` gave.
    """
    for group, values in state["values"].items():
        for variable, value in zip(variables(model)[group], values, strict=True):
            variable.assign(np.asarray(value))
    model._step.initial_losses = dict(state["initial_losses"])
    model.select_tasks(state["selected_tasks"])


def restore_metrics(model: Any, state: Mapping[str, Any]) -> None:
    """Put the metrics back where they were in the middle of an epoch.

    Args:
        model: a compiled multi-task model.
        state: what `read` gave.
    """
    for variable, value in zip(
        variables(model)["metrics"], state["values"]["metrics"], strict=True
    ):
        variable.assign(np.asarray(value))
    kept = state["metrics_by_replica"]
    for parts, values in zip(_metric_parts(model), kept, strict=False):
        if len(parts) == len(values):  # else on another number of replicas than before
            for part, value in zip(parts, values, strict=True):
                part.assign(value)


def _metric_parts(model: Any) -> list[tuple]:
    """By metric variable what each replica has of it, which is summed in another order later.

    Of several workers, each sees its own only, so that there it is left out.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1 or strategy.cluster_resolver is not None:
        return []
    return [
        strategy.experimental_local_results(variable.value)
        for variable in variables(model)["metrics"]
    ]


def _comparable(variable: list) -> list:
    """Without the numbers by which Keras keeps names apart in one process."""
    path, shape, dtype = variable
    return [re.sub(r"_\d+(?=[_/]|$)", "", path), shape, dtype]


def _shown(variable: list) -> str:
    path, shape, dtype = variable
    return f"`{path}` {tuple(shape)} of {dtype}"
