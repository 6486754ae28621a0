"""The gates, connections and branches of models that mix or choose between parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.analysis.attention.attention_table import AttentionTable
from mtlzoo.analysis.attention.collapse import Outputs, outputs_of
from mtlzoo.models.ple import SHARED

ALL_TASKS = "all tasks"
_OF_EXPERTS = ("idle", "alone", "equal", "dead", "same")
_SHARE = "share of the mixture"


def by_row(values: Any) -> np.ndarray:
    """The mean over positions, (rows, ..., C) to (rows, C)."""
    values = np.asarray(values, "float64")
    return values.reshape(len(values), -1, values.shape[-1]).mean(1)


def expert_outputs(model: Any, names: Sequence[str], x: Any, batch_size: int | None) -> Outputs:
    """What the banks of these layer names give out, one after the other."""
    banks = keras.Model(model.input, [model.get_layer(name).output for name in names])
    values = banks.predict(x, batch_size=batch_size, verbose=0)
    values = values if isinstance(values, list) else [values]
    of_banks = [np.asarray(v).reshape(-1, *v.shape[-2:]) for v in values]
    return outputs_of(np.concatenate(of_banks, -2))


def read_gates(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`MMoE`, and `DBMTLNet` with experts: one gate for each task."""
    gates = {name: by_row(each) for name, each in model.gate_weights(x, batch_size).items()}
    values = np.stack([gates[name] for name in model.task_names], 1)
    return [_of_experts(model, model.task_names, values, x, batch_size)]


def read_one_gate(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`OMoE`: one gate for all tasks."""
    values = by_row(model.gate_weights(x, batch_size)[model.task_names[0]])[:, None]
    return [_of_experts(model, (ALL_TASKS,), values, x, batch_size, tasks=())]


def _of_experts(model, names, values, x, batch_size, tasks=None) -> AttentionTable:
    return AttentionTable(
        names,
        [f"expert {k}" for k in range(values.shape[-1])],
        values,
        kind="share",
        what=_SHARE,
        tasks=tasks,
        checks=_OF_EXPERTS,
        of_experts=True,
        outputs=expert_outputs(model, ["experts"], x, batch_size),
    )


def read_levels(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`PLE`: at each level a gate for each task, and below the last one for the shared part."""
    return [
        _of_level(model, level, gates, x, batch_size)
        for level, gates in model.gate_weights(x, batch_size).items()
    ]


def _of_level(model, level, gates: Mapping[str, Any], x, batch_size) -> AttentionTable:
    owners = [*model.task_names, SHARED]
    banks = [f"{level}_{owner}_experts" for owner in owners]
    counts = [model.get_layer(bank).output.shape[-2] for bank in banks]
    places = dict(
        zip(owners, np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1]), strict=True)
    )
    values = np.full((len(by_row(gates[owners[0]])), len(gates), sum(counts)), np.nan)
    names = [owner for owner in owners if owner in gates]
    for i, name in enumerate(names):
        reads = owners if name == SHARED else [name, SHARED]
        values[:, i, np.concatenate([places[owner] for owner in reads])] = by_row(gates[name])
    return AttentionTable(
        names,
        [f"{owner} {k}" for owner, count in zip(owners, counts, strict=True) for k in range(count)],
        values,
        kind="share",
        what=_SHARE,
        place=level,
        tasks=model.task_names,
        checks=_OF_EXPERTS,
        of_experts=True,
        outputs=expert_outputs(model, banks, x, batch_size),
    )


def read_connections(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`SNR`: how strongly each task is connected to the sub-networks of each layer.

    Below the last layer it is the strength of the strongest path: the product of its connections.
    """
    found = model.connections()
    strength = np.stack([found[f"{name}_routing"][:, 0] for name in model.task_names])
    number = len(found) - len(model.task_names)
    tables = []
    while True:
        place = f"subnetworks_{number}"
        tables.append(
            AttentionTable(
                model.task_names,
                [f"sub-network {i}" for i in range(strength.shape[1])],
                strength,
                kind="strength",
                what="strength of the connection",
                place=place,
                checks=("closed", "dead", "same"),
                of_experts=True,
                outputs=None if x is None else expert_outputs(model, [place], x, batch_size),
            )
        )
        if number == 0:
            return tables[::-1]
        strength = (strength[:, None, :] * found[f"routing_{number}"]).max(-1)
        number -= 1


def read_branches(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`LearningToBranch`: how probable it is that each task reads each node of each stage."""
    found = model.branching_probabilities()
    reached, tables = found["tasks"], []
    for stage in reversed(model._stage_names):
        tables.append(
            AttentionTable(
                model.task_names,
                [f"node {i}" for i in range(reached.shape[1])],
                reached,
                kind="share",
                what="probability of the branch",
                place=stage,
            )
        )
        reached = reached @ found[stage] if stage in found else reached
    return tables[::-1]


def read_strengths(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`DynamicSharing`: how much of each task's weights is shared, stage by stage."""
    found = model.sharing_strengths()
    values = [[found[stage][name] for stage in found] for name in model.task_names]
    what = "strength of sharing"
    return [AttentionTable(model.task_names, list(found), values, kind="strength", what=what)]
