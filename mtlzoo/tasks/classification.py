"""One class among many."""

from typing import Any

import keras

from mtlzoo import metrics as m
from mtlzoo.tasks.class_ids import ClassIds


@keras.saving.register_keras_serializable(package="mtlzoo")
class Classification(ClassIds):
    r"""One class among `num_classes`, the label a class id.

    The default loss is the cross-entropy of the logits $z$,

    $$\ell = \log \sum_c e^{z_c} - z_y.$$

    Losses that want one-hot labels, as `keras.losses.CategoricalCrossentropy(label_smoothing=0.1)`,
    get them.

    Args:
        name: Name of the task.
        num_classes: Number of classes, at least 2.
        from_logits: Whether outputs are logits; else they are probabilities, and the head ends in a
            softmax. Defaults to `True`.
        loss: A Keras loss, its name, or a function. Defaults to sparse categorical cross-entropy.
        metrics: List of metrics, see `Task`. Defaults to accuracy and the macro averages of
            precision, recall, F1 and one-against-the-rest AUC. Macro F1 decides, since a model that
            always answers the most frequent class can have a high accuracy but not a high macro F1.
        missing: The id that says "no label". Defaults to -1. With `float("nan")` labels may be
            float, as data frames with gaps have them.

    Shapes:
        Labels `(B,)` or `(B, 1)`, integers from 0 to `num_classes - 1`; outputs `(B, num_classes)`.

    Raises:
        ValueError: If `name` cannot name a task, `num_classes` is below 2, or `missing` is a class.

    Example:
    ```python
    from mtlzoo.tasks import Classification

    task = Classification("education", num_classes=5)
    labels = task.read_labels([0, 4, -1, 7])
    labels.present  # [True, True, False, False]
    labels.invalid  # [False, False, False, True]
    ```
    """

    monitor = "macro_f1"
    label_shape = ()

    def __init__(
        self,
        name: str,
        num_classes: int,
        *,
        from_logits: bool = True,
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = -1,
    ) -> None:
        self.from_logits = from_logits
        super().__init__(name, loss=loss, metrics=metrics, missing=missing)
        self._set_classes("num_classes", num_classes)
        self.output_shape = (self.num_classes,)

    def head(self, features: Any) -> Any:
        """One dense layer with an output per class, named as the task."""
        return self._dense(features, None if self.from_logits else "softmax")

    def default_loss(self) -> keras.losses.Loss:
        """Sparse categorical cross-entropy."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=self.from_logits)

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """Accuracy and the macro averages of precision, recall, F1 and AUC."""
        kind: dict[str, Any] = {"class_ids": True, "from_logits": self.from_logits}
        n = self.num_classes
        return [
            keras.metrics.SparseCategoricalAccuracy("accuracy"),
            m.Precision(n, **kind, name="macro_precision"),
            m.Recall(n, **kind, name="macro_recall"),
            m.F1Score(n, **kind, name="macro_f1"),
            m.AUC(n, **kind, name="macro_auc"),
        ]

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "num_classes": self.num_classes,
            "from_logits": self.from_logits,
            **super().get_config(),
        }
