"""Mean average precision of detected boxes, from counts by score."""

import numbers
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.metrics.arguments import check_count
from mtlzoo.metrics.overlap import iou, is_box

# Those of the COCO challenge, 0.50, 0.55, ..., 0.95.
COCO_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@keras.saving.register_keras_serializable(package="mtlzoo")
class MeanAveragePrecision(keras.metrics.Metric):
    r"""The area under the curve of precision over recall of each class, averaged.

    Detections of an image are matched in the order of their scores: each takes the box of its class
    that is still free and that it overlaps most, if the intersection over union is at least the
    threshold $t$. Those that took one are hits. With the precision $p$ and the recall $r$ of all
    detections whose score is in bin $b$ or higher,

    $$\mathrm{AP} = \sum_b (r_b - r_{b+1}) \max_{b' \le b} p_{b'},$$

    averaged over the thresholds and over the classes that have a box anywhere. The state is a count
    of detections and of hits per class and bin of scores, so that it has a fixed size, and counts
    of replicas add up. Detections whose scores share a bin count as one step of the curve: the area
    is the exact one of scores rounded down to multiples of `1 / bins`, within 0.005 of that of the
    scores themselves for 200 images, 3 classes and 200 bins.

    Args:
        num_classes: Number of classes.
        thresholds: Least overlaps that count as a hit; the result is the mean over them. Defaults
            to `(0.5,)`.
        bins: Number of bins of the score, which are even from 0 to 1. Defaults to 200.
        name: Name of the metric. Defaults to one by the thresholds: `"map_50"` for 0.5, `"map"` for
            several.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        `y_true` `(B, M, 5)`, rows `[x_min, y_min, x_max, y_max, class]`, class -1 for padding;
        `y_pred` `(B, D, 6)`, rows `[x_min, y_min, x_max, y_max, score, class]` in any order, the
        score from 0 to 1, class -1 for padding; `sample_weight` `(B,)`. The result is a scalar; 0
        while no class has a box.

    Raises:
        ValueError: For a number that is not positive, a threshold that is not between 0 and 1, or
            labels or detections of another shape.

    Example:
    ```python
    from mtlzoo.metrics import MeanAveragePrecision

    metric = MeanAveragePrecision(num_classes=1)
    boxes = [[[0.1, 0.1, 0.5, 0.5, 0.0], [0.6, 0.6, 0.9, 0.9, 0.0]]]
    metric.update_state(boxes, [[[0.1, 0.1, 0.5, 0.4, 0.9, 0.0]]])
    float(metric.result())  # 0.5: one of the two boxes is found
    ```

    References:
        Lin et al., *Microsoft COCO: Common Objects in Context*, ECCV 2014.

    *Differences from COCO's program*: the area under the curve itself, where it averages the
    precision at 101 recalls; scores in bins; no sizes of objects and no crowds.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        thresholds: Sequence[float] = (0.5,),
        bins: int = 200,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.thresholds = _check_thresholds(thresholds)
        if name is None:
            several = len(self.thresholds) > 1
            name = "map" if several else f"map_{round(100 * self.thresholds[0])}"
        super().__init__(name=name, dtype=dtype)
        self.num_classes = check_count("num_classes", num_classes)
        self.bins = check_count("bins", bins)
        cells = self.num_classes * self.bins
        self.detections = self.add_variable((cells,), "zeros", name="detections")
        self.hits = self.add_variable((cells, len(self.thresholds)), "zeros", name="hits")
        self.boxes = self.add_variable((self.num_classes,), "zeros", name="boxes")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts one batch."""
        labels, found = ops.cast(y_true, self.dtype), ops.cast(y_pred, self.dtype)
        _check_rows("y_true", labels, 5)
        _check_rows("y_pred", found, 6)
        weights = ops.ones_like(labels[:, 0, 0])
        if sample_weight is not None:
            weights = weights * ops.reshape(ops.cast(sample_weight, self.dtype), (-1,))
        order = ops.argsort(-found[:, :, 4], axis=-1)
        found = ops.take_along_axis(found, ops.expand_dims(order, -1), axis=1)

        there, detected = is_box(labels), found[:, :, 5] >= 0
        same = ops.expand_dims(found[:, :, 5], 2) == ops.expand_dims(labels[:, :, 4], 1)
        same = same & ops.expand_dims(detected, 2) & ops.expand_dims(there, 1)
        overlap = ops.where(same, iou(found[..., :4], labels[..., :4]), -1.0)
        hits = ops.cast(_match(overlap, self.thresholds), self.dtype)

        count = ops.expand_dims(weights, 1) * ops.cast(detected, self.dtype)
        # Clipped as integers, so that a score that is no number finds a bin too.
        bin_ids = ops.clip(ops.cast(found[:, :, 4] * self.bins, "int32"), 0, self.bins - 1)
        ids = ops.clip(ops.cast(found[:, :, 5], "int32"), 0, self.num_classes - 1)
        ids = ops.reshape(ids * self.bins + bin_ids, (-1,))
        cells = self.num_classes * self.bins
        self.detections.assign_add(ops.segment_sum(ops.reshape(count, (-1,)), ids, cells))
        hits = ops.reshape(hits * ops.expand_dims(count, -1), (-1, len(self.thresholds)))
        self.hits.assign_add(ops.segment_sum(hits, ids, cells))

        count = ops.reshape(ops.expand_dims(weights, 1) * ops.cast(there, self.dtype), (-1,))
        ids = ops.clip(ops.cast(labels[:, :, 4], "int32"), 0, self.num_classes - 1)
        self.boxes.assign_add(ops.segment_sum(count, ops.reshape(ids, (-1,)), self.num_classes))

    def result(self) -> Any:
        """The area, averaged over thresholds and over the classes that have a box."""
        hits = ops.reshape(self.hits, (self.num_classes, self.bins, len(self.thresholds)))
        detections = ops.reshape(self.detections, (self.num_classes, self.bins, 1))
        precision = ops.divide_no_nan(_from_above(hits), _from_above(detections))
        precision = _best_so_far(precision)
        boxes = ops.convert_to_tensor(self.boxes)
        areas = ops.divide_no_nan(ops.sum(hits * precision, axis=1), ops.expand_dims(boxes, 1))
        there = ops.cast(boxes > 0, areas.dtype)
        return ops.divide_no_nan(ops.sum(ops.mean(areas, axis=1) * there), ops.sum(there))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "num_classes": self.num_classes,
            "thresholds": list(self.thresholds),
            "bins": self.bins,
            **super().get_config(),
        }


