"""One class among many."""

import math
from typing import Any

import keras
from keras import ops

from mtlzoo import metrics as m
from mtlzoo.tasks import losses
from mtlzoo.tasks.labels import Labels, check_not_legal, dtype_of
from mtlzoo.tasks.task import Task, as_float


@keras.saving.register_keras_serializable(package="mtlzoo")
class Classification(Task):
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

    from_logits: bool
    loss_family = "classification"
    monitor = "macro_f1"
    mode = "max"
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
        self.num_classes = self._at_least("num_classes", num_classes, 2)
        check_not_legal(name, missing, 0 <= missing < self.num_classes)
        if missing == missing and (math.isinf(missing) or missing != int(missing)):
            raise ValueError(
                f"`missing` of task `{name}` should be a whole number or NaN. "
                f"Received: missing={missing!r}"
            )
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

    def check_labels(self, labels: Any) -> None:
        """Checks shape and dtype, see `Task.check_labels`; float ids only if `missing` is NaN."""
        super().check_labels(labels)
        dtype = dtype_of(labels)
        if "int" not in dtype and not ("float" in dtype and self.missing != self.missing):
            raise ValueError(
                f"Labels of task `{self.name}` should be class ids of an integer type (or, with "
                f"`missing=float('nan')`, float). Received: dtype={dtype}"
            )

    def canonical(self, labels: Any) -> Any:
        """Ids `(B,)`, in a type that holds -1 and every id."""
        labels = ops.reshape(labels, (-1,))
        return labels if "float" in dtype_of(labels) else ops.cast(labels, "int64")

    def legal(self, labels: Any) -> Any:
        """Whole numbers from 0 to `num_classes - 1`."""
        legal = ops.logical_and(labels >= 0, labels < self.num_classes)
        if "float" in dtype_of(labels):
            legal = ops.logical_and(legal, labels == ops.floor(labels))
        return legal

    def read_labels(self, labels: Any, loss: Any = None) -> Labels:
        """Tells ids, missing and invalid ones apart, see `Task.read_labels`; ids are int32."""
        read = super().read_labels(labels, loss)
        return read._replace(values=ops.cast(read.values, "int32"))

    def missing_labels(self, batch_size: Any) -> Any:
        """Labels of `batch_size` rows, all missing."""
        dtype = "float32" if self.missing != self.missing else "int32"
        return ops.full((batch_size,), self.missing, dtype=dtype)

    def loss_values(self, loss: losses.Loss, values: Any, outputs: Any) -> Any:
        """The loss of every label, see `Task.loss_values`."""
        if losses.is_of_one_hot(loss):
            values = ops.one_hot(values, self.num_classes, dtype="float32")
        return super().loss_values(loss, values, outputs)

    def serve(self, outputs: Any) -> dict[str, Any]:
        """The probabilities, `(B, num_classes)`, and the most probable class, `(B,)`."""
        outputs = as_float(outputs)
        ids = ops.cast(ops.argmax(outputs, axis=-1), "int64")
        if self.from_logits:
            outputs = ops.softmax(outputs, axis=-1)
        return {self.name: outputs, f"{self.name}_class": ids}

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "num_classes": self.num_classes,
            "from_logits": self.from_logits,
            **super().get_config(),
        }
