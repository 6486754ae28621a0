"""The distance of each pixel."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo import metrics as m
from mtlzoo.tasks.labels import check_not_legal, dtype_of
from mtlzoo.tasks.pixels import PixelTask


@keras.saving.register_keras_serializable(package="mtlzoo")
class DepthEstimation(PixelTask):
    r"""The depth of each pixel, a positive number such as metres (or an inverse depth).

    The default loss is the absolute error of each labelled pixel, $\ell = |y - \hat y|$, averaged
    over the labelled pixels of the batch. The head is one 1x1 convolution, after a decoder where
    `aspp_filters` or `head_units` ask for one; where `size` differs from the features' own, its
    values are resized.

    Args:
        name: Name of the task.
        size: Height and width of the labels. Defaults to those of the features.
        head_units: Channels of 3x3 convolutions before the last one, each with batch normalization
            and a rectifier. Defaults to none.
        aspp_filters: Channels of an `ASPP` before all these, for a decoder of the task's own.
            Defaults to None, for none.
        aspp_rates: Its rates. Defaults to `(6, 12, 18)`.
        loss: A Keras loss, its name, or a function of one value per pixel; `ScaleInvariantLog` is
            one made for depths. Defaults to mean absolute error.
        metrics: List of metrics, see `Task`. Defaults to the absolute error (`abs_error`), the
            error relative to the label (`rel_error`) and the share of pixels within a factor of
            1.25 (`delta_1`). The absolute error decides; lower is better.
        missing: The number that says "no label", not positive or not finite. Defaults to
            `float("nan")`; data sets of depth cameras often have 0.

    Shapes:
        Labels `(B, H, W)` or `(B, H, W, 1)`, of any number type; outputs `(B, H, W, 1)`; sample
        weights `(B,)` or `(B, H, W)`.

    Raises:
        ValueError: If `name` cannot name a task, `size` is no height and width, a width or rate of
            the head is not positive, or `missing` is a depth.

    Example:
    ```python
    from mtlzoo.tasks import DepthEstimation

    labels = DepthEstimation("depth", missing=0.0).read_labels([[[0.0, 2.5], [-1.0, 0.3]]])
    labels.present  # [[[False, True], [False, True]]]
    labels.invalid  # [[[False, False], [True, False]]]
    ```
    """

    monitor = "abs_error"

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
        check_not_legal(name, missing, 0 < missing < float("inf"))
        self._set_size(size, 1)
        self._set_head(head_units, aspp_filters, aspp_rates)

    def default_loss(self) -> keras.losses.Loss:
        """Absolute error."""
        return keras.losses.MeanAbsoluteError()

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """Absolute error, relative error and the share within a factor of 1.25."""
        return [
            keras.metrics.MeanAbsoluteError("abs_error"),
            m.RelativeError("rel_error"),
            m.ThresholdAccuracy(name="delta_1"),
        ]

    def canonical(self, labels: Any) -> Any:
        """Depths `(B, H, W, 1)`."""
        labels = labels if dtype_of(labels) == "float64" else ops.cast(labels, "float32")
        return ops.expand_dims(labels, -1) if len(labels.shape) == 3 else labels

    def legal(self, labels: Any) -> Any:
        """Finite positive numbers."""
        return ops.logical_and(ops.isfinite(labels), labels > 0)


@keras.saving.register_keras_serializable(package="mtlzoo")
class ScaleInvariantLog(keras.losses.Loss):
    r"""The squared error of log depths, in part without regard to the scale of an image.

    Eigen et al., *Depth Map Prediction from a Single Image using a Multi-Scale Deep Network*, 2014.
    With $d = \log \hat y - \log y$ over the $n$ labelled pixels of an image,

    $$\ell = \frac1n \sum_p d_p^2 - \frac{\lambda}{n^2} \Big(\sum_p d_p\Big)^2.$$

    It gives each pixel $d_p^2 - \lambda d_p \bar d$, with $\bar d$ the mean over the image, and the
    mean of these over the image is $\ell$.

    Args:
        scale_weight: $\lambda$, from 0 (squared error of logs) to 1 (scale does not matter).
            Defaults to 0.5.
        floor: Positive number; for outputs below it the logarithm goes on as its tangent, so that
            an output of any sign has a gradient. In the unit of the labels. Defaults to 0.1.
        name: Name of the loss. Defaults to `"scale_invariant_log"`.
        reduction: Reduction where the loss is used outside a task. Defaults to
            `"sum_over_batch_size"`.
        dtype: Data type of the computation. Defaults to `keras.config.floatx()`.

    Shapes:
        `y_true` and `y_pred` `(B, H, W, 1)`; the values `(B, H, W)`. Labels that are not positive
        are left out.

    Raises:
        ValueError: If `scale_weight` is not from 0 to 1 or `floor` is not positive.

    Example:
    ```python
    from keras import ops
    from mtlzoo.tasks import DepthEstimation, ScaleInvariantLog

    task = DepthEstimation("depth", loss=ScaleInvariantLog(1.0))
    depths = ops.reshape([1.0, 2.0, 3.0, 4.0], (1, 2, 2, 1))
    float(ops.sum(task.loss.call(depths, 3 * depths)))  # 0.0: only the scale is wrong
    ```

    References:
        Eigen et al., NIPS 2014, arXiv:1406.2283.

    *Differences from the paper*: the network puts out depths, not their logarithms. Images of a
    batch count by their labelled pixels.
    """

    def __init__(
        self,
        scale_weight: float = 0.5,
        floor: float = 0.1,
        name: str = "scale_invariant_log",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not _is_number(scale_weight) or not 0 <= scale_weight <= 1:
            raise ValueError(
                "`scale_weight` should be a number from 0 to 1. "
                f"Received: scale_weight={scale_weight!r}"
            )
        if not _is_number(floor) or not 0 < floor < float("inf"):
            raise ValueError(f"`floor` should be a positive number. Received: floor={floor!r}")
        self.scale_weight = float(scale_weight)
        self.floor = float(floor)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The value of each pixel."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        counts = ops.cast(y_true > 0, y_pred.dtype)
        labels = ops.log(ops.where(y_true > 0, y_true, ops.ones_like(y_true)))
        least = ops.maximum(y_pred, self.floor)
        errors = counts * (ops.log(least) + (y_pred - least) / self.floor - labels)
        axes = tuple(range(1, len(errors.shape)))
        total = ops.sum(errors, axis=axes, keepdims=True)
        mean = total / ops.maximum(ops.sum(counts, axis=axes, keepdims=True), 1)
        return ops.mean(errors * (errors - self.scale_weight * mean), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "scale_weight": self.scale_weight,
            "floor": self.floor,
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
