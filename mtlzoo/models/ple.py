"""Progressive layered extraction."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_count, check_rate, check_units
from mtlzoo.layers.experts import mix
from mtlzoo.layers.gates import make_gate
from mtlzoo.models.architecture import Architecture, dense_stack, policy_config
from mtlzoo.models.expert_banks import (
    UNITS,
    NetworkExperts,
    expert_features,
    gate_features,
    make_experts,
)
from mtlzoo.tasks import Task

SHARED = "shared"


@keras.saving.register_keras_serializable(package="mtlzoo")
class PLE(Architecture):
    r"""Levels of experts, some shared and some of each task, mixed by gates (Tang et al., 2020).

    At level $l$ every task $t$, and the shared part $s$, has a bank of experts $f_{t,k}$ on its
    features. A task's gate mixes its own experts with the shared ones, the shared gate those of
    all tasks and the shared ones; with $x_t^{(0)} = x_s^{(0)} = x$,

    $$x_t^{(l+1)} = \sum_{k \in t \cup s} g_t(x_t^{(l)})_k f_k, \quad
    x_s^{(l+1)} = \sum_{k \in \text{all}} g_s(x_s^{(l)})_k f_k, \quad
    y_t = h_t(x_t^{(L)}).$$

    The last level has no shared gate. With one level this is customized gate control (CGC), of the
    same paper: there the experts and the gate of a task are the task's own variables. Before the
    last level all experts are shared, since all of them reach all tasks.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks, none with the name `shared`.
        backbone: a Keras model or layer from the inputs to features, which experts and gates read.
            Without it the inputs are vectors of floats, or floats of any shape that
            `expert_network` takes.
        num_levels: number of levels. Defaults to 2.
        num_shared_experts: number of shared experts of each level, or a list of one for each level.
            Defaults to 2.
        num_task_experts: number of experts of each task in each level, or a dict of one for each
            task by its name, or a list of one of these for each level. Defaults to 2.
        expert_units: widths of each expert's layers, or a list of widths for each level; with
            `expert_network`, for each level after the first. Defaults to one layer of 16.
        expert_network: a functional Keras model, a `Sequential` or a layer, from the backbone's
            features, or the inputs where there is no backbone, to one tensor of features. Each
            expert of the first level is a copy of it whose weights are drawn anew; frozen layers,
            and what `Normalization` has adapted to, are kept. Where its output has other positions
            than what it reads, a vector of a map for instance, the gates of that level read all of
            that as one vector, and give one weight for each row. Defaults to none: experts are
            fully connected.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to `(8,)`.
        gate: `"softmax"`, `"top_k"`, `"dselect_k"` or a gate, see `mtlzoo.layers.Gate`. Defaults
            to `"softmax"`, as in the paper.
        activation: activation of experts and towers. Defaults to `"relu"`.
        dropout: rate of the dropout after each layer of experts and towers. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, numbers, widths, rates, gates or dtypes.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, PLE, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = PLE(keras.Input((8,)), tasks, num_shared_experts=3, num_task_experts=1)
    gates = model.gate_weights(np.ones((2, 8)))
    gates["level_0"]["shared"].shape  # (2, 5)
    gates["level_1"]["click"].shape  # (2, 4)
    ```

    References:
        Tang et al., *Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model
        for Personalized Recommendations*, RecSys 2020.

    *Differences from the paper*: experts of the first level may be any network, and an optional
    backbone stands before it.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        num_levels: int = 2,
        num_shared_experts: int | Sequence[int] = 2,
        num_task_experts: int | Mapping[str, int] | Sequence[int | Mapping[str, int]] = 2,
        expert_units: Sequence[int] | Sequence[Sequence[int]] | None = None,
        expert_network: Any = None,
        tower_units: Sequence[int] = (8,),
        gate: Any = "softmax",
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        if SHARED in by_name:
            raise ValueError(
                "`tasks` should not have the name of the shared part. "
                f"Received: a task named {SHARED!r}"
            )
        check_count("num_levels", num_levels)
        counts = _check_counts(num_task_experts, num_shared_experts, list(by_name), num_levels)
        widths, expert_units = _check_widths(expert_units, num_levels, expert_network is not None)
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        # Whose experts each gate mixes.
        mixes = {task_name: [task_name, SHARED] for task_name in by_name}
        levels = []
        network = None if expert_network is None else NetworkExperts(expert_network, dtype)
        for level, (of_level, units) in enumerate(zip(counts, widths, strict=True)):
            last = level == num_levels - 1
            of_gates = mixes if last else {**mixes, SHARED: list(of_level)}
            of_banks = None if level else network
            banks = {
                owner: make_experts(
                    count,
                    units,
                    of_banks,
                    f"level_{level}_{owner}_experts",
                    activation,
                    dropout,
                    dtype,
                )
                for owner, count in of_level.items()
            }
            gates = {
                owner: make_gate(
                    gate, sum(of_level[o] for o in mixed), f"level_{level}_{owner}_gate", dtype
                )
                for owner, mixed in of_gates.items()
            }
            levels.append((banks, gates, of_gates))

        # --- Graph ---
        first = expert_features(inputs, backbone, expert_network, dtype)
        features = dict.fromkeys([*by_name, SHARED], first)
        gate_outputs: dict[str, dict[str, Any]] = {}
        for level, (banks, gates, of_gates) in enumerate(levels):
            experts = {owner: bank(features[owner]) for owner, bank in banks.items()}
            read = features
            if level == 0:
                read = dict.fromkeys(features, gate_features(first, experts[SHARED], dtype))
            weights = {owner: gate(read[owner]) for owner, gate in gates.items()}
            features = {
                owner: mix(weights[owner], *(experts[o] for o in mixed))
                for owner, mixed in of_gates.items()
            }
            gate_outputs[f"level_{level}"] = weights
        outputs = {}
        for task_name, task in by_name.items():
            tower = dense_stack(
                features[task_name], tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            outputs[task_name] = task.head(tower)

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "num_levels": num_levels,
            "num_shared_experts": _as_lists(num_shared_experts),
            "num_task_experts": _as_lists(num_task_experts),
            "expert_units": _as_lists(expert_units),
            "expert_network": expert_network,
            "tower_units": list(tower_units),
            "gate": gate,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        inside = {"gates": gate_outputs}
        tasks = list(by_name.values())
        super().__init__(inputs, outputs, tasks, arguments, preprocessor, name, inside)

    def gate_weights(
        self, x: Any, batch_size: int | None = None
    ) -> dict[str, dict[str, np.ndarray]]:
        """How much each gate uses each expert.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by level (`"level_0"`, ...) of dicts by task, with `"shared"` before the last
            level, of arrays `(rows, ..., experts)`. A task's own experts come first, then the
            shared ones; in `"shared"`, those of all tasks in the order of their names, then the
            shared ones.
        """
        return self._read("gates", x, batch_size)


def _check_counts(of_tasks: Any, shared: Any, names: list[str], levels: int) -> list[dict]:
    """Of each level, the number of experts by task, and under `SHARED` of shared ones."""
    found = []
    for (argument, own), (of_shared, number) in zip(
        _by_level("num_task_experts", of_tasks, levels, isinstance(of_tasks, list | tuple)),
        _by_level("num_shared_experts", shared, levels, isinstance(shared, list | tuple)),
        strict=True,
    ):
        if not isinstance(own, Mapping):
            counts = dict.fromkeys(names, check_count(argument, own))
        elif set(own) == set(names):
            counts = {name: check_count(f"{argument}[{name!r}]", own[name]) for name in names}
        else:
            raise ValueError(
                f"`{argument}` should have a number for each of the tasks {names} and no other. "
                f"Received: {argument}={dict(own)!r}"
            )
        counts[SHARED] = check_count(of_shared, number)
        found.append(counts)
    return found


def _check_widths(units: Any, levels: int, has_network: bool) -> tuple[list, Any]:
    """The widths of each level, `None` for that of a network; and `expert_units` or its default."""
    connected = levels - has_network
    if not connected:
        if units is not None:
            raise ValueError(
                "`expert_units` should be None where an `expert_network` is given and no level "
                f"follows the first. Received: expert_units={units!r}"
            )
        return [None], None
    units = UNITS if units is None else units
    is_listed = isinstance(units, list | tuple)
    is_listed = is_listed and any(isinstance(each, list | tuple) for each in units)
    by_level = _by_level("expert_units", units, connected, is_listed)
    found: list = [None] * has_network
    return [*found, *(check_units(argument, of_level) for argument, of_level in by_level)], units


def _by_level(argument: str, value: Any, levels: int, is_listed: bool) -> list[tuple[str, Any]]:
    """The value for each level, and what messages call it."""
    if not is_listed:
        return [(argument, value)] * levels
    if len(value) != levels:
        raise ValueError(
            f"`{argument}` should have an entry for each of {levels} levels. "
            f"Received: {argument}={value!r}"
        )
    return [(f"{argument}[{i}]", of_level) for i, of_level in enumerate(value)]


def _as_lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple):
        return [_as_lists(each) for each in value]
    return value
