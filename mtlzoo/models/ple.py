"""Progressive layered extraction."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_count, check_rate, check_units
from mtlzoo.layers.experts import Experts, mix
from mtlzoo.layers.gates import make_gate
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
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
            Without it the inputs are vectors of floats.
        num_levels: number of levels. Defaults to 2.
        num_shared_experts: number of shared experts of each level. Defaults to 2.
        num_task_experts: number of experts of each task in each level. Defaults to 2.
        expert_units: widths of each expert's layers, the same in all levels. Defaults to `(16,)`.
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

    *Differences from the paper*: all tasks have the same number of experts, all levels the same
    numbers and widths, and an optional backbone stands before the first level.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        num_levels: int = 2,
        num_shared_experts: int = 2,
        num_task_experts: int = 2,
        expert_units: Sequence[int] = (16,),
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
        counts = dict.fromkeys(by_name, check_count("num_task_experts", num_task_experts))
        counts[SHARED] = check_count("num_shared_experts", num_shared_experts)
        expert_units = check_units("expert_units", expert_units)
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        # Whose experts each gate mixes.
        mixes = {task_name: [task_name, SHARED] for task_name in by_name}
        levels = []
        for level in range(num_levels):
            last = level == num_levels - 1
            of_gates = mixes if last else {**mixes, SHARED: list(counts)}
            banks = {
                owner: Experts(
                    count,
                    expert_units,
                    activation=activation,
                    dropout=dropout,
                    name=f"level_{level}_{owner}_experts",
                    dtype=dtype,
                )
                for owner, count in counts.items()
            }
            gates = {
                owner: make_gate(
                    gate, sum(counts[o] for o in mixed), f"level_{level}_{owner}_gate", dtype
                )
                for owner, mixed in of_gates.items()
            }
            levels.append((banks, gates, of_gates))

        # --- Graph ---
        features = dict.fromkeys(counts, features_of(inputs, backbone, dtype))
        gate_outputs: dict[str, dict[str, Any]] = {}
        for level, (banks, gates, of_gates) in enumerate(levels):
            experts = {owner: bank(features[owner]) for owner, bank in banks.items()}
            weights = {owner: gate(features[owner]) for owner, gate in gates.items()}
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
            "num_shared_experts": num_shared_experts,
            "num_task_experts": num_task_experts,
            "expert_units": list(expert_units),
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
