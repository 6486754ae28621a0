"""Fusion by neural discriminative dimensionality reduction."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.layers.nddr import NDDRUnit
from mtlzoo.models.architecture import Architecture, policy_config
from mtlzoo.models.columns import draw_columns
from mtlzoo.models.stages import stages_of
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class NDDR(Architecture):
    r"""A network for each task, fused after every stage by a convolution 1×1 (Gao et al., 2019).

    $$x_t^{(k)} = f_t^{(k)}(\tilde x_t^{(k-1)}), \quad
    \tilde x_t^{(k)} = a\big(n([x_1^{(k)}, \ldots, x_T^{(k)}] W_t^{(k)})\big), \quad
    y_t = h_t(\tilde x_t^{(K)}).$$

    Channels of all tasks are joined at each position and reduced by $W_t$ to the width of one; $n$
    is batch normalization, over all replicas. The columns are shared, since each feeds all tasks;
    the fusion before its head is a task's own.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a functional Keras model, a `Sequential` or a layer from the inputs to features,
            of which each task gets a copy that begins with its weights. Without it the inputs are
            vectors of floats.
        stages: names of the layers of the backbone at which its stages end. Defaults to its
            `stage_names`, which those of `mtlzoo.backbones` have; without these it is one stage.
        units: widths of fully connected layers after the backbone, each a stage. Defaults to none.
        within: what $W_t$ begins with on the diagonal of the task's own block. Defaults to 0.9, as
            in the paper.
        between: what it begins with on the diagonals of the others. Defaults to
            `(1 - within) / (T - 1)`, for two tasks 0.1, as in the paper.
        fusion_activation: activation $a$. Defaults to `"relu"`.
        weight_decay: factor of the squared length of all $W_t$ in the loss. Defaults to 0.
        activation: activation of `units`. Defaults to `"relu"`.
        dropout: rate of the dropout after each of `units`. Defaults to 0.
        dtype: dtype policy of the layers, but those of the backbone. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, stages, widths, numbers, rates or dtypes.

    Example:
    ```python
    import keras
    from mtlzoo import NDDR, BinaryClassification, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = NDDR(keras.Input((8,)), tasks, units=(16, 8))
    model.fusion_matrices()["units_0"].shape  # (2, 2, 16, 16)
    ```

    References:
        Gao et al., *NDDR-CNN: Layerwise Feature Fusing in Multi-Task CNNs by Neural
        Discriminative Dimensionality Reduction*, CVPR 2019.

    *Differences from the paper*: any number of tasks and any network; columns begin as copies of
    the backbone, and `units` with a draw for each column, not as networks that were trained for one
    task each; fusion has no learning rate of its own; and there are no shortcuts from early stages
    to the head.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        stages: Sequence[str] | None = None,
        units: Sequence[int] = (),
        within: float = 0.9,
        between: float | None = None,
        fusion_activation: Any = "relu",
        weight_decay: float = 0.0,
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
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        start, chain = stages_of(inputs, backbone, stages, units, activation, dropout, dtype)

        def join(stage, index, features):
            unit = NDDRUnit(
                index,
                within,
                between,
                fusion_activation,
                weight_decay,
                name=f"fusion_{names[index]}_{stage.name}",
                dtype=dtype,
            )
            return unit(features)

        # --- Graph ---
        drawn = draw_columns(start, chain, names, join)
        outputs = {name: task.head(drawn[-1].joined[name]) for name, task in by_name.items()}

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "stages": None if stages is None else list(stages),
            "units": list(units),
            "within": within,
            "between": between,
            "fusion_activation": fusion_activation,
            "weight_decay": weight_decay,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        super().__init__(inputs, outputs, list(by_name.values()), arguments, preprocessor, name)
        self._stage_names = tuple(stage.name for stage in chain)

    def fusion_matrices(self) -> dict[str, np.ndarray]:
        """What each task's features are made of, after every stage.

        Returns:
            dict by stage of arrays `(T, T, channels, channels)`: `[i, j, c, d]` is the weight of
            channel c of the j-th of `task_names` in channel d of what the i-th receives.
        """
        count = len(self.task_names)
        found = {}
        for stage in self._stage_names:
            layers = [self.get_layer(f"fusion_{name}_{stage}") for name in self.task_names]
            kernels = [keras.ops.convert_to_numpy(layer.kernel) for layer in layers]
            found[stage] = np.stack([k.reshape(count, -1, k.shape[-1]) for k in kernels])
        return found
