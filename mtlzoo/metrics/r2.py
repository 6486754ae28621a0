"""The coefficient of determination, with a mask per cell."""

from typing import Any

import keras
from keras import ops

from mtlzoo.metrics.arguments import check_count, check_width

# A variance below this part of the mean square is the rounding error of constant labels: some
# thousand times the resolution, 2e-16 in float64 and 1e-7 in float32.
_ROUNDING = {"float64": 1e-12, "float32": 1e-4}


@keras.saving.register_keras_serializable(package="mtlzoo")
class R2Score(keras.metrics.Metric):
    r"""The part of the labels' variance that the outputs explain, averaged over dimensions.

    $$R^2 = 1 - \frac{\sum_n w_n (y_n - \hat y_n)^2}{\sum_n w_n (y_n - \bar y)^2}$$

    It averages over the dimensions whose labels vary, and is 0 while there is none, where
    `keras.metrics.R2Score` answers NaN. It sums in float64: the variance is a difference of two
    sums, of which float32 leaves nothing for labels such as years. And it makes its variables at
    once, where Keras's waits for the first batch, which under a distribution strategy is too late.

    Args:
        dim: Number of dimensions, the size of the outputs' last axis. Defaults to 1.
        name: Name of the metric. Defaults to `"r2"`.
        dtype: Data type of the sums, `"float64"` or `"float32"`. Defaults to `"float64"`.

    Shapes:
        `y_true` and `y_pred` `(B, dim)`; `sample_weight` `(B,)` or `(B, dim)`. The result is a
        scalar.

    Raises:
        ValueError: For another `dtype`, no dimension, or labels or outputs of another shape.

    Example:
    ```python
    from mtlzoo.metrics import R2Score

    r2 = R2Score()
    r2.update_state([[1.0], [2.0], [3.0]], [[1.0], [2.0], [2.0]])
    float(r2.result())  # 0.5
    ```
    """

    def __init__(self, dim: int = 1, name: str = "r2", dtype: Any = "float64") -> None:
        super().__init__(name=name, dtype=dtype)
        if self.dtype not in _ROUNDING:
            raise ValueError(f"`dtype` should be 'float64' or 'float32'. Received: dtype={dtype!r}")
        self.dim = check_count("dim", dim)
        self.count = self._sums("count")
        self.labels = self._sums("labels")
        self.squared_labels = self._sums("squared_labels")
        self.squared_errors = self._sums("squared_errors")

    def _sums(self, name: str):
        return self.add_variable((self.dim,), "zeros", dtype=self.dtype, name=name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts one batch."""
        y_true, y_pred = ops.cast(y_true, self.dtype), ops.cast(y_pred, self.dtype)
        check_width("y_true", y_true, self.dim)
        check_width("y_pred", y_pred, self.dim)
        weights = ops.ones_like(y_true)
        if sample_weight is not None:
            given = ops.cast(sample_weight, self.dtype)
            weights = weights * (given if len(given.shape) == 2 else ops.expand_dims(given, -1))
        self.count.assign_add(ops.sum(weights, axis=0))
        self.labels.assign_add(ops.sum(weights * y_true, axis=0))
        self.squared_labels.assign_add(ops.sum(weights * ops.square(y_true), axis=0))
        self.squared_errors.assign_add(ops.sum(weights * ops.square(y_true - y_pred), axis=0))

    def result(self) -> Any:
        """The mean of R² over the dimensions whose labels vary."""
        mean = ops.divide_no_nan(self.labels, self.count)
        variation = self.squared_labels - self.labels * mean
        varies = ops.cast(variation > _ROUNDING[self.dtype] * self.squared_labels, self.dtype)
        scores = varies - ops.divide_no_nan(self.squared_errors * varies, variation)
        return ops.divide_no_nan(ops.sum(scores), ops.sum(varies))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"dim": self.dim, **super().get_config()}
