"""Metrics that read raw outputs, and `delta_m`, which compares multi-task with single-task."""

from mtlzoo.metrics.angles import AngleWithin, MeanAngle, MedianAngle
from mtlzoo.metrics.auc import AUC
from mtlzoo.metrics.average_precision import MeanAveragePrecision
from mtlzoo.metrics.calibration import ExpectedCalibrationError
from mtlzoo.metrics.delta import delta_m
from mtlzoo.metrics.depth import RelativeError, ThresholdAccuracy
from mtlzoo.metrics.labelwise import F1Score, IoU, LabelwiseMetric, Precision, Recall
from mtlzoo.metrics.r2 import R2Score
from mtlzoo.metrics.spans import SpanExactMatch, SpanF1

__all__ = [
    "AUC",
    "AngleWithin",
    "ExpectedCalibrationError",
    "F1Score",
    "IoU",
    "LabelwiseMetric",
    "MeanAngle",
    "MeanAveragePrecision",
    "MedianAngle",
    "Precision",
    "R2Score",
    "Recall",
    "RelativeError",
    "SpanExactMatch",
    "SpanF1",
    "ThresholdAccuracy",
    "delta_m",
]
