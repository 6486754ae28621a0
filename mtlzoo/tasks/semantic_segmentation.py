"""One class for each pixel."""

from collections.abc import Sequence
from typing import Any

import keras

from mtlzoo import metrics as m
from mtlzoo.tasks.class_ids import ClassIds
from mtlzoo.tasks.pixels import PixelTask


@keras.saving.register_keras_serializable(package="mtlzoo")
class SemanticSegmentation(ClassIds, PixelTask):
    r"""One class among `num_classes` for each pixel.

    The default loss is the cross-entropy of the logits $z$ of each labelled pixel,

    $$\ell = \log \sum_c e^{z_c} - z_y,$$

    averaged over the labelled pixels of the batch. The head is one 1x1 convolution, after a decoder
    where `aspp_filters` or `head_units` ask for one; where `size` differs from the features' own,
    its logits are resized. With `aspp_filters=256, head_units=(256,)` it is that of DeepLabv3
    (Chen et al., *Rethinking Atrous Convolution for Semantic Image Segmentation*, 2017), without
    the paper's dropout.

    Args:
        name: Name of the task.
        num_classes: Number of classes, at least 2.
        size: Height and width of the labels. Defaults to those of the features.
        head_units: Channels of 3x3 convolutions before the last one, each with batch normalization
            and a rectifier. Defaults to none.
        aspp_filters: Channels of an `ASPP` before all these, for a decoder of the task's own.
            Defaults to None, for none.
        aspp_rates: Its rates. Defaults to `(6, 12, 18)`.
        loss: A Keras loss, its name, or a function of one value per pixel. Defaults to sparse
            categorical cross-entropy.
        metrics: List of metrics, see `Task`. Defaults to the IoU averaged over the classes that
            occur (`mean_iou`) and the accuracy over all pixels (`pixel_accuracy`). Mean IoU
            decides.
        missing: The id that says "no label". Defaults to 255.

    Shapes:
        Labels `(B, H, W)` or `(B, H, W, 1)`, integers from 0 to `num_classes - 1`; outputs
        `(B, H, W, num_classes)`; sample weights `(B,)` or `(B, H, W)`.

    Raises:
        ValueError: If `name` cannot name a task, `num_classes` is below 2, `size` is no height and
            width, a width or rate of the head is not positive, or `missing` is a class.

    Example:
    ```python
    import keras
    from mtlzoo.tasks import SemanticSegmentation

    task = SemanticSegmentation("parts", num_classes=7, size=(64, 64))
    task.head(keras.Input((16, 16, 32))).shape  # (None, 64, 64, 7)
    SemanticSegmentation("parts", 7).read_labels([[[0, 255], [6, 1]]]).present
    # [[[True, False], [True, True]]]
    ```
    """

    from_logits = True
    monitor = "mean_iou"

    def __init__(
        self,
        name: str,
        num_classes: int,
        size: tuple[int, int] | None = None,
        *,
        head_units: Sequence[int] = (),
        aspp_filters: int | None = None,
        aspp_rates: Sequence[int] = (6, 12, 18),
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = 255,
    ) -> None:
        super().__init__(name, loss=loss, metrics=metrics, missing=missing)
        self._set_classes("num_classes", num_classes)
        self._set_size(size, self.num_classes)
        self._set_head(head_units, aspp_filters, aspp_rates)

    def default_loss(self) -> keras.losses.Loss:
        """Sparse categorical cross-entropy."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """Mean IoU and pixel accuracy."""
        return [
            m.IoU(self.num_classes, class_ids=True, name="mean_iou"),
            keras.metrics.SparseCategoricalAccuracy("pixel_accuracy"),
        ]

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"num_classes": self.num_classes, **super().get_config()}
