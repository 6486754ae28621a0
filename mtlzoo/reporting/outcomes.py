"""Which classes are taken for which, and whether probabilities are true."""

from typing import Any, NamedTuple

import keras
import numpy as np

from mtlzoo.reporting.answers import TaskAnswers
from mtlzoo.tasks import BinaryClassification, MultiLabelClassification
from mtlzoo.tasks.class_ids import ClassIds

BINS = 15


class Reliability(NamedTuple):
    """Confidence and accuracy, in bins of equal width from 0 to 1.

    Attributes:
        number: (BINS,), how many answers fell into each bin.
        confidence: (BINS,), their mean confidence; NaN in an empty bin.
        accuracy: (BINS,), the share of them that is right; NaN in an empty bin.
    """

    number: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error, see `mtlzoo.metrics.ExpectedCalibrationError`."""
        share = self.number / max(self.number.sum(), 1)
        return float(np.nansum(share * np.abs(self.accuracy - self.confidence)))


class Outcomes(NamedTuple):
    """What a classifier answered.

    Attributes:
        classes: The names of the classes; of several labels `("no", "yes")`, for all cells.
        confusion: (C, C), how many labels of the row's class were answered by the column's.
        reliability: Of the most probable answers.
        left_out: How many answers to labels are left out, since they are not finite.
    """

    classes: tuple[str, ...]
    confusion: np.ndarray
    reliability: Reliability
    left_out: int = 0


def outcomes(task: Any, answers: TaskAnswers) -> Outcomes | None:
    """The outcomes of a task with yes or no, with several labels, or with one class among several.

    Sample weights do not count, nor do answers that are not finite. Of another kind of task they
    are `None`.

    Args:
        task: The task.
        answers: Of `answers.collect`.
    """
    served = {
        key: keras.ops.convert_to_numpy(each) for key, each in task.serve(answers.outputs).items()
    }
    if isinstance(task, BinaryClassification | MultiLabelClassification):
        yes = served[task.name]
        confidence = np.maximum(yes, 1 - yes)
        given = served[f"{task.name}_class"].reshape(yes.shape)
        truth = (np.reshape(answers.values, yes.shape) > 0.5).astype(int)
        names: tuple[str, ...] = ("no", "yes")
    elif isinstance(task, ClassIds):
        probabilities = served[task.name]
        soft = answers.values.ndim == probabilities.ndim
        truth = answers.values.argmax(-1) if soft else answers.values
        given, confidence = served[f"{task.name}_class"], probabilities.max(-1)
        names = tuple(map(str, range(task.num_classes)))
    else:
        return None
    there = answers.present
    if there.ndim < truth.ndim:  # of whole rows, with several cells each
        there = np.broadcast_to(there.reshape(-1, *[1] * (truth.ndim - 1)), truth.shape)
    finite = np.isfinite(confidence)
    left_out = int((there & ~finite).sum())
    there = there & finite
    truth, given, confidence = (each[there] for each in (truth, given, confidence))
    count = len(names)
    confusion = np.bincount(truth * count + given, minlength=count**2).reshape(count, count)
    return Outcomes(names, confusion, reliability(confidence, given == truth), left_out)


def reliability(confidence: np.ndarray, right: np.ndarray) -> Reliability:
    """Confidence and accuracy by bins.

    Args:
        confidence: (N,), from 0 to 1.
        right: (N,), whether the answer was.
    """
    ids = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    count, sure, hits = (
        np.bincount(ids, weights, BINS) for weights in (None, confidence, right.astype(float))
    )
    with np.errstate(invalid="ignore"):
        return Reliability(count, sure / count, hits / count)
