"""The checks of a training's health that look at variables, statistics and a probe."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from mtlzoo.analysis.attention.reading import read_attention, reader_of
from mtlzoo.analysis.health.checks import HealthLimits, HealthWarning
from mtlzoo.analysis.health.units import relu_outputs
from mtlzoo.models.gramian_record import told_apart
from mtlzoo.models.graph import Ownership

# Signs of a collapse that are faults at any time; gates that do not choose yet are not.
EXPERTS = ("idle", "alone", "dead", "same")


def variables(model: Any, owners: Ownership, epoch: int) -> Iterator[HealthWarning]:
    """Variables with a value that is not finite.

    Args:
        model: The model.
        owners: Which tasks depend on which variable.
        epoch: From 1.
    """
    for variable in model.variables:
        if not keras.backend.is_float_dtype(variable.dtype):
            continue
        # One number travels from the device, and not the whole variable.
        faults = keras.ops.sum(keras.ops.cast(~keras.ops.isfinite(variable), "float32"))
        count = float(keras.ops.convert_to_numpy(faults))
        if count:
            tasks = tuple(sorted(owners.of(variable)))
            yield HealthWarning(
                epoch,
                "non_finite",
                tasks,
                variable.path,
                count,
                f"The variable `{variable.path}`, of {_named(tasks)}, has {count:.0f} values that "
                "are not finite.",
                "go back to the weights of before (`mtlzoo.training.Backup`), then lower the "
                "learning rate, or clip (`global_clipnorm` of the optimizer)",
            )


def _normalizations(model):
    """The trainable batch normalizations, by path; those of one path are told apart."""
    layers = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and layer.built
    ]
    return dict(zip(told_apart([layer.path for layer in layers]), layers, strict=True))


def statistics(model: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The moving means and standard deviations of batch normalizations, by layer.

    Args:
        model: The model.
    """
    found = {}
    for name, layer in _normalizations(model).items():
        mean = keras.ops.convert_to_numpy(layer.moving_mean).astype("float64")
        variance = keras.ops.convert_to_numpy(layer.moving_variance).astype("float64")
        found[name] = mean, np.sqrt(variance + layer.epsilon)
    return found


def drift(
    model: Any,
    owners: Ownership,
    before: Mapping[str, tuple[np.ndarray, np.ndarray]],
    now: Mapping[str, tuple[np.ndarray, np.ndarray]],
    epoch: int,
    limits: HealthLimits,
) -> Iterator[HealthWarning]:
    """Batch normalizations whose statistics have moved far since the epoch before.

    Args:
        model: The model.
        owners: Which tasks depend on which variable.
        before: `statistics` of then.
        now: Those of now.
        epoch: From 1.
        limits: What is out of bounds.
    """
    layers = _normalizations(model)
    for path, (mean, deviation) in now.items():
        if path not in before:
            continue
        old_mean, old_deviation = before[path]
        # The median over channels: one that is nearly constant may do what it likes.
        moved = float(np.median(np.abs(mean - old_mean) / old_deviation))
        scaled = float(np.median(np.abs(np.log(deviation / old_deviation))))
        if max(moved, scaled) > limits.drift:
            tasks = tuple(sorted(owners.of(layers[path].moving_mean)))
            yield HealthWarning(
                epoch,
                "drift",
                tasks,
                path,
                max(moved, scaled),
                f"The statistics of the batch normalization `{path}`, read by "
                f"{_named(tasks)}, have drifted in one epoch: the "
                f"mean by {moved:.2g} standard deviations, these by a factor of "
                f"{np.exp(scaled):.2g}.",
                "mix the data of the tasks in every batch (`mtlzoo.data.mix`), shuffle it, lower "
                "the learning rate, or use `LayerNormalization`",
            )


def check_probe(model: Any, probe: Any) -> None:
    """Refuse inputs that the model does not take, before any step.

    Args:
        model: The model.
        probe: The inputs.

    Raises:
        ValueError: If a call of the model with them fails.
    """
    try:
        model(probe, training=False)
    except Exception as error:
        raise ValueError(
            f"`probe` should be a batch of inputs of the model `{model.name}`, as it is called "
            f"with. Received: one with which it fails: {error}"
        ) from error


def dead_units(
    model: Any, owners: Ownership, probe: Any, epoch: int, limits: HealthLimits
) -> Iterator[HealthWarning]:
    """Layers with `relu` of which most units are zero for every row.

    Args:
        model: The model; functional models inside are looked into, other layers are whole.
        owners: Which tasks depend on which variable.
        probe: Inputs.
        epoch: From 1.
        limits: What is out of bounds.
    """
    for layer, dead in relu_outputs(model, probe):
        share = float(dead.mean())
        if share > limits.dead_units:
            variables = _weights_before(layer)
            tasks = tuple(sorted(set().union(*(owners.of(v) for v in variables))))
            yield HealthWarning(
                epoch,
                "dead_units",
                tasks,
                layer.path or layer.name,
                share,
                f"{100 * share:.0f} % of the units of `{layer.name}`, of {_named(tasks)}, are zero "
                "for every row of the probe.",
                "lower the learning rate, clip (`global_clipnorm` of the optimizer), normalize the "
                "features, or use another activation (`leaky_relu`, `gelu`)",
            )


def experts(model: Any, probe: Any, epoch: int) -> Iterator[HealthWarning]:
    """Experts that are dead, the same, used by no task or by a task alone.

    Args:
        model: The model.
        probe: Inputs.
        epoch: From 1.
    """
    try:
        reader_of(model)
    except ValueError:  # there is nothing of the kind in this model
        return
    for table in read_attention(model, probe):
        for found in table.collapse() if table.of_experts else ():
            if found.kind not in EXPERTS:
                continue
            tasks = model.task_names if found.task is None else (found.task,)
            where = ", ".join(found.columns)
            yield HealthWarning(
                epoch,
                "experts",
                tuple(tasks),
                f"{found.place}: {where}" if found.place else where,
                float("nan"),
                f"In {found.place}, {found.message}" if found.place else found.message,
                "fewer experts or lower the learning rate; `mtlzoo.analysis.remove_idle_experts` "
                "makes a smaller model",
            )


def _named(tasks) -> str:
    return " and ".join(f"`{name}`" for name in tasks) or "no task"


def _weights_before(layer) -> list[keras.Variable]:
    """The variables of the layer, or of the nearest before it that have some."""
    waiting, seen = [layer], set()
    while waiting:
        found = [v for each in waiting for v in each.weights]
        if found:
            return found
        seen |= {id(each) for each in waiting}
        before = [n.operation for la in waiting for b in la._inbound_nodes for n in b.parent_nodes]
        waiting = [each for each in before if id(each) not in seen]
    return []
