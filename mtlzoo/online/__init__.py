"""A trained, serving model that keeps learning from a stream."""

from mtlzoo import tensorflow_only  # noqa: F401, isort: skip

from mtlzoo.online.adaptive import Adaptive
from mtlzoo.online.batches import StreamBatch, concatenate
from mtlzoo.online.complexity import Complexity
from mtlzoo.online.directory import follow_directory, read_json_lines
from mtlzoo.online.drift import DriftDetector
from mtlzoo.online.history import OnlineHistory
from mtlzoo.online.holding_back import HeldBack
from mtlzoo.online.intake import Intake
from mtlzoo.online.late_labels import LateLabels
from mtlzoo.online.learner import OnlineLearner
from mtlzoo.online.publishing import Publishing
from mtlzoo.online.quarantine import Quarantine
from mtlzoo.online.reading import Fault, Reader
from mtlzoo.online.replay import Reservoir
from mtlzoo.online.updating import Decision, EveryBatch, Moment, UpdatePolicy, Windows

__all__ = [
    "Adaptive",
    "Complexity",
    "Decision",
    "DriftDetector",
    "EveryBatch",
    "Fault",
    "HeldBack",
    "Intake",
    "LateLabels",
    "Moment",
    "OnlineHistory",
    "OnlineLearner",
    "Publishing",
    "Quarantine",
    "Reader",
    "Reservoir",
    "StreamBatch",
    "UpdatePolicy",
    "Windows",
    "concatenate",
    "follow_directory",
    "read_json_lines",
]
