"""Whether probabilities are true: the expected calibration error."""

from typing import Any

import keras
from keras import ops

from mtlzoo.metrics.arguments import check_count, check_width, weights_like


@keras.saving.register_keras_serializable(package="mtlzoo")
class ExpectedCalibrationError(keras.metrics.Metric):
    r"""How far confidence is from accuracy: the expected calibration error of the top label.

    Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017.

    The confidence is the probability of the most probable class. Rows are put into bins of equal
    width by it; with the rows $B_k$ of a bin, and $n$ rows in all,

    $$\mathrm{ECE} = \sum_k \frac{|B_k|}{n}\, \big|\mathrm{accuracy}(B_k)
    - \mathrm{confidence}(B_k)\big|.$$

    With class ids each row (step, pixel) has one top label. Without, each cell is a yes/no question
    with bins of its own, whose confidence is that of the likelier answer, at least 1/2; the result
    is the mean over the labels with rows. What the other probabilities say is not looked at.

    Args:
        num_labels: Number of labels, the size of the outputs' last axis. Defaults to 1.
        class_ids: Whether labels are class ids, `(B,)`, instead of one 0/1 cell per label. Defaults
            to `False`.
        from_logits: Whether outputs are logits, else probabilities. Defaults to `True`.
        bins: Number of bins from 0 to 1. Defaults to 15, as in the paper.
        name: Name of the metric. Defaults to `"ece"`.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        `y_true` `(B,)` or `(B, num_labels)`; `y_pred` `(B, num_labels)`; `sample_weight` `(B,)` or
        `(B, num_labels)`. Class ids may have further axes, of steps or pixels: `y_true` `(B, ...)`,
        `y_pred` `(B, ..., num_labels)`, `sample_weight` `(B,)` to `(B, ...)`. The result is a
        scalar from 0 to 1; 0 without rows.

    Raises:
        ValueError: For a number that is not positive, or outputs of another shape.

    Example:
    ```python
    from keras import ops
    from mtlzoo.metrics import ExpectedCalibrationError

    ece = ExpectedCalibrationError(from_logits=False)
    ece.update_state([1, 1, 1, 0], [[0.9], [0.9], [0.9], [0.9]])
    float(ece.result())  # 0.15: 90 % sure, 75 % right
    ```

    References:
        Guo et al., ICML 2017, arXiv:1706.04599.

    *Differences from the paper*: labels of multi-label tasks, which it has not.
    """

    def __init__(
        self,
        num_labels: int = 1,
        *,
        class_ids: bool = False,
        from_logits: bool = True,
        bins: int = 15,
        name: str = "ece",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.num_labels = check_count("num_labels", num_labels)
        self.class_ids = class_ids
        self.from_logits = from_logits
        self.bins = check_count("bins", bins)
        self._questions = 1 if class_ids else self.num_labels
        size = (self._questions * self.bins,)
        self.weight = self.add_variable(size, "zeros", name="weight")
        # Accuracy less confidence, summed: both have the same divisor.
        self.gap = self.add_variable(size, "zeros", name="gap")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Counts one batch."""
        y_pred = ops.cast(y_pred, self.dtype)
        if self.class_ids:
            if len(y_pred.shape) > 2 and sample_weight is not None:
                sample_weight = weights_like(sample_weight, y_pred[..., 0], self.dtype)
            y_pred = ops.reshape(y_pred, (-1, y_pred.shape[-1] or self.num_labels))
            check_width("y_pred", y_pred, self.num_labels)
            probabilities = ops.softmax(y_pred, axis=-1) if self.from_logits else y_pred
            confidence = ops.max(probabilities, axis=-1, keepdims=True)
            ids = ops.reshape(ops.cast(y_true, "int32"), (-1, 1))
            right = ops.cast(ops.argmax(y_pred, -1, keepdims=True), "int32") == ids
        else:
            check_width("y_pred", y_pred, self.num_labels)
            probabilities = ops.sigmoid(y_pred) if self.from_logits else y_pred
            confidence = ops.maximum(probabilities, 1 - probabilities)
            true = ops.reshape(ops.cast(y_true, self.dtype), (-1, self.num_labels)) > 0.5
            right = (y_pred > (0.0 if self.from_logits else 0.5)) == true
        weights = ops.ones_like(confidence)
        if sample_weight is not None:
            given = ops.cast(sample_weight, self.dtype)
            rows = self.class_ids or len(given.shape) < 2
            weights = weights * (ops.reshape(given, (-1, 1)) if rows else given)
        self._count(confidence, weights, weights * (ops.cast(right, self.dtype) - confidence))

    def _count(self, confidence, weights, gaps):
        ids = ops.cast(ops.clip(ops.ceil(confidence * self.bins) - 1, 0, self.bins - 1), "int32")
        ids = ids + ops.arange(self._questions, dtype="int32") * self.bins
        for variable, values in ((self.weight, weights), (self.gap, gaps)):
            summed = ops.segment_sum(
                ops.reshape(values, (-1,)), ops.reshape(ids, (-1,)), self._questions * self.bins
            )
            variable.assign_add(summed)

    def result(self) -> Any:
        """The expected calibration error, averaged over labels with rows."""
        shape = (self._questions, self.bins)
        totals = ops.sum(ops.reshape(self.weight, shape), axis=1)
        gaps = ops.sum(ops.abs(ops.reshape(self.gap, shape)), axis=1)
        there = ops.cast(totals > 0, gaps.dtype)
        return ops.divide_no_nan(ops.sum(ops.divide_no_nan(gaps, totals)), ops.sum(there))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "num_labels": self.num_labels,
            "class_ids": self.class_ids,
            "from_logits": self.from_logits,
            "bins": self.bins,
            **super().get_config(),
        }
