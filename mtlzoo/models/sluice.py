"""Sluice networks."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_number, check_rate, check_units
from mtlzoo.layers.layer_mixture import LayerMixture
from mtlzoo.models.architecture import Architecture, policy_config
from mtlzoo.models.columns import DrawnStage, draw_columns, read_stitches, stitching
from mtlzoo.models.resizing import resized
from mtlzoo.models.stages import stages_of
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class Sluice(Architecture):
    r"""Networks whose subspaces are exchanged, and whose layers are mixed (Ruder et al., 2019).

    $$x_t^{(k)} = f_t^{(k)}(\tilde x_t^{(k-1)}), \quad
    \tilde x_{t,g}^{(k)} = \sum_{j=1}^{T} \sum_{h=1}^{G} \alpha_{(t,g),(j,h)}^{(k)} x_{j,h}^{(k)},
    \quad y_t = h_t\Big(\sum_{k=1}^{K} \beta_t^{(k)} \tilde x_t^{(k)}\Big).$$

    $x_{t,g}$ is the g-th of $G$ equal parts of the channels. The subspaces of one column are kept
    apart by a term of the loss,

    $$\lambda \sum_{t,k} \sum_{g < h} \|W_{t,g}^{(k)\top} W_{t,h}^{(k)}\|^2,$$

    where $W_{t,g}^{(k)}$ is what the last kernel of the stage that is as wide as its features has
    for the part g of them, as a matrix. Stages without such a kernel have no term.

    The layers that are mixed for the head are brought to the form of the last stage where they
    differ from it: maps by the mean over positions (or repetition), widths by a linear product of
    the task's own.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a functional Keras model, a `Sequential` or a layer from the inputs to features,
            of which each task gets a copy that begins with its weights. Without it the inputs are
            vectors of floats.
        stages: names of the layers of the backbone at which its stages end. Defaults to its
            `stage_names`, which those of `mtlzoo.backbones` have; without these it is one stage.
        units: widths of fully connected layers after the backbone, each a stage. Defaults to none.
        subspaces: $G$, which all widths of stages must be divisible by. Defaults to 2, as in the
            paper.
        orthogonality: $\lambda$, at least 0. Defaults to 0.1, as in its authors' example.
        within: what $\alpha$ begins with for a subspace itself. Defaults to 0.9.
        between: what it begins with for the others. Defaults to `(1 - within) / (T * G - 1)`.
        last: what $\beta_t^{(K)}$ begins with; the others have equal parts of the rest. Defaults to
            0.9: the paper, too, begins with a bias towards the last.
        activation: activation of `units`. Defaults to `"relu"`.
        dropout: rate of the dropout after each of `units`. Defaults to 0.
        dtype: dtype policy of the layers, but those of the backbone. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, stages, widths, numbers, rates or dtypes, or stages
            that cannot be brought to the form of the last.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, Regression, Sluice

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = Sluice(keras.Input((8,)), tasks, units=(16, 16))
    model.stitch_matrices()["units_0"].shape  # (4, 4)
    model.layer_mixtures()["click"]  # {"units_0": 0.1, "units_1": 0.9}
    ```

    References:
        Ruder et al., *Latent Multi-task Architecture Learning*, AAAI 2019.

    *Differences from the paper*: any network instead of recurrent ones, any number of tasks, and
    $\alpha$ begins near the identity.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        stages: Sequence[str] | None = None,
        units: Sequence[int] = (),
        subspaces: int = 2,
        orthogonality: float = 0.1,
        within: float = 0.9,
        between: float | None = None,
        last: float = 0.9,
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        names = list(by_name)
        units = check_units("units", units)
        orthogonality = check_number("orthogonality", orthogonality, "a number of at least 0", 0)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        start, chain = stages_of(inputs, backbone, stages, units, activation, dropout, dtype)
        join = stitching(names, within=within, between=between, subspaces=subspaces, dtype=dtype)

        # --- Graph ---
        drawn = draw_columns(start, chain, names, join)
        outputs = {}
        for task_name, task in by_name.items():
            layers = _alike(drawn, task_name, dtype)
            mixture = LayerMixture(last, name=f"{task_name}_mixture", dtype=dtype)
            outputs[task_name] = task.head(mixture(layers))

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "stages": None if stages is None else list(stages),
            "units": list(units),
            "subspaces": subspaces,
            "orthogonality": orthogonality,
            "within": within,
            "between": between,
            "last": last,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        super().__init__(inputs, outputs, list(by_name.values()), arguments, preprocessor, name)
        self._stage_names = tuple(stage.name for stage in chain)
        self._orthogonality = orthogonality
        self._kernels = _Kernels(drawn, subspaces)

    def _width_unit(self, argument: str) -> int:
        return self._held.arguments["subspaces"] if argument == "units" else 1

    @property
    def losses(self) -> list:
        """What is added to the tasks' losses: the overlap of subspaces, and what layers add."""
        added = super().losses
        overlaps = self._kernels.overlaps()
        if not overlaps or not self._orthogonality:
            return added
        return [*added, self._orthogonality * sum(overlaps)]

    def stitch_matrices(self) -> dict[str, np.ndarray]:
        """How much each subspace receives of each other, after every stage.

        Returns:
            dict by stage of arrays `(T * subspaces, T * subspaces)`: rows receive, and the
            subspaces of the first of `task_names` stand first.
        """
        return read_stitches(self, self.task_names, self._stage_names)

    def layer_mixtures(self) -> dict[str, dict[str, float]]:
        """How much of each stage a task's head receives: a dict by task of dicts by stage."""
        found = {}
        for name in self.task_names:
            beta = ops.convert_to_numpy(self.get_layer(f"{name}_mixture").beta)
            found[name] = dict(zip(self._stage_names, beta.tolist(), strict=True))
        return found


def _alike(drawn: Sequence[DrawnStage], task_name: str, dtype: Any) -> list:
    """A task's features after each stage, in the shape of the last."""
    last = drawn[-1].joined[task_name]
    layers = []
    for stage in drawn:
        features = stage.joined[task_name]
        prefix = f"{task_name}_{stage.name}"
        features = resized(features, last, "Average", f"{prefix}_resized", dtype)
        if features.shape[-1] != last.shape[-1]:
            project = keras.layers.Dense(
                last.shape[-1], use_bias=False, name=f"{prefix}_projected", dtype=dtype
            )
            features = project(features)
        layers.append(features)
    return layers


class _Kernels:
    """What makes the subspaces of all stages of all columns, untracked by Keras."""

    def __init__(self, drawn: Sequence[DrawnStage], subspaces: int) -> None:
        self.subspaces = subspaces
        self.kernels = []
        for stage in drawn:
            for task_name, end in stage.ends.items():
                as_wide = [v for v in stage.matrices(task_name) if v.shape[-1] == end.shape[-1]]
                self.kernels += as_wide[-1:]

    def overlaps(self) -> list:
        """One scalar tensor for each pair of subspaces of each kernel."""
        found = []
        for kernel in self.kernels:
            matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
            parts = ops.split(matrix, self.subspaces, axis=-1)
            products = [ops.matmul(ops.transpose(a), b) for a, b in combinations(parts, 2)]
            found += [ops.sum(ops.square(product)) for product in products]
        return found
