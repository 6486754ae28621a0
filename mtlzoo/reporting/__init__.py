"""Reports of trainings: one page of HTML, and TensorBoard."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.reporting.recorder import RunRecorder
from mtlzoo.reporting.run import Run, Training
from mtlzoo.reporting.tensorboard import TensorBoard
from mtlzoo.reporting.writing import read, report

__all__ = [
    "Run",
    "RunRecorder",
    "TensorBoard",
    "Training",
    "read",
    "report",
]
