"""Boxes around objects, and their classes."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo import metrics as m
from mtlzoo.layers.policies import at_least_float32
from mtlzoo.metrics.average_precision import COCO_THRESHOLDS
from mtlzoo.metrics.overlap import is_box
from mtlzoo.tasks import boxes, heads, losses, soft_losses
from mtlzoo.tasks.detection_loss import DetectionLoss, check_number, distances
from mtlzoo.tasks.labels import Labels, check_not_legal
from mtlzoo.tasks.task import Task, as_float

# A box may leave the image by so much, as boxes in whole pixels do after rounding.
TOLERANCE = 1e-3


@keras.saving.register_keras_serializable(package="mtlzoo")
class ObjectDetection(Task):
    r"""Boxes around the objects of an image, found without anchors on one grid of cells (FCOS).

    The features are a map of `H x W` cells, which divide the image evenly. Each cell answers class
    logits, distances from its centre to the left, top, right and bottom side of its object's box,
    and a logit of its centre-ness. The distance in cells is the softplus of the raw output, so that
    a box is

    $$x = \frac{i_x + 1/2 \mp \mathrm{softplus}(z)}{W}, \qquad
    y = \frac{i_y + 1/2 \mp \mathrm{softplus}(z)}{H}.$$

    A cell answers for the smallest box that its centre lies in, with the loss of `DetectionLoss`. A
    box that no centre lies in is not learned: the grid should be finer than the smallest object.
    The score of a class in a cell is $\sqrt{\sigma(z_c)\,\sigma(z_\text{centre-ness})}$. The best
    `num_candidates` pairs of cell and class go through non-maximum suppression, class by class.

    Args:
        name: Name of the task.
        num_classes: Number of classes, at least 1.
        max_boxes: Number of rows that hold the boxes of an image, at least 1.
        head_units: Channels of the 3x3 convolutions before the last one. Defaults to `(64,)`.
        max_detections: Number of detections that are served. Defaults to 50.
        num_candidates: Number of candidates for them, at least `max_detections`. An object is
            found by many cells, so that there should be several for each detection. Cost and
            memory of the suppression grow with its square. Defaults to 200.
        min_score: Least score of a detection, from 0 to 1. Defaults to 0.1: before training, scores
            are below it.
        iou_threshold: Largest overlap of two detections of a class, from 0 to 1. Defaults to 0.6,
            the paper's.
        loss: A Keras loss, or a function of labels and outputs. Defaults to `DetectionLoss()`.
        metrics: List of metrics, see `Task`. Defaults to mean average precision at an overlap of
            0.5, `"map_50"`, which decides; `"map"` is its mean over the overlaps 0.5, 0.55, ...,
            0.95. A `MeanAveragePrecision` gets detections, any other metric raw outputs. Each finds
            the detections of every batch anew, in training too: leave it out (`metrics=[]`) where
            that takes too long.
        missing: The number that fills all rows of an image whose objects are not known. Defaults to
            `float("nan")`.

    Shapes:
        Labels `(B, max_boxes, 5)`, rows `[x_min, y_min, x_max, y_max, class]` with the coordinates
        as parts of the image's width and height, from 0 to 1, x first. A row of -1 holds no box; an
        image may have none. Outputs `(B, H, W, num_classes + 5)`.

    Raises:
        ValueError: If `name` cannot name a task, or an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.tasks import ObjectDetection

    task = ObjectDetection("objects", num_classes=3, max_boxes=2)
    labels = np.full((3, 2, 5), -1.0)  # three images; no objects in the first
    labels[1, 0] = [0.1, 0.2, 0.5, 0.6, 2]  # one object in the second
    labels[2] = np.nan  # objects of the third are not known
    task.read_labels(labels).present  # [True, True, False]
    ```

    References:
        Tian et al., *FCOS: Fully Convolutional One-Stage Object Detection*, ICCV 2019.

    *Differences from the paper*: one grid, not a pyramid of five; one stack of convolutions for
    classes and boxes, without normalization; softplus in place of the exponential, whose outputs
    do not overflow; the square root of the score, which has the same order; those of
    `DetectionLoss`. The last layer starts as the paper's does: kernel with standard deviation 0.01,
    and a bias by which each class has probability 0.01, so that the many empty cells do not drown
    the others (Lin et al., ICCV 2017).
    """

    # Cross-entropies and a ratio: nothing has the unit of the labels, and scaling the likelihood
    # divides the whole loss, as it does for classes.
    loss_family = "classification"
    monitor = "map_50"
    mode = "max"
    softened = True
    served = ("class", "score")
    width_arguments = ("head_units",)

    def __init__(
        self,
        name: str,
        num_classes: int,
        max_boxes: int,
        *,
        head_units: Sequence[int] = (64,),
        max_detections: int = 50,
        num_candidates: int = 200,
        min_score: float = 0.1,
        iou_threshold: float = 0.6,
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = float("nan"),
    ) -> None:
        super().__init__(name, loss=loss, metrics=metrics, missing=missing)
        self.num_classes = self._at_least("num_classes", num_classes, 1)
        self.max_boxes = self._at_least("max_boxes", max_boxes, 1)
        self.head_units = heads.check_units(name, "head_units", head_units)
        self.max_detections = self._at_least("max_detections", max_detections, 1)
        self.num_candidates = self._at_least("num_candidates", num_candidates, self.max_detections)
        self.min_score = check_number("min_score", min_score, 0.0, 1.0, name)
        self.iou_threshold = check_number("iou_threshold", iou_threshold, 0.0, 1.0, name)
        check_not_legal(name, missing, missing == -1)
        self.label_shape = (self.max_boxes, 5)
        self.output_shape = (None, None, self.num_classes + 5)

    # -- model ------------------------------------------------------------------------------

    def head(self, features: Any) -> Any:
        """Convolutions, the last of them named as the task, on a map of features.

        Args:
            features: Symbolic tensor `(B, H, W, F)`, with `H` and `W` known.

        Returns:
            Symbolic tensor `(B, H, W, num_classes + 5)`, float32, or float64 if the program
            computes in float64.

        Raises:
            ValueError: If `features` have another rank, or `H` or `W` is not known.
        """
        shape = tuple(getattr(features, "shape", ()))
        if len(shape) != 4 or None in shape[1:]:
            raise ValueError(
                f"The features of task `{self.name}` should be one map of shape (None, H, W, F) "
                f"with known H, W and F. Received: {shape if shape else features!r}"
            )
        dtype = heads.policy_of(features)
        for i, units in enumerate(self.head_units):
            features = keras.layers.Conv2D(
                units,
                3,
                padding="same",
                activation="relu",
                name=f"{self.name}_head_{i}",
                dtype=dtype,
            )(features)
        return keras.layers.Conv2D(
            self.num_classes + 5,
            3,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=RarePrior(self.num_classes),
            name=self.name,
            dtype=at_least_float32(),
        )(features)

    def check_output(self, shape: tuple[int | None, ...]) -> None:
        """Checks that an output of `shape`, with the batch, fits, and its grid is known."""
        super().check_output(shape)
        if None in shape[1:]:
            raise ValueError(
                f"The output of task `{self.name}` should have a known height and width. "
                f"Received: shape={tuple(shape)}"
            )

    # -- labels -----------------------------------------------------------------------------

    def read_labels(self, labels: Any, loss: Any = None) -> Labels:
        """Tells images with labels, without and with illegal ones apart, see `Task.read_labels`.

        Only an image whose entries are all missing is missing; `present` is `(B,)`.
        """
        if not hasattr(labels, "dtype"):
            labels = ops.convert_to_tensor(labels)
        self.check_labels(labels)
        labels = self.canonical(ops.convert_to_tensor(labels))
        missing = ops.all(self.is_missing(labels), axis=(1, 2))
        legal = ops.all(self.legal(labels), axis=-1)
        present = legal & ~missing
        values = ops.where(ops.reshape(present, (-1, 1, 1)), labels, ops.zeros_like(labels))
        return Labels(values, present, ~(legal | missing))

    def legal(self, labels: Any) -> Any:
        """Which rows, `(B, max_boxes)`, are boxes of a class in the image, or padding."""
        low, high = ops.min(labels[..., :4], axis=-1), ops.max(labels[..., :4], axis=-1)
        ids = labels[..., 4]
        legal = is_box(labels) & (low >= -TOLERANCE) & (high <= 1 + TOLERANCE)
        legal = legal & (ids == ops.floor(ids)) & (ids < self.num_classes)
        return legal | ops.all(labels == -1, axis=-1)

    # -- loss and metrics -------------------------------------------------------------------

    def default_loss(self) -> losses.Loss:
        """`DetectionLoss()`."""
        return DetectionLoss()

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """Mean average precision at an overlap of 0.5."""
        return [m.MeanAveragePrecision(self.num_classes)]

    def resolve_metric(self, identifier: Any) -> keras.metrics.Metric:
        """A new metric object, see `Task.resolve_metric`; `"map"` is one of the task's own."""
        if isinstance(identifier, str) and identifier == "map":
            return m.MeanAveragePrecision(self.num_classes, thresholds=COCO_THRESHOLDS)
        return super().resolve_metric(identifier)

    def update_metric(
        self, metric: keras.metrics.Metric, values: Any, outputs: Any, weights: Any
    ) -> None:
        """Updates a metric with one batch, see `Task.update_metric`."""
        if isinstance(metric, m.MeanAveragePrecision):
            outputs = self.detections(outputs)
        super().update_metric(metric, values, outputs, weights)

    def soft_loss_values(self, teacher: Any, outputs: Any, temperature: float) -> Any:
        """The divergence from a teacher's grid, see `Task.soft_loss_values`."""
        return soft_losses.of_detections(teacher, outputs, temperature)

    # -- answers ----------------------------------------------------------------------------

    def detections(self, outputs: Any) -> Any:
        """The objects found, the best first.

        Args:
            outputs: Raw outputs `(B, H, W, num_classes + 5)`.

        Returns:
            `(B, max_detections, 6)`, rows `[x_min, y_min, x_max, y_max, score, class]`; -1 in rows
            that are not needed.
        """
        outputs = as_float(outputs)
        height, width, size = outputs.shape[1:]
        cells = ops.reshape(outputs, (-1, height * width, size))
        scores = ops.sqrt(ops.sigmoid(cells[..., :-5]) * ops.sigmoid(cells[..., -1:]))
        scores = ops.reshape(scores, (-1, height * width * self.num_classes))
        # What is no number has no score.
        scores = ops.where(scores >= self.min_score, scores, ops.zeros_like(scores))
        corners = boxes.to_boxes(distances(cells[..., -5:-1]), height, width)
        corners = ops.clip(corners, 0.0, 1.0)

        count = min(self.num_candidates, height * width * self.num_classes)
        scores, index = ops.top_k(scores, count)
        ids = ops.mod(index, self.num_classes)
        places = ops.expand_dims(ops.floor_divide(index, self.num_classes), -1)
        corners = ops.take_along_axis(corners, places, axis=1)
        kept = boxes.suppress(corners, ids, scores > 0, self.iou_threshold)
        scores = ops.where(kept, scores, ops.zeros_like(scores))

        scores, index = ops.top_k(scores, min(self.max_detections, count))
        ids = ops.cast(ops.take_along_axis(ids, index, axis=1), scores.dtype)
        corners = ops.take_along_axis(corners, ops.expand_dims(index, -1), axis=1)
        rows = ops.concatenate([corners, ops.stack([scores, ids], axis=-1)], axis=-1)
        rows = ops.where(ops.expand_dims(scores > 0, -1), rows, -1.0)
        spare = self.max_detections - rows.shape[1]
        return ops.pad(rows, ((0, 0), (0, spare), (0, 0)), constant_values=-1.0)

    def serve(self, outputs: Any) -> dict[str, Any]:
        """The detections, the best first: boxes `(B, max_detections, 4)`, with scores and classes.

        Args:
            outputs: Raw outputs `(B, H, W, num_classes + 5)`.

        Returns:
            `{name: boxes, name_score: scores, name_class: ids}`, the two last of shape
            `(B, max_detections)`; all are -1 where there are fewer detections.
        """
        rows = self.detections(outputs)
        return {
            self.name: rows[..., :4],
            f"{self.name}_score": rows[..., 4],
            f"{self.name}_class": ops.cast(rows[..., 5], "int64"),
        }

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "num_classes": self.num_classes,
            "max_boxes": self.max_boxes,
            "head_units": list(self.head_units),
            "max_detections": self.max_detections,
            "num_candidates": self.num_candidates,
            "min_score": self.min_score,
            "iou_threshold": self.iou_threshold,
            **super().get_config(),
        }


@keras.saving.register_keras_serializable(package="mtlzoo")
class RarePrior(keras.initializers.Initializer):
    r"""The first bias of a detector: classes are rare, $b = \log \frac{\pi}{1 - \pi}$, the rest 0.

    Args:
        num_classes: Number of class logits, which come first.
        probability: $\pi$, the probability of each class at the start. Defaults to 0.01, the value
            of Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017.
    """

    def __init__(self, num_classes: int, probability: float = 0.01) -> None:
        self.num_classes = num_classes
        self.probability = probability

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """A bias of `shape`."""
        is_class = ops.arange(shape[0]) < self.num_classes
        logit = math.log(self.probability / (1 - self.probability))
        return ops.cast(ops.where(is_class, logit, 0.0), dtype or keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"num_classes": self.num_classes, "probability": self.probability}
