"""Hard parameter sharing."""

from collections.abc import Sequence
from typing import Any

import keras

from mtlzoo import tasks as task_kinds
from mtlzoo.layers.experts import check_rate, check_units
from mtlzoo.models.architecture import Architecture, dense_stack, features_of, policy_config
from mtlzoo.tasks import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class HardSharing(Architecture):
    """One trunk that all tasks share, and a tower and head for each task (Caruana, 1997).

    $$y_t = h_t(f(x)).$$

    Args:
        inputs: a `keras.Input`, or a list or dict of them.
        tasks: list of tasks.
        backbone: a Keras model or layer from the inputs to features. Without it the inputs are
            vectors of floats.
        shared_units: widths of fully connected layers that all tasks share, after the backbone.
            Defaults to none.
        tower_units: widths of the fully connected layers of each task's tower. Defaults to none.
        activation: activation of both. Defaults to `"relu"`.
        dropout: rate of the dropout after each of these layers. Defaults to 0.
        dtype: dtype policy of the layers. Defaults to the global one.
        preprocessor: see `MultiTaskModel`.
        name: name of the model.

    Shapes:
        Inputs as given; outputs a dict by task, of the shapes of the tasks' heads.

    Raises:
        ValueError: for unusable inputs, tasks, widths, rates or dtypes.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(32,), tower_units=(16,))
    ```

    References:
        Caruana, *Multitask Learning*, Machine Learning 28, 1997.

    *Differences from the paper*: rectified instead of sigmoid units, and any backbone.
    """

    def __init__(
        self,
        inputs: Any,
        tasks: Sequence[Task],
        *,
        backbone: Any = None,
        shared_units: Sequence[int] = (),
        tower_units: Sequence[int] = (),
        activation: Any = "relu",
        dropout: float = 0.0,
        dtype: Any = None,
        preprocessor: keras.Model | None = None,
        name: str | None = None,
    ) -> None:
        # --- Layers ---
        by_name = task_kinds.by_name(tasks)
        shared_units = check_units("shared_units", shared_units)
        tower_units = check_units("tower_units", tower_units)
        dropout = check_rate("dropout", dropout)
        dtype = policy_config(dtype)

        # --- Graph ---
        features = features_of(inputs, backbone)
        features = dense_stack(features, shared_units, "shared", activation, dropout, dtype)
        outputs = {}
        for task_name, task in by_name.items():
            tower = dense_stack(
                features, tower_units, f"{task_name}_tower", activation, dropout, dtype
            )
            outputs[task_name] = task.head(tower)

        # --- Config ---
        arguments = {
            "backbone": backbone,
            "shared_units": list(shared_units),
            "tower_units": list(tower_units),
            "activation": activation,
            "dropout": dropout,
            "dtype": dtype,
        }
        super().__init__(inputs, outputs, list(by_name.values()), arguments, preprocessor, name)
