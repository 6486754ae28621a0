"""Precision, recall and F1 of raw outputs: per label, with a mask per cell, averaged by name."""

from typing import Any

import keras
from keras import ops

from mtlzoo.metrics.arguments import check_count, check_width, weights_like


class LabelwiseMetric(keras.metrics.Metric):
    """Base of the metrics that follow from three counts per label.

    For every label the state holds how often it was predicted, how often it was true, and how
    often both. A subclass turns these counts into scores. Keras's `Precision` and `Recall` know no
    average over labels, its `F1Score` neither cell weights nor class ids, and none reads logits.

    Args:
        num_labels: Number of labels, the size of the outputs' last axis. Defaults to 1.
        class_ids: Whether labels are class ids, `(B,)`, and the largest output is the prediction;
            else every cell is a yes/no decision of its own. Defaults to `False`.
        from_logits: Whether a cell is predicted when its output is above 0 (a logit), else above
            0.5 (a probability). Without effect for class ids. Defaults to `True`.
        average: `"macro"`: the mean over labels of their scores; `"micro"`: the score of the counts
            summed over labels. Defaults to `"macro"`.
        name: Name of the metric. Defaults to the class's own name.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    A macro average leaves out labels that are neither true nor predicted anywhere, as scikit-learn
    does with class ids. A score whose denominator is 0 is 0.

    Shapes:
        `y_true` `(B,)` or `(B, num_labels)`; `y_pred` `(B, num_labels)`; `sample_weight` `(B,)` or
        `(B, num_labels)`. Class ids may have further axes, of steps or pixels: `y_true` `(B, ...)`,
        `y_pred` `(B, ..., num_labels)`, `sample_weight` `(B,)` to `(B, ...)`. The result is a
        scalar.

    Raises:
        ValueError: For an unknown `average`, no labels, or outputs of another shape.

    Example:
    ```python
    from keras import ops
    from mtlzoo.metrics import LabelwiseMetric

    class Jaccard(LabelwiseMetric):
        def score(self, both, predicted, true):
            return ops.divide_no_nan(both, predicted + true - both)

    jaccard = Jaccard()
    jaccard.update_state([1, 1, 0], [[2.0], [-1.0], [-3.0]])
    float(jaccard.result())  # 0.5
    ```
    """

    def __init__(
        self,
        num_labels: int = 1,
        *,
        class_ids: bool = False,
        from_logits: bool = True,
        average: str = "macro",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if average not in {"macro", "micro"}:
            raise ValueError(
                f'`average` should be "macro" or "micro". Received: average={average!r}'
            )
        num_labels = self.num_labels = check_count("num_labels", num_labels)
        self.class_ids = class_ids
        self.from_logits = from_logits
        self.average = average
        self.both = self.add_variable((num_labels,), "zeros", name="both")
        self.predicted = self.add_variable((num_labels,), "zeros", name="predicted")
        self.true = self.add_variable((num_labels,), "zeros", name="true")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts one batch."""
        y_pred = ops.convert_to_tensor(y_pred)
        if self.class_ids and len(y_pred.shape) > 2:  # every step or pixel is a row
            if sample_weight is not None:
                sample_weight = weights_like(sample_weight, y_pred[..., 0], self.dtype)
                sample_weight = ops.reshape(sample_weight, (-1,))
            y_pred = ops.reshape(y_pred, (-1, y_pred.shape[-1] or self.num_labels))
        check_width("y_pred", y_pred, self.num_labels)
        if self.class_ids:
            ids = ops.reshape(ops.cast(y_true, "int32"), (-1,))
            true = ops.one_hot(ids, self.num_labels, dtype=self.dtype)
            predicted = ops.one_hot(ops.argmax(y_pred, -1), self.num_labels, dtype=self.dtype)
        else:
            threshold = 0.0 if self.from_logits else 0.5
            true = ops.cast(ops.cast(y_true, self.dtype) > 0.5, self.dtype)
            true = ops.reshape(true, (-1, self.num_labels))
            predicted = ops.cast(y_pred > threshold, self.dtype)
        weights = 1.0
        if sample_weight is not None:
            weights = ops.cast(sample_weight, self.dtype)
            weights = weights if len(weights.shape) == 2 else ops.expand_dims(weights, -1)
        self.both.assign_add(ops.sum(weights * predicted * true, axis=0))
        self.predicted.assign_add(ops.sum(weights * predicted, axis=0))
        self.true.assign_add(ops.sum(weights * true, axis=0))

    def score(self, both: Any, predicted: Any, true: Any) -> Any:
        """The score of given counts, elementwise; the part that a subclass supplies."""
        raise NotImplementedError

    def result(self) -> Any:
        """The averaged score."""
        counts = (self.both, self.predicted, self.true)
        both, predicted, true = (ops.convert_to_tensor(count) for count in counts)
        if self.average == "micro":
            return self.score(ops.sum(both), ops.sum(predicted), ops.sum(true))
        occurs = ops.cast(predicted + true > 0, both.dtype)
        scores = self.score(both, predicted, true)
        return ops.divide_no_nan(ops.sum(scores * occurs), ops.sum(occurs))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "num_labels": self.num_labels,
            "class_ids": self.class_ids,
            "from_logits": self.from_logits,
            "average": self.average,
            **super().get_config(),
        }


@keras.saving.register_keras_serializable(package="mtlzoo")
class Precision(LabelwiseMetric):
    r"""Of what was predicted, the part that is true: $TP / (TP + FP)$.

    Arguments, shapes and averages are those of `LabelwiseMetric`.

    Example:
    ```python
    from mtlzoo.metrics import Precision

    precision = Precision(num_labels=3, class_ids=True, average="macro")
    precision.update_state([0, 1, 1], [[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    float(precision.result())  # 0.75: class 0 has 1/2, class 1 has 1, class 2 never occurs
    ```
    """

    def score(self, both: Any, predicted: Any, true: Any) -> Any:
        """Precision of given counts."""
        return ops.divide_no_nan(both, predicted)


@keras.saving.register_keras_serializable(package="mtlzoo")
class Recall(LabelwiseMetric):
    r"""Of what is true, the part that was predicted: $TP / (TP + FN)$.

    Arguments, shapes and averages are those of `LabelwiseMetric`.

    Example:
    ```python
    from mtlzoo.metrics import Recall

    recall = Recall()
    recall.update_state([1, 1, 0], [[2.0], [-1.0], [3.0]])
    float(recall.result())  # 0.5
    ```
    """

    def score(self, both: Any, predicted: Any, true: Any) -> Any:
        """Recall of given counts."""
        return ops.divide_no_nan(both, true)


@keras.saving.register_keras_serializable(package="mtlzoo")
class F1Score(LabelwiseMetric):
    r"""The harmonic mean of precision and recall: $2TP / (2TP + FP + FN)$.

    Arguments, shapes and averages are those of `LabelwiseMetric`.

    Example:
    ```python
    from mtlzoo.metrics import F1Score

    f1 = F1Score()
    f1.update_state([1, 1, 0], [[2.0], [-1.0], [-3.0]])
    float(f1.result())  # 0.667
    ```
    """

    def score(self, both: Any, predicted: Any, true: Any) -> Any:
        """F1 of given counts."""
        return ops.divide_no_nan(2 * both, predicted + true)


@keras.saving.register_keras_serializable(package="mtlzoo")
class IoU(LabelwiseMetric):
    r"""Intersection over union of what is predicted and what is true: $TP / (TP + FP + FN)$.

    Arguments, shapes and averages are those of `LabelwiseMetric`. With class ids of pixels, the
    macro average is the "mean IoU" of semantic segmentation, over the classes that occur.

    Example:
    ```python
    from mtlzoo.metrics import IoU

    iou = IoU(num_labels=3, class_ids=True, name="mean_iou")
    iou.update_state([[0, 1, 1]], [[[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])
    float(iou.result())  # 0.5: classes 0 and 1 have 1/2, class 2 never occurs
    ```
    """

    def score(self, both: Any, predicted: Any, true: Any) -> Any:
        """Intersection over union of given counts."""
        return ops.divide_no_nan(both, predicted + true - both)
