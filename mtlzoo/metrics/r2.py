"""The coefficient of determination, with a mask per cell."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtlzoo")
class R2Score(keras.metrics.R2Score):
    r"""The part of the labels' variance that the outputs explain, averaged over dimensions.

    $$R^2 = 1 - \frac{\sum_n w_n (y_n - \hat y_n)^2}{\sum_n w_n (y_n - \bar y)^2}$$

    Keras's `R2Score` with two differences. It averages over the dimensions whose labels vary; Keras
    answers NaN when a dimension has no labels or constant ones. And it sums in float64: the
    variance is a difference of two sums, of which float32 leaves nothing for labels such as years.

    Args:
        name: Name of the metric. Defaults to `"r2"`.
        dtype: Data type of the sums. Defaults to `"float64"`.

    Shapes:
        `y_true` and `y_pred` `(B, dim)`; `sample_weight` `(B,)` or `(B, dim)`. The result is a
        scalar; 0 while no dimension varies.

    Example:
    ```python
    from mtlzoo.metrics import R2Score

    r2 = R2Score()
    r2.update_state([[1.0], [2.0], [3.0]], [[1.0], [2.0], [2.0]])
    float(r2.result())  # 0.5
    ```
    """

    def __init__(self, name: str = "r2", dtype: Any = "float64"):
        super().__init__(name=name, dtype=dtype)

    def add_variable(self, shape, initializer, dtype=None, aggregation="sum", name=None):
        """A variable of the metric's own data type, where Keras falls back to `floatx`."""
        dtype = dtype or self.dtype
        return super().add_variable(shape, initializer, dtype, aggregation, name)

    def result(self):
        """The mean of R² over the dimensions whose labels vary."""
        if not self._built:
            return ops.zeros((), self.dtype)
        mean = ops.divide_no_nan(self.sum, self.count)
        total = self.squared_sum - self.sum * mean
        varies = ops.cast(total > 0, self.dtype)
        scores = varies - ops.divide_no_nan(self.total_mse * varies, total)
        return ops.divide_no_nan(ops.sum(scores), ops.sum(varies))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"name": self.name, "dtype": self.dtype}
