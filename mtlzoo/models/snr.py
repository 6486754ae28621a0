"""Sub-network routing."""

from collections.abc import Sequence
from itertools import count, pairwise, repeat
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_count, check_rate, check_seed, check_units
from mtlzoo.layers.experts import Experts
from mtlzoo.layers.positions import with_mask
from mtlzoo.layers.routing import SubNetworkRouting
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class SNR(Architecture):
    r"""Layers of sub-networks whose connections are learned to be there or not (Ma et al., 2019).

    The sub-networks of the first layer read the features. Between two layers, and from the last
    one to the tasks, stands a routing with hard concrete variables $z_{ij}$:

    $$u_j^{(0)} = f_j^{(0)}(x), \quad
    u_j^{(l+1)} = f_j^{(l+1)}\Big(\sum_i z_{ij}^{(l)} W_{ij}^{(l)} u_i^{(l)}\Big), \quad
    y_t = h_t\Big(\sum_i z_{it} W_{it} u_i^{(L)}\Big).$$

    `routing="trans"` is SNR-Trans; `"aver"` is SNR-Aver, without the matrices $W$. See
    `mtlzoo.layers.SubNetworkRouting` for $z$. The routing to a task is the task's own.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a Keras model or layer from the inputs to features, which the first sub-networks
            read. Without it the inputs are vectors of floats.
        num_subnetworks: number of sub-networks in each layer. Defaults to 4.
        subnetwork_units: widths of the sub-networks, one for each layer. Defaults to `(16, 16)`.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to `(8,)`.
        routing: `"trans"` or `"aver"`. Defaults to `"trans"`.
        l0_weight: number from 0, weight of the expected number of connections, which is added to
            the objective in training. Defaults to 0.0001.
        sample: whether connections are drawn in training, as in the paper. Defaults to `True`.
        seed: int, seed of these draws, which differ between the layers. Defaults to a random one.
        activation: activation of sub-networks and towers. Defaults to `"relu"`.
        dropout: rate of the dropout after each layer of sub-networks and towers. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, numbers, widths, rates, routings or dtypes.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, Regression, SNR

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = SNR(keras.Input((8,)), tasks, num_subnetworks=3, routing="aver")
    model.routing_probabilities()["routing_1"].shape  # (3, 3)
    model.connections()["click_routing"].shape  # (3, 1)
    ```

    References:
        Ma et al., *SNR: Sub-Network Routing for Flexible Parameter Sharing in Multi-Task
        Learning*, AAAI 2019.

    *Differences from the paper*: each sub-network is one fully connected layer, the matrices $W$
    are square, connections without strength are multiplied by 0 and not removed, and an optional
    backbone stands before the first layer.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        num_subnetworks: int = 4,
        subnetwork_units: Sequence[int] = (16, 16),
        tower_units: Sequence[int] = (8,),
        routing: str = "trans",
        l0_weight: float = 0.0001,
        sample: bool = True,
        seed: int | None = None,
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        check_count("num_subnetworks", num_subnetworks)
        subnetwork_units = check_units("subnetwork_units", subnetwork_units)
        if not subnetwork_units:
            raise ValueError(
                "`subnetwork_units` should have at least one layer. Received: subnetwork_units=()"
            )
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        seed = check_seed(seed)
        dtype = policy_config(dtype)
        first = Experts(
            num_subnetworks,
            subnetwork_units[:1],
            activation=activation,
            dropout=dropout,
            name="subnetworks_0",
            dtype=dtype,
        )

        # So that no two layers draw the same.
        seeds = repeat(None) if seed is None else count(seed)

        def connected(above, layer_name):
            return SubNetworkRouting(
                above, routing, l0_weight, sample, next(seeds), name=layer_name, dtype=dtype
            )

        following = [
            (
                connected(num_subnetworks, f"routing_{i}"),
                _subnetworks(num_subnetworks, widths, activation, f"subnetworks_{i}", dtype),
            )
            for i, widths in enumerate(pairwise(subnetwork_units), 1)
        ]
        to_tasks = {task_name: connected(1, f"{task_name}_routing") for task_name in by_name}

        # --- Graph ---
        hidden = first(features_of(inputs, backbone, dtype))
        for i, (connect, subnetworks) in enumerate(following, 1):
            hidden = subnetworks(connect(hidden))
            if dropout:
                hidden = keras.layers.Dropout(
                    dropout, name=f"subnetworks_{i}_dropout", dtype=dtype
                )(hidden)
        outputs = {}
        for task_name, task in by_name.items():
            routed = _TheOnlyOne()(to_tasks[task_name](hidden))
            tower = dense_stack(
                routed, tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            outputs[task_name] = task.head(tower)

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "num_subnetworks": num_subnetworks,
            "subnetwork_units": list(subnetwork_units),
            "tower_units": list(tower_units),
            "routing": routing,
            "l0_weight": l0_weight,
            "sample": sample,
            "seed": seed,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        super().__init__(inputs, outputs, list(by_name.values()), arguments, preprocessor, name)

    def routing_probabilities(self) -> dict[str, np.ndarray]:
        """How likely each connection is there in training.

        Returns:
            dict by layer, `"routing_1"` and so on and `"<task>_routing"`, of arrays of shape
            `(sub-networks below, sub-networks above)`; above, a task counts as one.
        """
        return {r.name: ops.convert_to_numpy(r.probabilities()) for r in self._routings()}

    def connections(self) -> dict[str, np.ndarray]:
        """How strong each connection is outside of training: what predictions are made with.

        Returns:
            dict by layer, as that of `routing_probabilities`, of numbers from 0 (not there) to 1.
        """
        return {r.name: ops.convert_to_numpy(r.connections()) for r in self._routings()}

    def _routings(self) -> list[SubNetworkRouting]:
        return [layer for layer in self.layers if isinstance(layer, SubNetworkRouting)]


@keras.saving.register_keras_serializable(package="mtlzoo")
class _TheOnlyOne(keras.Operation):
    """Takes the axis of a single sub-network away, and keeps a mask."""

    def call(self, features: Any) -> Any:
        return with_mask(ops.squeeze(features, -2), features)

    def compute_output_spec(self, features: Any) -> keras.KerasTensor:
        shape = (*features.shape[:-2], features.shape[-1])
        return with_mask(keras.KerasTensor(shape, dtype=features.dtype), features)


def _subnetworks(
    count: int, widths: tuple[int, int], activation: Any, name: str, dtype: Any
) -> keras.layers.Layer:
    """One fully connected layer for each sub-network, on features of its own."""
    # Glorot's initializer for each of them. Keras would count all their kernels as one.
    limit = (6 / sum(widths)) ** 0.5
    layer = keras.layers.EinsumDense(
        "...nf,nfu->...nu",
        (count, widths[1]),
        activation=activation,
        bias_axes="nu",
        kernel_initializer=keras.initializers.RandomUniform(-limit, limit),
        name=name,
        dtype=dtype,
    )
    layer.supports_masking = True  # a mask of positions is that of its outputs, too
    return layer
