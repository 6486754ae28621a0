"""Soft parameter sharing."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_number, check_rate, check_units
from mtlzoo.models.architecture import Architecture, policy_config
from mtlzoo.models.columns import DrawnStage, draw_columns
from mtlzoo.models.stages import stages_of
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class SoftSharing(Architecture):
    r"""A network for each task, whose weights are drawn to each other (Duong et al., 2015).

    $$y_t = h_t(f_t(x)), \quad
    \mathcal{L} = \sum_t L_t + \lambda \sum_{s < t} \sum_l \|W_s^{(l)} - W_t^{(l)}\|^2.$$

    $W^{(l)}$ are all weights with two or more dimensions, kernels and embedding tables. Biases, and
    the scales and statistics of normalization, are free. No variable is shared, so that only
    balancers that weigh losses apply; the distance is added after them, with the factor `strength`
    alone. A task without labels in a batch does not move, but the others are drawn to it.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a functional Keras model, a `Sequential` or a layer from the inputs to features,
            of which each task gets a copy that begins with its weights. Without it the inputs are
            vectors of floats.
        stages: names of the layers of the backbone at which its stages end. Defaults to its
            `stage_names`, which those of `mtlzoo.backbones` have; without these it is one stage.
        units: widths of fully connected layers after the backbone, each a stage. Defaults to none.
        strength: $\lambda$, at least 0. Defaults to 0.01.
        activation: activation of `units`. Defaults to `"relu"`.
        dropout: rate of the dropout after each of `units`. Defaults to 0.
        dtype: dtype policy of the layers, but those of the backbone. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, stages, widths, strengths, rates or dtypes.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, Regression, SoftSharing

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = SoftSharing(keras.Input((8,)), tasks, units=(16, 8), strength=0.1)
    model.distances()["units_0"].shape  # (2, 2)
    ```

    References:
        Duong et al., *Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural
        Network Parser*, ACL 2015.

        Yang and Hospedales, *Trace Norm Regularised Deep Multi-Task Learning*, ICLR 2017 workshop,
        which compares other norms.

    *Differences from the paper*: all tasks are trained at once, where one language was trained
    before the other; every pair of tasks counts; any network.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        stages: Sequence[str] | None = None,
        units: Sequence[int] = (),
        strength: float = 0.01,
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        units = check_units("units", units)
        strength = check_number("strength", strength, "a number of at least 0", 0)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        start, chain = stages_of(inputs, backbone, stages, units, activation, dropout, dtype)

        # --- Graph ---
        drawn = draw_columns(start, chain, list(by_name))
        outputs = {name: task.head(drawn[-1].joined[name]) for name, task in by_name.items()}

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "stages": None if stages is None else list(stages),
            "units": list(units),
            "strength": strength,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        super().__init__(inputs, outputs, list(by_name.values()), arguments, preprocessor, name)
        self._strength = strength
        self._columns = _Columns(drawn)

    @property
    def losses(self) -> list:
        """What is added to the tasks' losses: the distance of the columns, and what layers add."""
        added = super().losses
        squared = self._columns.squared_distances()
        if not squared or not self._strength:
            return added
        return [*added, self._strength * sum(squared)]

    def distances(self) -> dict[str, np.ndarray]:
        r"""How far the columns are apart.

        Returns:
            dict by stage of symmetric arrays `(T, T)`: the Euclidean distance of the weights of
            the i-th and the j-th of `task_names`.
        """
        return self._columns.distances()


class _Columns:
    """The weights of all columns that correspond to each other, untracked by Keras."""

    def __init__(self, drawn: Sequence[DrawnStage]) -> None:
        self.of_stage = {
            stage.name: [stage.matrices(name) for name in stage.ends] for stage in drawn
        }

    def squared_distances(self) -> list:
        """One scalar tensor for each pair of tasks and each stage that has weights."""
        return [
            _squared_distance(one, other)
            for columns in self.of_stage.values()
            for one, other in combinations(columns, 2)
            if one
        ]

    def distances(self) -> dict[str, np.ndarray]:
        found = {}
        for stage, columns in self.of_stage.items():
            found[stage] = np.zeros((len(columns), len(columns)))
            for (i, one), (j, other) in combinations(enumerate(columns), 2):
                squared = ops.convert_to_numpy(_squared_distance(one, other)) if one else 0.0
                found[stage][i, j] = found[stage][j, i] = np.sqrt(squared)
        return found


def _squared_distance(one: list, other: list) -> Any:
    pairs = zip(one, other, strict=True)
    return sum(ops.sum(ops.square(ops.subtract(a, b))) for a, b in pairs)
