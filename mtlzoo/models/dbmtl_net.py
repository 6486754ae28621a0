"""Deep Bayesian multi-target learning."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.backbones.backbone import check_positive
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.layers.experts import mix
from mtlzoo.layers.gates import make_gate
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
from mtlzoo.models.expert_banks import make_experts
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class DBMTLNet(Architecture):
    r"""Tasks that depend on each other as in a Bayesian network (Wang et al., 2019).

    The probability of all targets is factored along a graph without cycles, in which
    $\mathrm{pa}(t)$ are the tasks that task $t$ depends on,

    $$P(y_1, \ldots, y_T \mid x) = \prod_t P(y_t \mid y_{\mathrm{pa}(t)}, x), \quad
    y_t = h_t(z_t), \quad
    z_t = r_t\big([q_t(f(x)),\; z_u \text{ for } u \in \mathrm{pa}(t)]\big),$$

    with a shared bottom $f$, on which may stand experts that a gate of each task mixes, and a tower
    $q_t$, a relation network $r_t$ and a head for each task. A task hands on the features $z_u$
    from which its output is made, not the output.

    The gate, the tower and the relation network of a task that others depend on serve these too, so
    that they are shared.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        relations: dict from the name of a task to the names of the tasks it depends on, such as
            `{"purchase": ("click",)}`. Defaults to none: then tasks depend on the features only.
        backbone: a Keras model or layer from the inputs to features. Without it the inputs are
            vectors of floats.
        shared_units: widths of fully connected layers that all tasks share, after the backbone.
            Defaults to none.
        num_experts: number of experts between the shared layers and the towers, of which each task
            has a mixture by a gate of its own, as in `MMoE`. Defaults to 0: all tasks have the
            features of the shared layers.
        expert_units: widths of each expert's layers, if there are experts. Defaults to `(32,)`.
        gate: `"softmax"`, `"top_k"`, `"dselect_k"` or a gate, see `mtlzoo.layers.Gate`. Defaults
            to `"softmax"`.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to `(32,)`.
        relation_units: widths of the fully connected layers of each task's relation network.
            Defaults to `(16,)`.
        activation: activation of all of them. Defaults to `"relu"`.
        dropout: rate of the dropout after each of these layers. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, widths, rates or dtypes, and for relations of
            unknown tasks or in a circle.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, DBMTLNet, Regression

    tasks = [BinaryClassification("click"), BinaryClassification("purchase"), Regression("stay")]
    relations = {"purchase": ("click", "stay"), "stay": ("click",)}
    model = DBMTLNet(keras.Input((8,)), tasks, relations=relations, shared_units=(32,))
    ```

    References:
        Wang et al., *Deep Bayesian Multi-Target Learning for Recommender Systems*, 2019.

    *Differences from the paper*: the widths are our own, any kind of task may take part, and the
    shared embeddings are the backbone. As in EasyRec every task has a relation network, and there
    may be a mixture of experts below the towers, whose gates have no bias here.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        relations: Mapping[str, Sequence[str]] | None = None,
        backbone: Any = None,
        shared_units: Sequence[int] = (),
        num_experts: int = 0,
        expert_units: Sequence[int] = (32,),
        gate: Any = "softmax",
        tower_units: Sequence[int] = (32,),
        relation_units: Sequence[int] = (16,),
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        parents = _parents(relations, list(by_name))
        shared_units = check_units("shared_units", shared_units)
        check_positive("num_experts", num_experts, 0)
        expert_units = check_units("expert_units", expert_units)
        tower_units = check_units("tower_units", tower_units)
        relation_units = check_units("relation_units", relation_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)

        # --- Graph ---
        features = features_of(inputs, backbone, dtype)
        features = dense_stack(features, shared_units, "shared", activation, dropout, dtype)
        of_task = dict.fromkeys(by_name, features)
        gate_outputs = {}
        if num_experts:
            experts = make_experts(
                num_experts, expert_units, None, "experts", activation, dropout, dtype
            )(features)
            for task_name in by_name:
                gate_layer = make_gate(gate, num_experts, f"{task_name}_gate", dtype)
                gate_outputs[task_name] = gate_layer(features)
                of_task[task_name] = mix(gate_outputs[task_name], experts)
        related: dict[str, Any] = {}
        for task_name in TopologicalSorter(parents).static_order():
            tower = dense_stack(
                of_task[task_name], tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            if parents[task_name]:
                join = keras.layers.Concatenate(name=f"{task_name}_parents", dtype=dtype)
                tower = join([tower, *(related[parent] for parent in parents[task_name])])
            prefix = f"{task_name}_relation"
            related[task_name] = dense_stack(
                tower, relation_units, prefix, activation, dropout, dtype
            )
        outputs = {task_name: task.head(related[task_name]) for task_name, task in by_name.items()}

        # --- Config ---
        arguments = {
            "relations": {child: list(names) for child, names in parents.items() if names},
            "backbone": backbone,
            "shared_units": list(shared_units),
            "num_experts": num_experts,
            "expert_units": list(expert_units),
            "gate": gate,
            "tower_units": list(tower_units),
            "relation_units": list(relation_units),
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        inside = {"gates": gate_outputs} if num_experts else {}
        tasks = list(by_name.values())
        super().__init__(inputs, outputs, tasks, arguments, preprocessor, name, inside)

    def gate_weights(self, x: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """How much each task uses each expert.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by task of arrays `(rows, ..., num_experts)`.

        Raises:
            ValueError: if the model has no experts.
        """
        if not self._held.inside:
            raise ValueError(
                "`num_experts` should be positive for gates to read. Received: num_experts=0"
            )
        return self._read("gates", x, batch_size)


def _parents(relations: Any, tasks: list[str]) -> dict[str, list[str]]:
    """The tasks that each task depends on, in sorted order, of all tasks in sorted order."""
    relations = {} if relations is None else relations
    if not isinstance(relations, Mapping):
        raise ValueError(
            "`relations` should be a dict from names of tasks to the names of the tasks they "
            f"depend on. Received: relations={relations!r}"
        )
    for child, parents in relations.items():
        if child not in tasks:
            raise ValueError(
                f"`relations` should name some of the tasks {tasks}. "
                f"Received: {child!r} in relations={dict(relations)!r}"
            )
        if not isinstance(parents, list | tuple):
            raise ValueError(
                f"`relations` of task `{child}` should be a tuple of names of tasks. "
                f"Received: {parents!r}"
            )
        for parent in parents:
            if parent not in tasks:
                raise ValueError(
                    f"`relations` of task `{child}` should name some of the tasks {tasks}. "
                    f"Received: {parent!r}"
                )
    found = {name: sorted(set(relations.get(name, ()))) for name in tasks}
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        # The sorter lists each task before the one that depends on it.
        circle = " -> ".join(error.args[1])
        raise ValueError(f"`relations` should not lead in a circle. Received: {circle}") from None
    return found
