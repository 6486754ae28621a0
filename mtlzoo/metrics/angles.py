"""Metrics of directions: angles between vectors, in degrees."""

import math
from typing import Any

import keras
from keras import ops

from mtlzoo.metrics.arguments import check_count, weights_like


def unit(vectors: Any, least: float = 1e-12) -> Any:
    """Vectors divided by their length, or by `least` where they are shorter.

    Args:
        vectors: Float tensor `(..., D)`.
        least: The least divisor, positive. Defaults to 1e-12.

    Returns:
        A tensor of the same shape; zero vectors stay zero, with a finite gradient.

    Example:
    ```python
    from mtlzoo.metrics.angles import unit

    unit([[3.0, 4.0], [0.0, 0.0]])  # [[0.6, 0.8], [0.0, 0.0]]
    ```
    """
    vectors = ops.convert_to_tensor(vectors)
    square = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors / ops.sqrt(ops.maximum(square, least**2))


def angles(one: Any, other: Any) -> Any:
    r"""The angles between vectors in degrees, $2\,\mathrm{atan2}(|a - b|, |a + b|)$ of unit ones.

    The inverse cosine would round angles below 0.03 degrees to 0 in float32.

    Args:
        one: Float tensor `(..., D)`.
        other: Float tensor of the same shape.

    Returns:
        A tensor `(...)`, from 0 to 180; 90 where one of the vectors is 0.

    Example:
    ```python
    from mtlzoo.metrics.angles import angles

    angles([[1.0, 0.0]], [[0.0, 2.0]])  # [90.]
    ```
    """
    one, other = unit(one), unit(other)
    apart = ops.sqrt(ops.sum(ops.square(one - other), axis=-1))
    along = ops.sqrt(ops.sum(ops.square(one + other), axis=-1))
    return ops.arctan2(apart, along) * (360 / math.pi)


class _OfAngles:
    """What metrics of angles share: angles and weights of a batch."""

    dtype: str

    def _read(self, y_true, y_pred, sample_weight):
        found = angles(ops.cast(y_true, self.dtype), ops.cast(y_pred, self.dtype))
        return found, weights_like(sample_weight, found, self.dtype)


@keras.saving.register_keras_serializable(package="mtlzoo")
class MeanAngle(_OfAngles, keras.metrics.Mean):
    """The mean angle between labels and outputs, in degrees.

    Args:
        name: Name of the metric. Defaults to `"mean_angle"`.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        `y_true` and `y_pred` `(B, ..., D)`, of any length; `sample_weight` `(B,)` to `(B, ...)`.
        The result is a scalar.

    Example:
    ```python
    from mtlzoo.metrics import MeanAngle

    angle = MeanAngle()
    angle.update_state([[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [5.0, 0.0]])
    float(angle.result())  # 45.0
    ```
    """

    def __init__(self, name: str = "mean_angle", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts one batch."""
        super().update_state(*self._read(y_true, y_pred, sample_weight))


@keras.saving.register_keras_serializable(package="mtlzoo")
class AngleWithin(_OfAngles, keras.metrics.Mean):
    """The share of angles between labels and outputs below a number of degrees.

    Args:
        degrees: The number of degrees, above 0, at most 180.
        name: Name of the metric. Defaults to `within_` and the degrees, as `within_11_25`.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        As for `MeanAngle`.

    Raises:
        ValueError: For other degrees.

    Example:
    ```python
    from mtlzoo.metrics import AngleWithin

    share = AngleWithin(30)
    share.update_state([[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [5.0, 1.0]])
    float(share.result())  # 0.5
    ```
    """

    def __init__(self, degrees: float, name: str | None = None, dtype: Any = None) -> None:
        is_number = isinstance(degrees, int | float) and not isinstance(degrees, bool)
        if not is_number or not 0 < degrees <= 180:
            raise ValueError(
                "`degrees` should be a number above 0 and at most 180. "
                f"Received: degrees={degrees!r}"
            )
        text = f"within_{degrees:g}".replace(".", "_")
        super().__init__(name=text if name is None else name, dtype=dtype)
        self.degrees = float(degrees)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts one batch."""
        found, weights = self._read(y_true, y_pred, sample_weight)
        super().update_state(ops.cast(found < self.degrees, self.dtype), weights)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"degrees": self.degrees, **super().get_config()}


@keras.saving.register_keras_serializable(package="mtlzoo")
class MedianAngle(_OfAngles, keras.metrics.Metric):
    """The median angle between labels and outputs, in degrees.

    Angles are counted in even bins from 0 to 180, and the median lies in its bin where half of the
    weight is reached: its error is at most the width of a bin, 0.1 degrees with the default.

    Args:
        bins: Number of bins. Defaults to 1800.
        name: Name of the metric. Defaults to `"median_angle"`.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        As for `MeanAngle`. The result is 0 while nothing was counted.

    Raises:
        ValueError: If `bins` is no positive integer.

    Example:
    ```python
    from mtlzoo.metrics import MedianAngle

    angle = MedianAngle()
    angle.update_state([[1.0, 0.0]] * 3, [[1.0, 1.0], [5.0, 0.0], [-1.0, 0.0]])
    float(angle.result())  # 45.05
    ```
    """

    def __init__(self, bins: int = 1800, name: str = "median_angle", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.bins = check_count("bins", bins)
        self.counts = self.add_variable((self.bins,), "zeros", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts one batch."""
        found, weights = self._read(y_true, y_pred, sample_weight)
        ids = ops.cast(ops.minimum(found * (self.bins / 180), self.bins - 1), "int32")
        flat = (ops.reshape(part, (-1,)) for part in (weights, ids))
        self.counts.assign_add(ops.segment_sum(*flat, self.bins))

    def result(self) -> Any:
        """The median."""
        counts = ops.convert_to_tensor(self.counts)
        sums = ops.cumsum(counts)
        half = sums[-1] / 2
        place = ops.argmax(ops.cast(sums >= half, "int32"))
        within = ops.take(counts, place)
        below = ops.take(sums, place) - within
        part = ops.divide_no_nan(half - below, within)
        width = 180 / self.bins
        return width * ops.where(half > 0, ops.cast(place, self.dtype) + part, ops.zeros_like(part))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"bins": self.bins, **super().get_config()}
