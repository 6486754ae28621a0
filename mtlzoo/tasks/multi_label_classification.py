"""Several yes/no questions at once, each with its own missing labels."""

from typing import Any

import keras
from keras import ops

from mtlzoo import metrics as m
from mtlzoo.tasks import soft_losses
from mtlzoo.tasks.labels import check_not_legal
from mtlzoo.tasks.task import Task, as_float


@keras.saving.register_keras_serializable(package="mtlzoo")
class MultiLabelClassification(Task):
    r"""`num_labels` yes/no questions about one row, any of which may be unanswered.

    The default loss is the binary cross-entropy of each present cell with logit $z$,

    $$\ell = \log(1 + e^{z}) - y z.$$

    Args:
        name: Name of the task.
        num_labels: Number of labels, at least 1.
        from_logits: Whether outputs are logits; else they are probabilities, and the head ends in a
            sigmoid. Defaults to `True`.
        loss: A Keras loss, its name, or a function. Defaults to binary cross-entropy. A loss that
            is not defined cell by cell is applied per row; a row with a missing cell is missing.
        metrics: List of metrics, see `Task`. Defaults to the accuracy over all cells
            (`micro_accuracy`), micro and macro F1, and macro precision, recall and AUC. Macro F1
            decides.
        missing: The cell that says "no label". Defaults to -1; may be `float("nan")`.

    Shapes:
        Labels `(B, num_labels)`, of any number type or bool, from 0 to 1; outputs the same shape.

    Raises:
        ValueError: If `name` cannot name a task, `num_labels` is below 1, or `missing` is a label.

    Example:
    ```python
    from mtlzoo.tasks import MultiLabelClassification

    task = MultiLabelClassification("attributes", num_labels=2)
    task.read_labels([[1, -1], [0, 1]]).present  # [[True, False], [True, True]]
    ```
    """

    from_logits: bool
    loss_family = "classification"
    monitor = "macro_f1"
    mode = "max"
    softened = True

    def __init__(
        self,
        name: str,
        num_labels: int,
        *,
        from_logits: bool = True,
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = -1,
    ) -> None:
        self.from_logits = from_logits
        super().__init__(name, loss=loss, metrics=metrics, missing=missing)
        self.num_labels = self._at_least("num_labels", num_labels, 1)
        check_not_legal(name, missing, 0 <= missing <= 1)
        self.label_shape = self.output_shape = (self.num_labels,)

    def head(self, features: Any) -> Any:
        """One dense layer with an output per label, named as the task."""
        return self._dense(features, None if self.from_logits else "sigmoid")

    def default_loss(self) -> keras.losses.Loss:
        """Binary cross-entropy."""
        return keras.losses.BinaryCrossentropy(from_logits=self.from_logits)

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """Micro accuracy and F1; macro F1, precision, recall and AUC."""
        n, logits = self.num_labels, self.from_logits
        return [
            keras.metrics.BinaryAccuracy("micro_accuracy", threshold=0.0 if logits else 0.5),
            m.F1Score(n, from_logits=logits, average="micro", name="micro_f1"),
            m.F1Score(n, from_logits=logits, name="macro_f1"),
            m.Precision(n, from_logits=logits, name="macro_precision"),
            m.Recall(n, from_logits=logits, name="macro_recall"),
            m.AUC(n, from_logits=logits, name="macro_auc"),
        ]

    def legal(self, labels: Any) -> Any:
        """Cells from 0 to 1."""
        return ops.logical_and(labels >= 0, labels <= 1)

    def soft_loss_values(self, teacher: Any, outputs: Any, temperature: float) -> Any:
        """The divergence from a teacher's answers, cell by cell, see `Task.soft_loss_values`."""
        return soft_losses.of_cells(teacher, outputs, temperature, self.from_logits)

    def serve(self, outputs: Any) -> dict[str, Any]:
        """The probability of each label and its class 0 or 1, both `(B, num_labels)`."""
        outputs = as_float(outputs)
        ids = ops.cast(outputs > (0.0 if self.from_logits else 0.5), "int64")
        return {
            self.name: ops.sigmoid(outputs) if self.from_logits else outputs,
            f"{self.name}_class": ids,
        }

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "num_labels": self.num_labels,
            "from_logits": self.from_logits,
            **super().get_config(),
        }
