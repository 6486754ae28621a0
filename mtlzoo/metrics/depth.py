"""Metrics of depths and other positive values."""

from typing import Any

import keras
from keras import ops

from mtlzoo.metrics.arguments import weights_like


class _MeanOfPositive(keras.metrics.Mean):
    """The weighted mean of a score of each positive label."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = ops.cast(y_true, self.dtype), ops.cast(y_pred, self.dtype)
        if len(y_true.shape) < len(y_pred.shape):
            y_pred = ops.squeeze(y_pred, -1)
        weights = weights_like(sample_weight, y_true, self.dtype)
        # Where there is no label there may be a 0.
        weights = ops.where(y_true > 0, weights, ops.zeros_like(weights))
        y_true = ops.where(y_true > 0, y_true, ops.ones_like(y_true))
        super().update_state(self._scores(y_true, y_pred), weights)


@keras.saving.register_keras_serializable(package="mtlzoo")
class RelativeError(_MeanOfPositive):
    r"""Mean absolute error relative to the label: the mean of $|y - \hat y| / y$.

    Args:
        name: Name of the metric. Defaults to `"rel_error"`.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        `y_true` and `y_pred` `(B, ...)`, one of them possibly with a last axis of 1 more;
        `sample_weight` `(B,)` to `(B, ...)`. Labels that are not positive do not count. The result
        is a scalar.

    Example:
    ```python
    from mtlzoo.metrics import RelativeError

    error = RelativeError()
    error.update_state([2.0, 4.0], [1.0, 4.0])
    float(error.result())  # 0.25
    ```
    """

    def __init__(self, name: str = "rel_error", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def _scores(self, y_true, y_pred):
        return ops.abs(y_true - y_pred) / y_true


@keras.saving.register_keras_serializable(package="mtlzoo")
class ThresholdAccuracy(_MeanOfPositive):
    r"""The share of outputs within a factor of the label: $\max(y / \hat y, \hat y / y) < \delta$.

    Eigen et al., *Depth Map Prediction from a Single Image using a Multi-Scale Deep Network*, 2014,
    with $\delta$ of 1.25, 1.25² and 1.25³. An output that is not positive is never within it.

    Args:
        threshold: The factor, above 1. Defaults to 1.25.
        name: Name of the metric. Defaults to `"delta_1"`.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        As for `RelativeError`.

    Raises:
        ValueError: If `threshold` is not above 1.

    Example:
    ```python
    from mtlzoo.metrics import ThresholdAccuracy

    accuracy = ThresholdAccuracy()
    accuracy.update_state([2.0, 4.0], [2.4, 3.0])
    float(accuracy.result())  # 0.5
    ```

    References:
        Eigen et al., NIPS 2014, arXiv:1406.2283.
    """

    def __init__(self, threshold: float = 1.25, name: str = "delta_1", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not is_number or not 1 < threshold < float("inf"):
            raise ValueError(
                f"`threshold` should be a number above 1. Received: threshold={threshold!r}"
            )
        self.threshold = float(threshold)

    def _scores(self, y_true, y_pred):
        within = (y_pred * self.threshold > y_true) & (y_pred < y_true * self.threshold)
        return ops.cast(within, self.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"threshold": self.threshold, **super().get_config()}
