"""Labels that are class ids: of rows, of steps, of pixels."""

import math
from typing import Any

from keras import ops

from mtlzoo.tasks import losses, soft_losses
from mtlzoo.tasks.labels import Labels, check_not_legal, dtype_of
from mtlzoo.tasks.task import Task, as_float


class ClassIds(Task):
    """Base of the kinds that find one class among `num_classes`, the label a class id.

    A kind calls `_set_classes` when it is made, and supplies what `Task` says.
    """

    from_logits: bool
    loss_family = "classification"
    mode = "max"
    softened = True
    num_classes: int

    def _set_classes(self, argument: str, count: Any) -> None:
        """Checks the number of classes and that `missing` is none of them."""
        self.num_classes = self._at_least(argument, count, 2)
        missing = self.missing
        check_not_legal(self.name, missing, 0 <= missing < self.num_classes)
        if missing == missing and (math.isinf(missing) or missing != int(missing)):
            raise ValueError(
                f"`missing` of task `{self.name}` should be a whole number or NaN. "
                f"Received: missing={missing!r}"
            )

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
        """Ids without a last axis of 1, in a type that holds -1 and every id."""
        if len(labels.shape) > self.loss_rank:
            labels = ops.squeeze(labels, -1)
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
        return ops.cast(super().missing_labels(batch_size), dtype)

    def loss_values(self, loss: losses.Loss, values: Any, outputs: Any) -> Any:
        """The loss of every label, see `Task.loss_values`."""
        if losses.is_of_one_hot(loss):
            values = ops.one_hot(values, self.num_classes, dtype="float32")
        return super().loss_values(loss, values, outputs)

    def soft_loss_values(self, teacher: Any, outputs: Any, temperature: float) -> Any:
        """The divergence from a teacher's classes, see `Task.soft_loss_values`."""
        return soft_losses.of_classes(
            teacher, outputs, temperature, from_logits=self.from_logits is not False
        )

    def serve(self, outputs: Any) -> dict[str, Any]:
        """The probabilities of the classes and the most probable class."""
        outputs = as_float(outputs)
        ids = ops.cast(ops.argmax(outputs, axis=-1), "int64")
        if self.from_logits:
            outputs = ops.softmax(outputs, axis=-1)
        return {self.name: outputs, f"{self.name}_class": ids}
