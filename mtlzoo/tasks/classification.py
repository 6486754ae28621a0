"""One class among many."""

from typing import Any

import keras
from keras import ops

from mtlzoo import metrics as m
from mtlzoo.tasks import losses
from mtlzoo.tasks.class_ids import ClassIds
from mtlzoo.tasks.labels import Labels, dtype_of
from mtlzoo.tasks.task import Task

# How far the sum of the probabilities of a label may be from 1.
TOLERANCE = 1e-3


@keras.saving.register_keras_serializable(package="mtlzoo")
class Classification(ClassIds):
    r"""One class among `num_classes`, the label a class id.

    The default loss is the cross-entropy of the logits $z$,

    $$\ell = \log \sum_c e^{z_c} - z_y.$$

    Losses that want one-hot labels, as `keras.losses.CategoricalCrossentropy(label_smoothing=0.1)`,
    get them.

    A label may also be a distribution $p$ over the classes, as of mixed rows or of several
    annotators; the loss is then $\log \sum_c e^{z_c} - \sum_c p_c z_c$, and metrics see the most
    probable class.

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
        Labels `(B,)` or `(B, 1)`, integers from 0 to `num_classes - 1`, or float
        `(B, num_classes)` with the sum 1, of which a row of `missing` is missing; outputs
        `(B, num_classes)`.

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

    # -- distributions over the classes ---------------------------------------------------------

    def _label_shapes(self) -> set[tuple[int | None, ...]]:
        return {*super()._label_shapes(), (self.num_classes,)}

    def _are_soft(self, labels: Any) -> bool:
        """Whether labels are distributions, which their static shape says."""
        return len(labels.shape) == 2 and labels.shape[1] == self.num_classes

    def check_labels(self, labels: Any) -> None:
        """Checks shape and dtype, see `Task.check_labels`; distributions are float."""
        Task.check_labels(self, labels)
        if not self._are_soft(labels):
            super().check_labels(labels)
        elif "float" not in dtype_of(labels):
            raise ValueError(
                f"Labels of task `{self.name}` should have shape (None,), or "
                f"{(None, self.num_classes)} with the probabilities of the classes as float. "
                f"Received: shape={tuple(labels.shape)}, dtype={dtype_of(labels)}"
            )

    def canonical(self, labels: Any) -> Any:
        """Ids `(B,)`, or distributions `(B, num_classes)` in float32 or float64."""
        if self._are_soft(labels):
            return labels if dtype_of(labels) == "float64" else ops.cast(labels, "float32")
        return super().canonical(labels)

    def legal(self, labels: Any) -> Any:
        """Whole numbers from 0 to `num_classes - 1`, or numbers from 0 to 1 with the sum 1."""
        if not self._are_soft(labels):
            return super().legal(labels)
        off = ops.abs(ops.sum(ops.abs(labels), axis=-1, keepdims=True) - 1)
        return ops.logical_and(ops.logical_and(labels >= 0, labels <= 1), off <= TOLERANCE)

    def read_labels(self, labels: Any, loss: Any = None) -> Labels:
        """Tells labels, missing and invalid ones apart; ids are int32, distributions float."""
        if not hasattr(labels, "dtype"):
            labels = ops.convert_to_tensor(labels)
        self.check_labels(labels)
        soft = self._are_soft(labels)
        return Task.read_labels(self, labels, loss) if soft else super().read_labels(labels, loss)

    def loss_values(self, loss: losses.Loss, values: Any, outputs: Any) -> Any:
        """The loss of every label, see `Task.loss_values`.

        Raises:
            ValueError: If labels are distributions and `loss` is of class ids only.
        """
        if not self._are_soft(values):
            return super().loss_values(loss, values, outputs)
        if type(loss) is keras.losses.SparseCategoricalCrossentropy:
            loss = keras.losses.CategoricalCrossentropy(from_logits=self.from_logits)
        if not losses.is_of_one_hot(loss):
            text = getattr(loss, "__name__", type(loss).__name__)
            raise ValueError(
                f"The loss of task `{self.name}` should be a cross-entropy, or another loss of "
                "one-hot labels, where labels are distributions over the classes. "
                f"Received: loss={text}"
            )
        return Task.loss_values(self, loss, values, outputs)

    def update_metric(
        self, metric: keras.metrics.Metric, values: Any, outputs: Any, weights: Any
    ) -> None:
        """Updates a metric with one batch, see `Task.update_metric`."""
        if self._are_soft(values):
            values = ops.cast(ops.argmax(values, axis=-1), "int32")
        super().update_metric(metric, values, outputs, weights)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "num_classes": self.num_classes,
            "from_logits": self.from_logits,
            **super().get_config(),
        }
