"""Cross-stitch networks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_rate, check_units
from mtlzoo.models.architecture import Architecture, policy_config
from mtlzoo.models.columns import draw_columns, read_stitches, stitching
from mtlzoo.models.stages import stages_of
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class CrossStitch(Architecture):
    r"""A network for each task, which exchange features after every stage (Misra et al., 2016).

    $$x_t^{(k)} = f_t^{(k)}(\tilde x_t^{(k-1)}), \quad
    \tilde x_t^{(k)} = \sum_{j=1}^{T} \alpha_{tj}^{(k)} x_j^{(k)}, \quad
    y_t = h_t(\tilde x_t^{(K)}).$$

    The columns are shared, since each feeds all tasks; the mixture before its head is a task's own.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a functional Keras model, a `Sequential` or a layer from the inputs to features,
            of which each task gets a copy that begins with its weights. Without it the inputs are
            vectors of floats.
        stages: names of the layers of the backbone at which its stages end. Defaults to its
            `stage_names`, which those of `mtlzoo.backbones` have; without these it is one stage.
        units: widths of fully connected layers after the backbone, each a stage. Defaults to none.
        per_channel: whether every channel has a matrix $\alpha$ of its own, as in the paper,
            instead of one for the whole stage. Defaults to `False`.
        within: what $\alpha_{tt}$ begins with. Defaults to 0.9.
        between: what $\alpha_{tj}$ begins with. Defaults to `(1 - within) / (T - 1)`, for two tasks
            0.1, so that rows sum to 1.
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
    from mtlzoo import BinaryClassification, CrossStitch, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = CrossStitch(keras.Input((8,)), tasks, units=(16, 8))
    model.stitch_matrices()["units_0"]  # [[0.9, 0.1], [0.1, 0.9]]
    ```

    References:
        Misra et al., *Cross-stitch Networks for Multi-task Learning*, CVPR 2016.

    *Differences from the paper*: any number of tasks and any network; one matrix for a stage unless
    `per_channel`; columns begin as copies of the backbone, and `units` with a draw for each column,
    not as networks that were trained for one task each; and the matrices have no learning rate of
    their own.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        stages: Sequence[str] | None = None,
        units: Sequence[int] = (),
        per_channel: bool = False,
        within: float = 0.9,
        between: float | None = None,
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
        join = stitching(
            names, within=within, between=between, per_channel=per_channel, dtype=dtype
        )

        # --- Graph ---
        drawn = draw_columns(start, chain, names, join)
        outputs = {name: task.head(drawn[-1].joined[name]) for name, task in by_name.items()}

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "stages": None if stages is None else list(stages),
            "units": list(units),
            "per_channel": per_channel,
            "within": within,
            "between": between,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        super().__init__(inputs, outputs, list(by_name.values()), arguments, preprocessor, name)
        self._stage_names = tuple(stage.name for stage in chain)

    def stitch_matrices(self) -> dict[str, np.ndarray]:
        """How much each task receives of each column, after every stage.

        Returns:
            dict by stage of arrays `(T, T)`, with `per_channel` `(T, T, channels)`: row i is what
            the i-th of `task_names` receives.
        """
        return read_stitches(self, self.task_names, self._stage_names)
