"""Mixtures of experts without the experts that no task uses."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.analysis.simplification.redrawing import (
    check_model,
    same_seeds_after,
    warn_of_penalty,
)
from mtlzoo.layers.arguments import check_number
from mtlzoo.layers.experts import Experts
from mtlzoo.layers.gates import SoftmaxGate, TopKGate
from mtlzoo.layers.trainability import switch
from mtlzoo.models import PLE, MMoE, MultiTaskModel, OMoE
from mtlzoo.models.stages import copy_weights

SHARED = "shared"


@same_seeds_after()
def remove_idle_experts(
    model: MultiTaskModel,
    x: Any,
    threshold: float = 0.01,
    *,
    batch_size: int | None = None,
) -> MultiTaskModel:
    """The same architecture without the experts that all gates leave idle on some data.

    An expert is idle if its mean weight over the rows, and positions, is below the threshold for
    every gate that mixes it, those of the shared part of a `PLE` among them. The other experts'
    weights then add up to 1 again: a softmax over fewer experts does so by itself. Answers are the
    same, up to rounding, where the weight of what went was 0, and otherwise off by about as much as
    that weight. The one that is used most stays in each bank. The model is left as it is.

    Args:
        model: An `MMoE`, an `OMoE` or a `PLE`, with gates `"softmax"`, `SoftmaxGate` or `TopKGate`.
        x: Inputs as for `model.predict`.
        threshold: The weight, from 0 to below 1. Defaults to 0.01.
        batch_size: As for `predict`. Defaults to `None`.

    Returns:
        The smaller model, of the same class, not compiled; a copy if no expert is idle.

    Raises:
        ValueError: For another architecture or another kind of gates, and a threshold out of its
            range.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, MMoE, Regression
    from mtlzoo.analysis import remove_idle_experts

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = MMoE(keras.Input((8,)), tasks, num_experts=4, expert_units=(16,))
    smaller = remove_idle_experts(model, np.ones((2, 8), "float32"), threshold=0.2)
    smaller.get_config()["num_experts"]  # as many as have a weight of 0.2 for one of the tasks
    ```
    """
    check_model(model)
    if type(model) not in (MMoE, OMoE, PLE):
        raise ValueError(
            "`model` should be an MMoE, an OMoE or a PLE, whose gates say which experts are idle. "
            f"Received: a {type(model).__name__}"
        )
    if check_number("threshold", threshold, "a number from 0 to below 1", 0) >= 1:
        raise ValueError(
            f"`threshold` should be a number from 0 to below 1. Received: threshold={threshold!r}"
        )
    banks = _Banks(model, x, batch_size)
    kept = {bank: _kept(usage, threshold) for bank, usage in banks.usage.items()}
    for gate, mixed in banks.gates.items():
        layer = model.get_layer(gate)
        left = sum(len(kept[bank]) for bank in mixed)
        if not isinstance(layer, keras.layers.Dense | SoftmaxGate | TopKGate):
            raise ValueError(
                "`model` should have gates 'softmax', `SoftmaxGate` or `TopKGate`, the same "
                f"with fewer experts. Received: the layer `{gate}`, a {type(layer).__name__}"
            )
        if isinstance(layer, TopKGate) and left < layer.k:
            raise ValueError(
                f"`threshold` should be lower: `{gate}` chooses {layer.k} experts for each row, "
                f"and {left} would be left. Received: threshold={threshold!r}"
            )
    new = _with_fewer(model, banks, kept)
    gone = {bank: len(usage) - len(kept[bank]) for bank, usage in banks.usage.items()}
    logging.info("`%s`: experts that went, by bank: %s.", model.name, gone)
    return new


class _Banks:
    """The banks of experts of a model by the name of their layer.

    Attributes:
        usage: By bank, the greatest mean weight that a gate gives to each expert.
        gates: By the name of a gate's layer, the banks that it mixes, in order.
    """

    def __init__(self, model: Any, x: Any, batch_size: int | None) -> None:
        weights = model.gate_weights(x, batch_size)
        self.gates: dict[str, list[str]] = {}
        means: dict[str, np.ndarray] = {}
        if isinstance(model, PLE):
            for level, of_level in weights.items():
                for owner, values in of_level.items():
                    gate = f"{level}_{owner}_gate"
                    mixed = [owner, SHARED]
                    if owner == SHARED:
                        mixed = [*model.task_names, SHARED]
                    self.gates[gate] = [f"{level}_{each}_experts" for each in mixed]
                    means[gate] = _mean(values)
        else:
            for task, values in weights.items():
                gate = "shared_gate" if isinstance(model, OMoE) else f"{task}_gate"
                self.gates[gate] = ["experts"]
                means[gate] = _mean(values)
        sizes = {bank: _size(model, bank) for mixed in self.gates.values() for bank in mixed}
        self.usage = {bank: np.zeros(size) for bank, size in sizes.items()}
        for gate, mixed in self.gates.items():
            ends = np.cumsum([sizes[bank] for bank in mixed])[:-1]
            for bank, values in zip(mixed, np.split(means[gate], ends), strict=True):
                self.usage[bank] = np.maximum(self.usage[bank], values)


def _mean(weights: np.ndarray) -> np.ndarray:
    return weights.reshape(-1, weights.shape[-1]).mean(0)


def _size(model: Any, bank: str) -> int:
    return model.get_layer(bank).output.shape[-2]


def _kept(usage: np.ndarray, threshold: float) -> list[int]:
    kept = np.flatnonzero(usage >= threshold)
    return kept.tolist() if len(kept) else [int(usage.argmax())]


def _with_fewer(model: Any, banks: _Banks, kept: Mapping[str, list[int]]) -> MultiTaskModel:
    """The architecture with some of its experts and what they have learned."""
    warn_of_penalty(model)
    config = model.get_config()
    for key in model._added_later():
        del config[key]
    config["preprocessor"] = None  # its config lacks what it has adapted to
    counts = {bank: len(of_bank) for bank, of_bank in kept.items()}
    if isinstance(model, PLE):
        levels = range(model._held.arguments["num_levels"])
        config["num_shared_experts"] = [counts[f"level_{i}_{SHARED}_experts"] for i in levels]
        config["num_task_experts"] = [
            {name: counts[f"level_{i}_{name}_experts"] for name in model.task_names} for i in levels
        ]
    else:
        config["num_experts"] = counts["experts"]
    gate = model._held.arguments["gate"]
    if gate == "top_k":  # by name it would choose one, of one expert that is left
        gate = TopKGate(k=2)
    if not isinstance(gate, str):
        gate = type(gate).from_config({**gate.get_config(), "num_experts": None})
    config["gate"] = keras.saving.serialize_keras_object(gate)
    new: Any = type(model).from_config(config)
    new._held.preprocessor = model.preprocessor
    for layer in new.layers:
        old = model.get_layer(_name_before(layer.name, kept))
        if layer.name in banks.gates:
            columns = _columns(banks, kept, banks.gates[layer.name])
            layer.set_weights(_with_columns(old, columns))
        elif layer.name in kept and isinstance(layer, Experts):
            layer.set_weights(_of_experts(old, kept[layer.name]))
        else:
            copy_weights(old, layer)
        _freeze_as(old, layer)
    return new


def _name_before(name: str, kept: Mapping[str, list[int]]) -> str:
    """What a layer was called before copies of networks got other numbers."""
    for bank, of_bank in kept.items():
        found = re.fullmatch(rf"({re.escape(bank)})_(\d+)_(.*)", name)
        if found:
            return f"{bank}_{of_bank[int(found[2])]}_{found[3]}"
    return name


def _columns(banks: _Banks, kept: Mapping[str, list[int]], mixed: list[str]) -> list[int]:
    """The places of the experts that are left among those of a gate."""
    found, start = [], 0
    for bank in mixed:
        found += [start + k for k in kept[bank]]
        start += len(banks.usage[bank])
    return found


def _with_columns(gate: Any, columns: list[int]) -> list[np.ndarray]:
    """The weights of a gate for some of its experts; those of hidden layers stay as they are."""
    of_experts = ("kernel", "bias", "noise_kernel")
    return [
        keras.ops.convert_to_numpy(v)[..., columns if v.name in of_experts else slice(None)]
        for v in gate.weights
    ]


def _of_experts(bank: Experts, kept: list[int]) -> list[np.ndarray]:
    found = []
    for variable in bank.weights:
        values = keras.ops.convert_to_numpy(variable)
        if variable.name == "kernel_0":  # side by side
            values = values.reshape(len(values), bank.num_experts, -1)[:, kept]
            values = values.reshape(len(values), -1)
        else:
            values = values[kept]
        found.append(values)
    return found


def _freeze_as(old: Any, new: Any) -> None:
    for before, after in zip(old._flatten_layers(), new._flatten_layers(), strict=True):
        if after.trainable and not before.trainable:
            switch([after], False)
