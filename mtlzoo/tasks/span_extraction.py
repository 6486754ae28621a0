"""Where an answer stands in a sequence."""

from typing import Any

import keras
from keras import ops

from mtlzoo import metrics as m
from mtlzoo.layers.policies import at_least_float32
from mtlzoo.metrics.spans import best_span
from mtlzoo.tasks import heads, losses, soft_losses
from mtlzoo.tasks.labels import Labels, check_not_legal, dtype_of
from mtlzoo.tasks.task import Task, as_float

# Its exponential is 0 in every float type, and all of them hold it.
_NEVER = -1e4


@keras.saving.register_keras_serializable(package="mtlzoo")
class SpanExtraction(Task):
    r"""The first and last position of a span in a sequence, as in extractive question answering.

    Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding*, 2019. The default loss is the mean of two cross-entropies over the positions,

    $$\ell = \tfrac12 \sum_{k \in \{start, end\}} \Big(\log \sum_p e^{z_{p,k}} - z_{y_k,k}\Big).$$

    Positions that a Keras mask of the features leaves out have the logit -10000, so that they are
    never found.

    Args:
        name: Name of the task.
        loss: A Keras loss of one class among many, its name, or a function that takes labels
            `(B, 2)` and logits `(B, 2, S)`. Defaults to sparse categorical cross-entropy.
        metrics: List of metrics, see `Task`. Defaults to the share of spans found exactly
            (`exact_match`) and the F1 of the positions found (`overlap_f1`), which decides.
        missing: The position that says "no label"; a row with one or two is missing. Defaults to
            -1.

    Shapes:
        Labels `(B, 2)`, whole numbers, $0 \le start \le end < S$; features `(B, S, F)`; outputs
        `(B, S, 2)`; sample weights `(B,)`. The loss of a label beyond the sequence is NaN, which
        ends the training.

    Raises:
        ValueError: If `name` cannot name a task, or `missing` is a position.

    Example:
    ```python
    from mtlzoo.tasks import SpanExtraction

    task = SpanExtraction("answer")
    task.read_labels([[0, 3], [2, 2], [-1, -1]]).present  # [True, True, False]
    sorted(task.serve([[[0.0, 5.0], [2.0, 1.0]]]))  # ['answer', 'answer_end', 'answer_start']
    ```

    References:
        Devlin et al., NAACL 2019, arXiv:1810.04805.

    *Differences from the paper*: a question without an answer in the text is no span at its first
    token unless it is labelled so.
    """

    from_logits = True
    loss_family = "classification"
    monitor = "overlap_f1"
    mode = "max"
    softened = True
    label_shape = (2,)
    output_shape = (None, 2)
    served = ("start", "end")

    def __init__(
        self,
        name: str,
        *,
        loss: Any = None,
        metrics: list | tuple | None = None,
        missing: float = -1,
    ) -> None:
        super().__init__(name, loss=loss, metrics=metrics, missing=missing)
        check_not_legal(name, missing, missing >= 0)

    def head(self, features: Any) -> Any:
        """One dense layer with two outputs per position, then the mask, named as the task."""
        logits = heads.of_steps(self.name, features, 2, f"{self.name}_projection")
        return MaskedLogits(name=self.name, dtype=at_least_float32())(logits)

    def default_loss(self) -> keras.losses.Loss:
        """Sparse categorical cross-entropy."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """Exact match and the F1 of the overlap."""
        return [m.SpanExactMatch("exact_match"), m.SpanF1("overlap_f1")]

    def canonical(self, labels: Any) -> Any:
        """Positions in a type that holds -1 and every position."""
        return labels if "float" in dtype_of(labels) else ops.cast(labels, "int64")

    def legal(self, labels: Any) -> Any:
        """Whole numbers from 0, the second not below the first; the length is not known here."""
        legal = labels >= 0
        if "float" in dtype_of(labels):
            legal = legal & ops.isfinite(labels) & (labels == ops.floor(labels))
        # A pair with one missing position is missing, whatever the order.
        ordered = (labels[:, :1] <= labels[:, 1:]) | ops.any(
            self.is_missing(labels), axis=-1, keepdims=True
        )
        return legal & ordered

    def read_labels(self, labels: Any, loss: Any = None) -> Labels:
        """Tells spans, missing and invalid ones apart, see `Task.read_labels`; they are int32."""
        read = super().read_labels(labels, loss)
        return read._replace(values=ops.cast(read.values, "int32"))

    def missing_labels(self, batch_size: Any) -> Any:
        """Labels of `batch_size` rows, all missing."""
        dtype = "float32" if self.missing != self.missing else "int32"
        return ops.cast(super().missing_labels(batch_size), dtype)

    def loss_values(self, loss: losses.Loss, values: Any, outputs: Any) -> Any:
        """The loss of every label, see `Task.loss_values`."""
        length = ops.shape(outputs)[1]
        is_beyond = ops.any(values >= length, axis=-1)
        values = ops.minimum(values, length - 1)
        if losses.is_of_one_hot(loss):
            values = ops.one_hot(values, length, dtype="float32")
        found = super().loss_values(loss, values, ops.transpose(outputs, (0, 2, 1)))
        return ops.where(is_beyond, ops.full_like(found, float("nan")), found)

    def soft_loss_values(self, teacher: Any, outputs: Any, temperature: float) -> Any:
        """The mean divergence of the starts and of the ends, see `Task.soft_loss_values`."""
        return ops.mean(soft_losses.of_classes(teacher, outputs, temperature, axis=1), axis=-1)

    def serve(self, outputs: Any) -> dict[str, Any]:
        """The probabilities of each start and end, and the most probable span.

        Args:
            outputs: Raw outputs `(B, S, 2)`.

        Returns:
            `<task>`, the probabilities over the positions, `(B, S, 2)`; `<task>_start` and
            `<task>_end`, int64 `(B,)`, the start not after the end.
        """
        outputs = as_float(outputs)
        start, end = (ops.cast(position, "int64") for position in best_span(outputs))
        return {
            self.name: ops.softmax(outputs, axis=1),
            f"{self.name}_start": start,
            f"{self.name}_end": end,
        }


@keras.saving.register_keras_serializable(package="mtlzoo")
class MaskedLogits(keras.layers.Layer):
    """Logits of positions, with -10000 where the Keras mask leaves a position out.

    Example:
    ```python
    from keras import ops
    from mtlzoo.tasks.span_extraction import MaskedLogits

    MaskedLogits()(ops.ones((1, 2, 1)), mask=ops.convert_to_tensor([[True, False]]))
    # [[[1.0], [-10000.0]]]
    ```
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """The masked logits."""
        if mask is None:
            return inputs
        return ops.where(ops.expand_dims(mask, -1), inputs, ops.full_like(inputs, _NEVER))

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: what was masked says so by itself."""
        return None

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The same shape."""
        return tuple(input_shape)
