"""Adaptive information transfer between tasks that follow each other."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.arguments import check_number, check_rate, check_units
from mtlzoo.layers.calibrator import Calibrator
from mtlzoo.layers.information_transfer import InformationTransfer
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
from mtlzoo.models.esmm import check_sequence
from mtlzoo.tasks import BinaryClassification, Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class AITM(Architecture):
    r"""Each task of a sequence takes over from the task before (Xi et al., KDD 2021).

    With a tower $q_t$ for each task and a layer $g_t$ that hands on what task $t$ found,

    $$z_1 = q_1(f(x)), \quad z_t = \mathrm{AIT}_t\big(g_{t-1}(z_{t-1}),\; q_t(f(x))\big), \quad
    y_t = h_t(z_t),$$

    where AIT weighs the two by attention (`mtlzoo.layers.InformationTransfer`). Where two tasks in
    a row are yes/no questions, the later cannot be more likely than the earlier, and training adds
    $\mathrm{weight} \cdot \frac{1}{n} \sum \max(\hat y_t - \hat y_{t-1}, 0)$ for their
    probabilities (`mtlzoo.layers.Calibrator`). Like a regularization loss this is balanced with
    nothing, and it counts all rows, also those without labels.

    What an earlier task hands on serves the later ones, so that its tower is shared and its head is
    its own.

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        sequence: names of tasks in causal order. The others have a tower and a head of their own.
        backbone: a Keras model or layer from the inputs to features. Without it the inputs are
            vectors of floats.
        tower_units: widths of the fully connected layers of each tower; the last is that of what
            is handed on, too. Defaults to `(128, 64, 32)`, as in the authors' code.
        calibration_weight: weight of the loss for probabilities that rise; 0 for none. Defaults to
            0.6, as in the paper.
        activation: activation of the towers and of what is handed on. Defaults to `"relu"`.
        dropout: rate of the dropout after each of these layers. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, sequences, widths, weights, rates or dtypes.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import AITM, BinaryClassification, Regression

    tasks = [BinaryClassification("click"), BinaryClassification("purchase"), Regression("price")]
    model = AITM(keras.Input((8,)), tasks, sequence=("click", "purchase", "price"))
    model.attention_weights(np.ones((2, 8)))["purchase"].shape  # (2, 2): of click's part, its own
    ```

    References:
        Xi et al., *Modeling the Sequential Dependence among Audience Multi-step Conversions with
        Multi-task Learning in Targeted Display Advertising*, KDD 2021.

    *Differences from the paper*: any kind of task may stand in the sequence, tasks may stand beside
    it, and the shared embeddings are the backbone.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        sequence: Sequence[str],
        backbone: Any = None,
        tower_units: Sequence[int] = (128, 64, 32),
        calibration_weight: float = 0.6,
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        sequence = check_sequence("sequence", sequence, by_name)
        tower_units = check_units("tower_units", tower_units)
        if not tower_units:
            raise ValueError("`tower_units` should have at least one layer. Received: ()")
        calibration_weight = check_number(
            "calibration_weight", calibration_weight, "a non-negative number", 0
        )
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)
        width = tower_units[-1]
        attention = {
            task_name: InformationTransfer(width, name=f"{task_name}_attention", dtype=dtype)
            for task_name in sequence[1:]
        }

        # --- Graph ---
        features = features_of(inputs, backbone, dtype)
        own = {
            task_name: dense_stack(
                features, tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            for task_name in by_name
        }
        weights = {}
        for previous, task_name in pairwise(sequence):
            prefix = f"{previous}_transfer"
            handed_on = dense_stack(own[previous], (width,), prefix, activation, dropout, dtype)
            own[task_name], weights[task_name] = attention[task_name]([handed_on, own[task_name]])
        outputs = {task_name: task.head(own[task_name]) for task_name, task in by_name.items()}
        probabilities = {
            task_name: keras.ops.sigmoid(outputs[task_name])
            if task.from_logits
            else outputs[task_name]
            for task_name, task in by_name.items()
            if isinstance(task, BinaryClassification)
        }
        for previous, task_name in pairwise(sequence):
            if {previous, task_name} <= set(probabilities):
                calibrator = Calibrator(
                    calibration_weight,
                    name=f"{task_name}_calibrator",
                    dtype=outputs[task_name].dtype,
                )
                outputs[task_name] = calibrator(
                    [outputs[task_name], probabilities[task_name], probabilities[previous]]
                )

        # --- Config ---
        arguments = {
            "sequence": list(sequence),
            "backbone": backbone,
            "tower_units": list(tower_units),
            "calibration_weight": calibration_weight,
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        inside = {"attention": weights} if weights else {}
        super().__init__(
            inputs, outputs, list(by_name.values()), arguments, preprocessor, name, inside
        )

    def attention_weights(self, x: Any, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """How much each task takes over from the task before it.

        Args:
            x: inputs of the model, a batch of them or as for `predict`.
            batch_size: as for `predict`.

        Returns:
            dict by task, for all of the sequence but the first, of arrays `(rows, ..., 2)`: the
            weight of what was handed on and of the task's own features. Each row sums to 1.
        """
        if "attention" not in self._held.inside:
            return {}
        return self._read("attention", x, batch_size)
