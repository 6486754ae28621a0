"""What views answer: labels and how certain they are, kind by kind of task."""

from typing import NamedTuple

import numpy as np

from mtlzoo.tasks import (
    BinaryClassification,
    Classification,
    MultiLabelClassification,
    Regression,
    SemanticSegmentation,
    Task,
)
from mtlzoo.training.co_training.agreement import agreement_rate, cohens_kappa, concordance

CLASSES = (BinaryClassification, Classification, MultiLabelClassification, SemanticSegmentation)
KINDS = (*CLASSES, Regression)


class Answers(NamedTuple):
    """What one view says of every entry: of rows, of a row's labels, of pixels.

    Attributes:
        labels: the labels that it would give.
        certainties: float64 of the same shape, from 0 to 1.
    """

    labels: np.ndarray
    certainties: np.ndarray


def is_of_classes(task: Task) -> bool:
    """Whether the task is one of classes, of which one view alone knows how certain it is.

    Args:
        task: of a kind in `KINDS`.
    """
    return isinstance(task, CLASSES)


def of_classes(task: Task, outputs: np.ndarray) -> Answers:
    """The most probable classes and their probabilities.

    Args:
        task: a task of classes.
        outputs: its raw outputs.
    """
    outputs = np.asarray(outputs, "float64")  # in which probabilities near 1 still differ
    if isinstance(task, Classification | SemanticSegmentation):
        if task.from_logits:
            powers = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
            outputs = powers / powers.sum(axis=-1, keepdims=True)
        return Answers(outputs.argmax(axis=-1), outputs.max(axis=-1))
    if isinstance(task, BinaryClassification):
        outputs = outputs[:, 0]
    if getattr(task, "from_logits", True):
        yes, distance = outputs > 0, np.abs(outputs)
        certain = 1 / (1 + np.exp(-distance))
    else:
        yes, certain = outputs > 0.5, np.maximum(outputs, 1 - outputs)
    return Answers(yes.astype(int), certain)


def of_values(task: Task, first: np.ndarray, second: np.ndarray, scale: np.ndarray) -> Answers:
    r"""The mean of two views' values, the more certain the nearer they are.

    With the standard deviation $s$ of the given labels, values $a$ and $b$ have the certainty
    $\max(0, 1 - |a - b| / s)$.

    Args:
        task: a regression.
        first: raw outputs `(n, dim)`.
        second: those of the other view.
        scale: `(dim,)`, the standard deviations.
    """
    a, b = np.asarray(first, "float64"), np.asarray(second, "float64")
    certain = np.maximum(0, 1 - np.abs(a - b) / scale)
    shape = (len(a), *task.label_shape)
    return Answers(((a + b) / 2).reshape(shape), certain.reshape(shape))


def groups(task: Task, labels: np.ndarray) -> np.ndarray:
    """What is balanced: the classes, of several questions at once each one's own.

    Args:
        task: of a kind in `KINDS`.
        labels: labels of entries, `(n, ...)`.

    Returns:
        Integers of the same shape, from 0.
    """
    if isinstance(task, MultiLabelClassification):
        return np.rint(labels).astype(int) + 2 * np.arange(task.num_labels)
    if isinstance(task, Regression):
        columns = np.arange(task.dim) if task.dim > 1 else 0
        return np.broadcast_to(columns, labels.shape)
    return np.rint(labels).astype(int)


def group_count(task: Task) -> int:
    """How many groups a task has.

    Args:
        task: of a kind in `KINDS`.
    """
    if isinstance(task, MultiLabelClassification):
        return 2 * task.num_labels
    if isinstance(task, Regression):
        return task.dim
    return getattr(task, "num_classes", 2)


def compared(task: Task, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """How far two views agree on entries.

    Args:
        task: of a kind in `KINDS`.
        first: labels of entries.
        second: those of the other view.

    Returns:
        `agreement`, the share of equal classes (not for regressions), and `kappa`, which for
        regressions is the concordance.
    """
    if is_of_classes(task):
        rate = agreement_rate(first, second)
        return {"agreement": rate, "kappa": cohens_kappa(first, second)}
    return {"agreement": float("nan"), "kappa": concordance(first, second)}


def correct(task: Task, labels: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> float:
    """How right labels are: the share of right classes, or the error of real values.

    Args:
        task: of a kind in `KINDS`.
        labels: labels of entries.
        truth: the true ones.
        scale: of a regression, for each entry the standard deviation of the given labels.

    Returns:
        For classes the accuracy; for regressions the root of the mean squared error in standard
        deviations. NaN if there is no entry.
    """
    if not labels.size:
        return float("nan")
    if is_of_classes(task):
        return agreement_rate(np.rint(labels), np.rint(truth))
    return float(np.sqrt(np.mean(np.square((labels - truth) / scale))))
