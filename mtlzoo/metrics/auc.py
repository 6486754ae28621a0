"""Area under the ROC curve of raw outputs, exact enough for rare positives."""

from typing import Any

import keras
from keras import ops

# Probabilities are clipped before their logit is taken, at float32's resolution near 1.
_EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="mtlzoo")
class AUC(keras.metrics.AUC):
    r"""Area under the ROC curve: the probability that a positive outranks a negative.

    $$\mathrm{AUC} = P(s^+ > s^-) + \tfrac12 P(s^+ = s^-)$$

    Keras's `AUC` with three differences. It reads raw outputs: logits or probabilities, of one
    label, several labels, or (one against the rest) class ids. It averages over the labels that
    have both positives and negatives, where Keras counts the others as 0. And it places its
    thresholds evenly over the *logit* squashed to (0, 1) instead of over the probability. The area
    does not change under a monotone function of the score, but the thresholds do: with even steps of
    the probability all scores of a task with one positive in a thousand fall between the first two.

    Args:
        num_labels: Number of labels, the size of the outputs' last axis. Defaults to 1.
        class_ids: Whether labels are class ids, `(B,)`, instead of one 0/1 cell per label.
            Defaults to `False`.
        from_logits: Whether outputs are logits, else probabilities. Defaults to `True`.
        num_thresholds: Number of thresholds. Defaults to 200, as in Keras.
        name: Name of the metric. Defaults to `"auc"`.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        `y_true` `(B,)` or `(B, num_labels)`; `y_pred` `(B, num_labels)`; `sample_weight` `(B,)` or
        `(B, num_labels)`. The result is a scalar; 0 while no label has positives and negatives.

    Example:
    ```python
    from mtlzoo.metrics import AUC

    auc = AUC()
    auc.update_state([1, 1, 0, 0], [[3.0], [-1.0], [0.5], [-2.0]])
    float(auc.result())  # 0.75
    ```
    """

    def __init__(
        self,
        num_labels: int = 1,
        *,
        class_ids: bool = False,
        from_logits: bool = True,
        num_thresholds: int = 200,
        name: str = "auc",
        dtype: Any = None,
    ):
        super().__init__(
            num_thresholds=num_thresholds,
            multi_label=True,
            num_labels=num_labels,
            name=name,
            dtype=dtype,
        )
        self.class_ids = class_ids
        self.from_logits = from_logits

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Counts one batch."""
        y_pred = ops.cast(y_pred, self.dtype)
        if self.class_ids:
            y_true = ops.one_hot(ops.cast(y_true, "int32"), self.num_labels, dtype=self.dtype)
        else:
            y_true = ops.cast(ops.cast(y_true, self.dtype) > 0.5, self.dtype)
            y_true = ops.reshape(y_true, (-1, self.num_labels))
        super().update_state(y_true, self._squash(y_pred), sample_weight)

    def _squash(self, y_pred):
        if self.from_logits and not self.class_ids:
            logits = y_pred
        elif self.from_logits:
            # log p - log(1 - p) of each class against the rest
            log_p = ops.log_softmax(y_pred, axis=-1)
            logits = log_p - ops.log(ops.maximum(-ops.expm1(log_p), _EPSILON))
        else:
            p = ops.clip(y_pred, _EPSILON, 1 - _EPSILON)
            logits = ops.log(p) - ops.log(1 - p)
        return ops.sigmoid(logits / 4)

    def result(self):
        """The area, averaged over the labels that have both positives and negatives."""
        positives = self.true_positives + self.false_negatives
        negatives = self.false_positives + self.true_negatives
        recall = ops.divide_no_nan(self.true_positives, positives)
        fall_out = ops.divide_no_nan(self.false_positives, negatives)
        areas = ops.sum((fall_out[:-1] - fall_out[1:]) * (recall[:-1] + recall[1:]) / 2, axis=0)
        defined = ops.cast((positives[0] > 0) & (negatives[0] > 0), areas.dtype)
        return ops.divide_no_nan(ops.sum(areas * defined), ops.sum(defined))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "num_labels": self.num_labels,
            "class_ids": self.class_ids,
            "from_logits": self.from_logits,
            "num_thresholds": self.num_thresholds,
            "name": self.name,
            "dtype": self.dtype,
        }
