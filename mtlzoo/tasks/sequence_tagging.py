"""One class for each step of a sequence."""

from typing import Any

import keras

from mtlzoo import metrics as m
from mtlzoo.tasks import heads
from mtlzoo.tasks.class_ids import ClassIds


@keras.saving.register_keras_serializable(package="mtlzoo")
class SequenceTagging(ClassIds):
    r"""One tag among `num_tags` for each step of a sequence, such as the tokens of a text.

    The default loss is the cross-entropy of the logits $z$ of each labelled step,

    $$\ell = \log \sum_c e^{z_c} - z_y,$$

    averaged over the labelled steps of the batch. Which steps count is said by the labels alone:
    those of padding should be missing, whether a Keras mask leaves them out or not.

    Args:
        name: Name of the task.
        num_tags: Number of tags, at least 2.
        loss: A Keras loss, its name, or a function of one value per step. Defaults to sparse
            categorical cross-entropy.
        metrics: List of metrics, see `Task`. Defaults to the accuracy over all steps and the F1
            averaged over tags (`macro_f1`), which decides.
        missing: The id that says "no label". Defaults to -1.

    Shapes:
        Labels `(B, S)`, integers from 0 to `num_tags - 1`; features `(B, S, F)`; outputs
        `(B, S, num_tags)`; sample weights `(B,)` or `(B, S)`.

    Raises:
        ValueError: If `name` cannot name a task, `num_tags` is below 2, or `missing` is a tag.

    Example:
    ```python
    import keras
    from mtlzoo.tasks import SequenceTagging

    task = SequenceTagging("entities", num_tags=9)
    task.head(keras.Input((None, 32))).shape  # (None, None, 9)
    task.read_labels([[0, 8, -1]]).present  # [[True, True, False]]
    ```
    """

    from_logits = True
    monitor = "macro_f1"
    loss_rank = 2
    label_shape = (None,)

    def __init__(
        self,
        name: str,
        num_tags: int,
        *,
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = -1,
    ) -> None:
        super().__init__(name, loss=loss, metrics=metrics, missing=missing)
        self._set_classes("num_tags", num_tags)
        self.num_tags = self.num_classes
        self.output_shape = (None, self.num_tags)

    def head(self, features: Any) -> Any:
        """One dense layer with an output per step and tag, named as the task."""
        return heads.of_steps(self.name, features, self.num_tags)

    def default_loss(self) -> keras.losses.Loss:
        """Sparse categorical cross-entropy."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """Accuracy and macro F1."""
        return [
            keras.metrics.SparseCategoricalAccuracy("accuracy"),
            m.F1Score(self.num_tags, class_ids=True, name="macro_f1"),
        ]

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"num_tags": self.num_tags, **super().get_config()}
