"""What a task has to know about a metric: its logits, its cells."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

_metrics = keras.metrics

# Metrics that Keras averages over the last axis before it weighs: a mask of cells needs that axis
# to be one cell.
_OF_CELLS = (
    _metrics.BinaryAccuracy,
    _metrics.BinaryCrossentropy,
    _metrics.LogCoshError,
    _metrics.MeanAbsoluteError,
    _metrics.MeanAbsolutePercentageError,
    _metrics.MeanSquaredError,
    _metrics.MeanSquaredLogarithmicError,
)

# Metrics that take one weight for each row.
_OF_ROWS = (_metrics.MeanMetricWrapper, _metrics.FBetaScore)

# Metrics that compare probabilities with thresholds and have no option for logits.
_OF_PROBABILITIES = (
    _metrics.FalseNegatives,
    _metrics.FalsePositives,
    _metrics.Precision,
    _metrics.PrecisionAtRecall,
    _metrics.Recall,
    _metrics.RecallAtPrecision,
    _metrics.SensitivityAtSpecificity,
    _metrics.SpecificityAtSensitivity,
    _metrics.TrueNegatives,
    _metrics.TruePositives,
)


def resolve(
    name: str, identifier: Any, from_logits: bool | None, own: Iterable[keras.metrics.Metric]
) -> keras.metrics.Metric:
    """A new metric object for `identifier`.

    Args:
        name: The task's name, for messages.
        identifier: Name of one of the metrics `own`, a Keras metric or its name, or a function
            `fn(y_true, y_pred)` of raw outputs.
        from_logits: Whether the task's outputs are logits; `None` if no such thing is known.
        own: New objects of the metrics that the task itself names.

    Raises:
        ValueError: If `identifier` is none of these, or a metric that misreads the task's outputs.
    """
    if isinstance(identifier, str):
        for metric in own:
            if metric.name == identifier:
                return metric
    try:
        metric = keras.metrics.get(identifier)
    except (ValueError, TypeError):
        metric = None
    if isinstance(metric, keras.metrics.Metric):
        _check_logits(name, metric, from_logits)
        try:
            return type(metric).from_config(metric.get_config())
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The metrics of task `{name}` should be able to be made anew from their "
                f"configuration. Received: {type(metric).__name__} '{metric.name}'"
            ) from error
    if callable(metric):
        text = getattr(metric, "__name__", type(metric).__name__)
        return keras.metrics.MeanMetricWrapper(metric, name=text)
    raise ValueError(
        f"The metrics of task `{name}` should be Keras metrics, functions, or names of either. "
        f"Received: {identifier!r}"
    )


def _check_logits(name: str, metric: keras.metrics.Metric, from_logits: bool | None) -> None:
    config = metric.get_config()
    reads = config.get("from_logits")
    if isinstance(metric, _OF_PROBABILITIES) or config.get("threshold") == 0.5:
        reads = False
    if reads is not None and from_logits is not None and reads != from_logits:
        raise ValueError(
            f"The metrics of task `{name}` should read "
            f"{'logits' if from_logits else 'probabilities'}, the task's raw outputs; those of "
            f"`mtlzoo.metrics` have `from_logits` for it. Received: {type(metric).__name__} "
            f"'{metric.name}', which reads {'logits' if reads else 'probabilities'}"
        )


def update(
    metric: keras.metrics.Metric, values: Any, outputs: Any, weights: Any, rank: int = 1
) -> None:
    """Updates a metric with weights per row or per cell, whichever it was made for.

    Args:
        metric: A metric.
        values: The labels.
        outputs: The raw outputs.
        weights: Of the shape of the loss values.
        rank: The number of axes of a weight per row; of one per cell there are more. Defaults to 1.
    """
    if rank > 1 and isinstance(metric, _metrics.Mean):
        # Keras averages within rows first, so that a step of a short sequence would count for more.
        values, outputs, weights = (_as_rows(t, rank) for t in (values, outputs, weights))
    if len(weights.shape) > rank:
        if isinstance(metric, _OF_CELLS):
            values, outputs = ops.expand_dims(values, -1), ops.expand_dims(outputs, -1)
        elif isinstance(metric, _OF_ROWS):
            weights = ops.min(weights, axis=tuple(range(rank, len(weights.shape))))
    metric.update_state(values, outputs, sample_weight=weights)


def _as_rows(tensor, rank: int):
    """Each entry of the first `rank` axes as a row."""
    return ops.reshape(tensor, (-1, *ops.shape(tensor)[rank:]))
