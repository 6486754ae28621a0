"""Real values."""

from typing import Any

import keras

from mtlzoo import metrics as m
from mtlzoo.tasks.task import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class Regression(Task):
    r"""`dim` real values, any of which may be missing.

    The default loss is the squared error of each present cell, $\ell = (y - \hat y)^2$.

    Args:
        name: Name of the task.
        dim: Number of values, at least 1. Defaults to 1.
        loss: A Keras loss, its name, or a function. Defaults to mean squared error. A loss that is
            not defined cell by cell is applied per row, and a row with a missing cell is missing.
        metrics: List of metrics, see `Task`. Defaults to MAE and RMSE over all cells and R²
            averaged over dimensions. RMSE decides; lower is better.
        missing: The value that says "no label". Defaults to `float("nan")`.

    Shapes:
        Labels `(B, dim)`, for `dim=1` also `(B,)`, of any number type; outputs `(B, dim)`.

    Raises:
        ValueError: If `name` cannot name a task or `dim` is below 1.

    Example:
    ```python
    from mtlzoo.tasks import Regression

    task = Regression("position", dim=2)
    task.read_labels([[1.0, float("nan")]]).present  # [[True, False]]
    ```
    """

    loss_family = "regression"
    monitor = "rmse"
    mode = "min"

    def __init__(
        self,
        name: str,
        dim: int = 1,
        *,
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = float("nan"),
    ) -> None:
        super().__init__(name, loss=loss, metrics=metrics, missing=missing)
        self.dim = self._at_least("dim", dim, 1)
        self.label_shape = () if self.dim == 1 else (self.dim,)
        self.output_shape = (self.dim,)

    def head(self, features: Any) -> Any:
        """One dense layer with `dim` outputs, named as the task."""
        return self._dense(features)

    def default_loss(self) -> keras.losses.Loss:
        """Squared error."""
        return keras.losses.MeanSquaredError()

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """MAE, RMSE and R²."""
        return [
            keras.metrics.MeanAbsoluteError("mae"),
            keras.metrics.RootMeanSquaredError("rmse"),
            m.R2Score(self.dim, name="r2"),
        ]

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"dim": self.dim, **super().get_config()}
