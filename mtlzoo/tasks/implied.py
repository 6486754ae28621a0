"""The task that a plain Keras loss implies."""

from typing import Any

import keras

from mtlzoo.tasks import losses
from mtlzoo.tasks.binary_classification import BinaryClassification
from mtlzoo.tasks.classification import Classification
from mtlzoo.tasks.multi_label_classification import MultiLabelClassification
from mtlzoo.tasks.regression import Regression
from mtlzoo.tasks.task import Task, check_shape

_BINARY = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
_SPARSE = (keras.losses.SparseCategoricalCrossentropy,)
_REAL = (
    keras.losses.Huber,
    keras.losses.LogCosh,
    keras.losses.MeanAbsoluteError,
    keras.losses.MeanAbsolutePercentageError,
    keras.losses.MeanSquaredError,
    keras.losses.MeanSquaredLogarithmicError,
)


def from_loss(name: str, loss: Any, output_shape: tuple[int | None, ...]) -> Task:
    """The task that a plain Keras loss implies.

    Binary cross-entropy makes a `BinaryClassification` (one output) or a
    `MultiLabelClassification`, sparse categorical cross-entropy a `Classification`, the losses of
    real values a `Regression`, anything else a generic `Task`. Whether outputs are logits is read
    from the loss, and a name such as `"binary_crossentropy"` means what it means to Keras: outputs
    are probabilities.

    Args:
        name: Name of the task.
        loss: A Keras loss, its name, or a function `fn(y_true, y_pred)`.
        output_shape: Shape of the output, without the batch.

    Returns:
        A task with that loss.

    Raises:
        ValueError: If `name` cannot name a task or `loss` is not known.

    Example:
    ```python
    import keras
    from mtlzoo.tasks import from_loss

    from_loss("click", keras.losses.BinaryCrossentropy(from_logits=True), (1,))
    # <BinaryClassification name=click>
    ```
    """
    resolved = losses.resolve(name, loss, None)
    output_shape = check_shape(name, "output_shape", output_shape)
    size = output_shape[0] if len(output_shape) == 1 else None
    if size is not None:
        logits = bool(losses.logits_of(resolved))
        if isinstance(resolved, _BINARY) and size == 1:
            return BinaryClassification(name, from_logits=logits, loss=resolved)
        if isinstance(resolved, _BINARY):
            return MultiLabelClassification(name, size, from_logits=logits, loss=resolved)
        if isinstance(resolved, _SPARSE) and size > 1:
            return Classification(name, size, from_logits=logits, loss=resolved)
        if isinstance(resolved, _REAL):
            return Regression(name, size, loss=resolved)
    return Task(name, loss=resolved, output_shape=output_shape)
