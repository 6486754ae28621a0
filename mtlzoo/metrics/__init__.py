"""Metrics that read raw outputs, and `delta_m`, which compares multi-task with single-task."""

from mtlzoo.metrics.auc import AUC
from mtlzoo.metrics.average_precision import MeanAveragePrecision
from mtlzoo.metrics.delta import delta_m
from mtlzoo.metrics.labelwise import F1Score, LabelwiseMetric, Precision, Recall
from mtlzoo.metrics.r2 import R2Score

__all__ = [
    "AUC",
    "F1Score",
    "LabelwiseMetric",
    "MeanAveragePrecision",
    "Precision",
    "R2Score",
    "Recall",
    "delta_m",
]