def _match(overlap, thresholds):
    """Which detections are hits, `(B, D, T)`, from overlaps `(B, D, M)` in the order of scores;
    those below 0 cannot match.
    """
    number, count = overlap.shape[1:]
    least = ops.reshape(ops.convert_to_tensor(thresholds, overlap.dtype), (1, -1))
    every = ops.ones((1, len(thresholds), 1), dtype="bool")
    free = (overlap[:, :1, :] >= -1) & every
    hits = (ops.transpose(overlap[:, :, :1], (0, 2, 1)) < -1) & every

    def step(i, state):
        free, hits = state
        row = ops.expand_dims(ops.take(overlap, i, axis=1), 1)
        row = ops.where(free, row, -1.0)
        hit = ops.max(row, axis=-1) >= least
        taken = ops.expand_dims(ops.argmax(row, axis=-1), -1) == ops.arange(count, dtype="int32")
        hit = ops.expand_dims(hit, -1)
        this = ops.arange(number, dtype="int32") == i
        return free & ~(taken & hit), hits | (hit & this)

    _, hits = ops.fori_loop(0, number, step, (free, hits))
    return ops.transpose(hits, (0, 2, 1))


def _from_above(counts):
    """How many there are in a bin and all higher ones."""
    return ops.flip(ops.cumsum(ops.flip(counts, axis=1), axis=1), axis=1)


def _best_so_far(values):
    """The running maximum along the bins, of numbers that are not negative."""
    # By doubling: XLA refuses `ops.associative_scan` of TensorFlow.
    reach = 1
    while reach < values.shape[1]:
        before = ops.pad(values[:, :-reach], ((0, 0), (reach, 0), (0, 0)))
        values = ops.maximum(values, before)
        reach *= 2
    return values


def _check_thresholds(thresholds: Any) -> tuple[float, ...]:
    if isinstance(thresholds, list | tuple) and thresholds:
        numeric = all(isinstance(t, numbers.Real) and not isinstance(t, bool) for t in thresholds)
        if numeric and all(0 < t <= 1 for t in thresholds):
            return tuple(float(t) for t in thresholds)
    raise ValueError(
        "`thresholds` should be a non-empty list of numbers above 0 and at most 1. "
        f"Received: thresholds={thresholds!r}"
    )


def _check_rows(argument: str, values: Any, size: int) -> None:
    shape = tuple(values.shape)
    if len(shape) != 3 or shape[1] in (0, None) or shape[2] != size:
        raise ValueError(
            f"`{argument}` should have the shape {(None, 'rows', size)} with at least one row. "
            f"Received: {argument}.shape={shape}"
        )
