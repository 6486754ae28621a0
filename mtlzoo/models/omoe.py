"""One-gate mixture of experts."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.layers.experts import mix
from mtlzoo.layers.gates import make_gate
from mtlzoo.models.architecture import Architecture, dense_stack, policy_config
from mtlzoo.models.expert_banks import (
    expert_features,
    gate_features,
    make_experts,
    units_beside,
)
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class OMoE(Architecture):
    r"""Shared experts, mixed for all tasks by one gate (Jacobs et al., 1991).

    $$y_t = h_t\Big(\sum_{k=1}^{K} g(x)_k f_k(x)\Big), \quad g(x) = \mathrm{softmax}(x W).$$

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a Keras model or layer from the inputs to features, which experts and gate read.
            Without it the inputs are vectors of floats, or floats of any shape that
            `expert_network` takes.
        num_experts: number of experts. Defaults to 8, as in Ma et al.
        expert_units: widths of each expert's layers, without `expert_network`. Defaults to one
            layer of 16, as in Ma et al.
        expert_network: a functional Keras model, a `Sequential` or a layer, from the backbone's
            features, or the inputs where there is no backbone, to one tensor of features. Each
            expert is a copy of it whose weights are drawn anew; frozen layers, and what
            `Normalization` has adapted to, are kept. Where its output has other positions than what
            it reads, a vector of a map for instance, the gate reads all of that as one vector,
            and gives one weight for each row. Defaults to none: experts are fully connected.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to `(8,)`,
            as in Ma et al.
        gate: `"softmax"`, `"top_k"`, `"dselect_k"` or a gate, see `mtlzoo.layers.Gate`. Defaults
            to `"softmax"`.
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
    from mtlzoo import BinaryClassification, OMoE, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = OMoE(keras.Input((8,)), tasks, num_experts=4, gate="top_k")
    ```

    References:
        Jacobs et al., *Adaptive Mixtures of Local Experts*, Neural Computation 3, 1991.
        Ma et al., *Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts*, KDD 2018, where it is the one-gate model beside `MMoE`.

    *Differences from the paper*: that of 1991 has one task, and no towers; experts and towers may
    have several layers, experts may be any network, and an optional backbone stands before experts
    and gate.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        num_experts: int = 8,
        expert_units: Sequence[int] | None = None,
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
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        expert_units = units_beside(expert_units, expert_network)
        experts = make_experts(
            num_experts, expert_units, expert_network, "experts", activation, dropout, dtype
        )
        shared_gate = make_gate(gate, num_experts, "shared_gate", dtype)

        # --- Graph ---
        features = expert_features(inputs, backbone, expert_network, dtype)
        expert_outputs = experts(features)
        weights = shared_gate(gate_features(features, expert_outputs, dtype))
        mixed = mix(weights, expert_outputs)
        outputs = {}
        for task_name, task in by_name.items():
            tower = dense_stack(
                mixed, tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            outputs[task_name] = task.head(tower)

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "num_experts": num_experts,
            "expert_units": None if expert_units is None else list(expert_units),
            "expert_network": expert_network,
            "tower_units": list(tower_units),
            "gate": gate,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        inside = {"gates": dict.fromkeys(by_name, weights)}
        tasks = list(by_name.values())
        super().__init__(inputs, outputs, tasks, arguments, preprocessor, name, inside)

    def gate_weights(self, x: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """How much each task uses each expert, the same for all tasks.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by task of arrays `(rows, ..., num_experts)`.
        """
        return self._read("gates", x, batch_size)
