"""Yes or no."""

from typing import Any

import keras
from keras import ops

from mtlzoo import metrics as m
from mtlzoo.tasks import soft_losses
from mtlzoo.tasks.labels import check_not_legal
from mtlzoo.tasks.task import Task, as_float


@keras.saving.register_keras_serializable(package="mtlzoo")
class BinaryClassification(Task):
    r"""A yes/no question with one output.

    The default loss is the binary cross-entropy of the logit $z$,

    $$\ell = \log(1 + e^{z}) - y z.$$

    Args:
        name: Name of the task.
        from_logits: Whether outputs are logits; else they are probabilities, and the head ends in a
            sigmoid. Defaults to `True`.
        loss: A Keras loss, its name, or a function. Defaults to binary cross-entropy.
        metrics: List of metrics, see `Task`. Defaults to accuracy, precision, recall, F1 and AUC of
            the positive class. AUC decides.
        missing: The label that says "no label". Defaults to -1; may be `float("nan")`.

    Shapes:
        Labels `(B,)` or `(B, 1)`, of any number type or bool, from 0 to 1; outputs `(B, 1)`.

    Raises:
        ValueError: If `name` cannot name a task, or `missing` is a label.

    Example:
    ```python
    import keras
    from mtlzoo.tasks import BinaryClassification

    task = BinaryClassification("click")
    features = keras.Input((8,))
    model = keras.Model(features, {"click": task.head(features)})
    answer = task.serve(model.predict(keras.ops.ones((2, 8)), verbose=0)["click"])
    sorted(answer)  # ['click', 'click_class']
    ```
    """

    from_logits: bool
    loss_family = "classification"
    monitor = "auc"
    mode = "max"
    softened = True
    label_shape = ()
    output_shape = (1,)

    def __init__(
        self,
        name: str,
        *,
        from_logits: bool = True,
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = -1,
    ) -> None:
        self.from_logits = from_logits
        super().__init__(name, loss=loss, metrics=metrics, missing=missing)
        check_not_legal(name, missing, 0 <= missing <= 1)

    def head(self, features: Any) -> Any:
        """One dense layer with one output, named as the task."""
        return self._dense(features, None if self.from_logits else "sigmoid")

    def default_loss(self) -> keras.losses.Loss:
        """Binary cross-entropy."""
        return keras.losses.BinaryCrossentropy(from_logits=self.from_logits)

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """Accuracy, precision, recall, F1 and AUC of the positive class."""
        logits = self.from_logits
        return [
            keras.metrics.BinaryAccuracy("accuracy", threshold=0.0 if logits else 0.5),
            m.Precision(from_logits=logits, name="precision"),
            m.Recall(from_logits=logits, name="recall"),
            m.F1Score(from_logits=logits, name="f1"),
            m.AUC(from_logits=logits, name="auc"),
        ]

    def legal(self, labels: Any) -> Any:
        """Labels from 0 to 1."""
        return ops.logical_and(labels >= 0, labels <= 1)

    def soft_loss_values(self, teacher: Any, outputs: Any, temperature: float) -> Any:
        """The divergence from a teacher's answers, cell by cell, see `Task.soft_loss_values`."""
        return soft_losses.of_cells(teacher, outputs, temperature, self.from_logits)

    def serve(self, outputs: Any) -> dict[str, Any]:
        """The probability of yes, `(B, 1)`, and the class 0 or 1, `(B,)`."""
        outputs = as_float(outputs)
        ids = ops.cast(outputs[:, 0] > (0.0 if self.from_logits else 0.5), "int64")
        return {
            self.name: ops.sigmoid(outputs) if self.from_logits else outputs,
            f"{self.name}_class": ids,
        }

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"from_logits": self.from_logits, **super().get_config()}
