"""Understanding: are the tasks related, what did the model learn, what may be cut away."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.analysis.finding import Finding
from mtlzoo.analysis.gramian_history import GramianHistory
from mtlzoo.analysis.task_matrix import TaskMatrix

__all__ = [
    "Finding",
    "GramianHistory",
    "TaskMatrix",
]
