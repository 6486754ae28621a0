"""Multi-gate mixture of experts."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.layers.experts import Experts, mix
from mtlzoo.layers.gates import make_gate
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class MMoE(Architecture):
    r"""Shared experts, mixed for each task by a gate of its own (Ma et al., 2018).

    $$y_t = h_t\Big(\sum_{k=1}^{K} g_t(x)_k f_k(x)\Big), \quad
    g_t(x) = \mathrm{softmax}(x W_t).$$

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a Keras model or layer from the inputs to features, which experts and gates read,
            at each position of a sequence or a map. Without it the inputs are vectors of floats.
        num_experts: number of experts. Defaults to 8, as in the paper.
        expert_units: widths of each expert's layers. Defaults to `(16,)`, as in the paper.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to `(8,)`,
            as in the paper.
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
        ValueError: for unusable inputs, tasks, widths, rates, gates or dtypes.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, MMoE, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = MMoE(keras.Input((8,)), tasks, num_experts=4, expert_units=(16,))
    model.gate_weights(np.ones((2, 8)))["click"].shape  # (2, 4)
    ```

    References:
        Ma et al., *Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts*, KDD 2018.

    *Differences from the paper*: experts and towers may have several layers, and an optional
    backbone stands before experts and gates.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        num_experts: int = 8,
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
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        experts = Experts(
            num_experts,
            check_units("expert_units", expert_units),
            activation=activation,
            dropout=dropout,
            name="experts",
            dtype=dtype,
        )
        gates = {
            task_name: make_gate(gate, num_experts, f"{task_name}_gate", dtype)
            for task_name in by_name
        }

        # --- Graph ---
        features = features_of(inputs, backbone, dtype)
        expert_outputs = experts(features)
        gate_outputs, outputs = {}, {}
        for task_name, task in by_name.items():
            gate_outputs[task_name] = gates[task_name](features)
            mixed = mix(gate_outputs[task_name], expert_outputs)
            tower = dense_stack(
                mixed, tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            outputs[task_name] = task.head(tower)

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "num_experts": num_experts,
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

    def gate_weights(self, x: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """How much each task uses each expert.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by task of arrays `(rows, ..., num_experts)`; each row sums to 1 (but see
            `DSelectKGate`).
        """
        return self._read("gates", x, batch_size)
