"""The direction of the surface at each pixel."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo import metrics as m
from mtlzoo.metrics.angles import unit
from mtlzoo.tasks.pixels import PixelTask
from mtlzoo.tasks.task import as_float

# An output shorter than this counts as one of this length: the gradient of the cosine, which grows
# as the inverse of the length, stays below a thousand.
_SHORTEST = 1e-3


@keras.saving.register_keras_serializable(package="mtlzoo")
class SurfaceNormalEstimation(PixelTask):
    r"""The direction of the surface at each pixel, a vector of three numbers.

    The default loss is the cosine distance of each labelled pixel,
    $\ell = 1 - y \cdot \hat y / (|y| |\hat y|)$, averaged over the labelled pixels of the batch.
    The head is one 1x1 convolution, after a decoder where `aspp_filters` or `head_units` ask for
    one; where `size` differs from the features' own, its vectors are resized. Raw outputs are of
    any length, served ones of length 1.

    Args:
        name: Name of the task.
        size: Height and width of the labels. Defaults to those of the features.
        head_units: Channels of 3x3 convolutions before the last one, each with batch normalization
            and a rectifier. Defaults to none.
        aspp_filters: Channels of an `ASPP` before all these, for a decoder of the task's own.
            Defaults to None, for none.
        aspp_rates: Its rates. Defaults to `(6, 12, 18)`.
        loss: A Keras loss, its name, or a function of one value per pixel. Defaults to
            `CosineDistance`.
        metrics: List of metrics, see `Task`. Defaults to the mean and the median angle between
            label and output in degrees (`mean_angle`, `median_angle`, the latter to 0.1 degrees)
            and the shares of pixels within 11.25, 22.5 and 30 degrees (`within_11_25`,
            `within_22_5`, `within_30`). The mean angle decides; lower is better.
        missing: The number that says "no label". Defaults to `float("nan")`, with which a pixel is
            missing if any of its numbers is NaN. With another number it is if all three are that
            number, since a 0 alone is a legal part of a normal.

    Shapes:
        Labels `(B, H, W, 3)`, of any number type and of any length but 0; outputs the same shape;
        sample weights `(B,)` or `(B, H, W)`.

    Raises:
        ValueError: If `name` cannot name a task, `size` is no height and width, or a width or rate
            of the head is not positive.

    Example:
    ```python
    from mtlzoo.tasks import SurfaceNormalEstimation

    task = SurfaceNormalEstimation("normals", missing=0.0)
    task.read_labels([[[[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]]).present  # [[[True, False]]]
    task.serve([[[[0.0, 3.0, 4.0]]]])["normals"]  # [[[[0.0, 0.6, 0.8]]]]
    ```
    """

    monitor = "mean_angle"

    def __init__(
        self,
        name: str,
        size: tuple[int, int] | None = None,
        *,
        head_units: Sequence[int] = (),
        aspp_filters: int | None = None,
        aspp_rates: Sequence[int] = (6, 12, 18),
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = float("nan"),
    ) -> None:
        super().__init__(name, loss=loss, metrics=metrics, missing=missing)
        self._set_size(size, 3, (3,))
        self._set_head(head_units, aspp_filters, aspp_rates)

    def default_loss(self) -> keras.losses.Loss:
        """Cosine distance."""
        return CosineDistance()

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """Mean and median angle, and the shares within 11.25, 22.5 and 30 degrees."""
        shares = [m.AngleWithin(degrees) for degrees in (11.25, 22.5, 30)]
        return [m.MeanAngle("mean_angle"), m.MedianAngle(name="median_angle"), *shares]

    def is_missing(self, labels: Any) -> Any:
        """Where a vector has a NaN, or where all of it is the missing number."""
        missing = super().is_missing(labels)
        if self.missing == self.missing:
            whole = ops.all(missing, axis=-1, keepdims=True)
            missing = ops.logical_and(missing, whole)
        return missing

    def legal(self, labels: Any) -> Any:
        """Finite numbers, of which one at least is not 0."""
        is_zero = ops.all(labels == 0, axis=-1, keepdims=True)
        return ops.logical_and(ops.isfinite(labels), ops.logical_not(is_zero))

    def serve(self, outputs: Any) -> dict[str, Any]:
        """The vectors in length 1, `(B, H, W, 3)`; a zero vector stays one."""
        return {self.name: unit(as_float(outputs))}


@keras.saving.register_keras_serializable(package="mtlzoo")
class CosineDistance(keras.losses.Loss):
    r"""One minus the cosine of the angle between label and output, from 0 to 2.

    $$\ell = 1 - \frac{y \cdot \hat y}{|y|\, \max(|\hat y|, 10^{-3})}$$

    `keras.losses.CosineSimilarity` is this less 1; balancers of the losses' scales need a loss that
    is not negative.

    Args:
        name: Name of the loss. Defaults to `"cosine_distance"`.
        reduction: Reduction where the loss is used outside a task. Defaults to
            `"sum_over_batch_size"`.
        dtype: Data type of the computation. Defaults to `keras.config.floatx()`.

    Shapes:
        `y_true` and `y_pred` `(B, ..., D)`; the values `(B, ...)`. A zero vector has the distance 1
        from every other.

    Example:
    ```python
    from mtlzoo.tasks import CosineDistance

    CosineDistance()([[1.0, 0.0]], [[3.0, 4.0]])  # 0.4
    ```
    """

    def __init__(
        self,
        name: str = "cosine_distance",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The value of each vector."""
        return 1 - ops.sum(unit(y_true) * unit(y_pred, _SHORTEST), axis=-1)
