"""Metrics of spans: from a first to a last position of a sequence."""

from typing import Any

import keras
from keras import ops


def best_span(logits: Any) -> Any:
    r"""The most probable span of which the start is not after the end.

    $$\arg\max_{i \le j}\; z^{start}_i + z^{end}_j$$

    All pairs are compared, so it takes memory for $S^2$ numbers per row.

    Args:
        logits: Tensor `(B, S, 2)`, of starts and ends.

    Returns:
        Two int32 tensors `(B,)`, the first and the last position.

    Example:
    ```python
    from mtlzoo.metrics.spans import best_span

    best_span([[[0.0, 5.0], [2.0, 1.0]]])  # [0], [0]
    ```
    """
    logits = ops.convert_to_tensor(logits)
    rows, length = ops.shape(logits)[:2]
    pairs = ops.expand_dims(logits[..., 0], 2) + ops.expand_dims(logits[..., 1], 1)
    positions = ops.arange(length)
    legal = ops.expand_dims(positions, 1) <= positions
    pairs = ops.where(legal, pairs, ops.full_like(pairs, -float("inf")))
    best = ops.cast(ops.argmax(ops.reshape(pairs, (rows, length * length)), axis=-1), "int32")
    return best // length, best % length


class _OfSpans(keras.metrics.Mean):
    """The weighted mean of a score of each row."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true = ops.cast(y_true, "int32")
        start, end = best_span(ops.cast(y_pred, self.dtype))
        scores = self._scores(y_true[:, 0], y_true[:, 1], start, end)
        super().update_state(ops.cast(scores, self.dtype), sample_weight)


@keras.saving.register_keras_serializable(package="mtlzoo")
class SpanExactMatch(_OfSpans):
    """The share of rows whose most probable span is the label.

    Args:
        name: Name of the metric. Defaults to `"exact_match"`.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        `y_true` `(B, 2)`, the first and last positions; `y_pred` `(B, S, 2)`, logits of both;
        `sample_weight` `(B,)`. The result is a scalar.

    Example:
    ```python
    from mtlzoo.metrics import SpanExactMatch

    match = SpanExactMatch()
    match.update_state([[0, 1]], [[[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    float(match.result())  # 1.0
    ```
    """

    def __init__(self, name: str = "exact_match", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def _scores(self, start, end, found_start, found_end):
        return ops.logical_and(start == found_start, end == found_end)


@keras.saving.register_keras_serializable(package="mtlzoo")
class SpanF1(_OfSpans):
    r"""The overlap of the most probable span with the label, averaged over rows.

    With $n$ positions in both, $p$ in the span found and $t$ in the label, $F_1 = 2n / (p + t)$.

    Args:
        name: Name of the metric. Defaults to `"overlap_f1"`.
        dtype: Data type of the state. Defaults to `keras.config.floatx()`.

    Shapes:
        As for `SpanExactMatch`.

    Example:
    ```python
    from mtlzoo.metrics import SpanF1

    f1 = SpanF1()
    f1.update_state([[0, 2]], [[[3.0, 2.0], [0.0, 0.0], [0.0, 0.0]]])
    float(f1.result())  # 0.5: one position of 1 found and 3 true
    ```

    References:
        Rajpurkar et al., *SQuAD: 100,000+ Questions for Machine Comprehension of Text*, EMNLP 2016.

    *Differences from the paper*: it counts positions, where SQuAD compares bags of words, without
    articles and punctuation.
    """

    def __init__(self, name: str = "overlap_f1", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def _scores(self, start, end, found_start, found_end):
        both = ops.minimum(end, found_end) - ops.maximum(start, found_start) + 1
        both = ops.cast(ops.maximum(both, 0), self.dtype)
        sizes = ops.cast(end - start + found_end - found_start + 2, self.dtype)
        return 2 * both / sizes
