"""Which number of a task's answer is explained: a column for each thing that can be asked about.

For tasks of pixels or steps a column is the mean over these; of a detector's cells, and of the
steps at which a span may begin or end, the best counts.
"""

import numbers
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.layers.policies import in_full
from mtlzoo.tasks import (
    BinaryClassification,
    MultiLabelClassification,
    ObjectDetection,
    SpanExtraction,
    Task,
)
from mtlzoo.tasks.class_ids import ClassIds

# Probabilities are kept so far from 0 and 1 before their logarithm is taken.
_EPSILON = 1e-7
_MOST_NUMBERS = 3  # of an answer
_OTHER_OUTPUTS_OF_DETECTION = 5  # four distances and the centre-ness, after the class logits


class Columns(keras.layers.Layer):
    """The numbers that can be explained, `(B, C)`, from the raw output of a task.

    Args:
        task: the task; `None` for an output that nothing is known of.
        **kwargs: those of `keras.layers.Layer`.
    """

    def __init__(self, task: Task | None, **kwargs: Any) -> None:
        super().__init__(trainable=False, autocast=False, **kwargs)
        self._task = (task,)  # in a tuple, which Keras does not look into

    def call(self, outputs: Any) -> Any:
        """The columns."""
        (task,) = self._task
        outputs = in_full(outputs)
        if len(outputs.shape) == 1:
            outputs = ops.expand_dims(outputs, -1)
        cells = tuple(range(1, len(outputs.shape) - 1))
        # Where the best cell or step decides, so it does in the sum of exponentials.
        if isinstance(task, ObjectDetection):
            return ops.logsumexp(outputs[..., :-_OTHER_OUTPUTS_OF_DETECTION], axis=cells)
        if isinstance(task, SpanExtraction):
            return ops.logsumexp(outputs, axis=cells)
        if task is not None and task.from_logits is False:
            outputs = ops.clip(outputs, _EPSILON, 1 - _EPSILON)
            logs = ops.log(outputs)
            outputs = logs if _chooses(task) else logs - ops.log(1 - outputs)
        return ops.mean(outputs, axis=cells) if cells else outputs


def kind_of(task: Task | None) -> str:
    """`"class"`, one of several; `"label"`, yes or no for each; or `"number"`."""
    if _chooses(task):
        return "class"
    kinds = (BinaryClassification, MultiLabelClassification, ObjectDetection)
    return "label" if isinstance(task, kinds) else "number"


def _chooses(task: Task | None) -> bool:
    return isinstance(task, ClassIds)


def choose(
    name: str,
    task: Task | None,
    raw: np.ndarray,
    columns: np.ndarray,
    target: Any,
    sign: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which column is explained in every row, and in which direction.

    Args:
        name: of the task.
        task: the task, or `None`.
        raw: its raw output, `(B, ...)`.
        columns: `(B, C)`.
        target: an index, or one for each row; `None` for what the model answers.
        sign: 1 for what raises the number, -1 for what lowers it. `None` is 1, but for an answer of
            yes or no without a `target` the direction of that answer.

    Returns:
        The indices and the signs, `(B,)` each.

    Raises:
        ValueError: if the target or the sign is none.
    """
    count, size = columns.shape
    if sign not in (None, 1, -1) or isinstance(sign, bool):
        raise ValueError(f"`sign` should be 1, -1 or None. Received: sign={sign!r}")
    signs = np.full(count, 1 if sign is None else sign)
    if target is None:
        if is_yes_no(task) and sign is None:
            signs = np.where(columns[:, 0] >= 0, 1, -1)
        return _answered(task, raw, columns), signs
    listed = [target] * count if isinstance(target, numbers.Integral) else target
    if not isinstance(listed, Sequence | np.ndarray) or isinstance(listed, str):
        listed = []
    found = np.asarray(list(listed))
    limit = 2 if is_yes_no(task) else size
    integers = found.shape == (count,) and (count == 0 or found.dtype.kind in "iub")
    if not integers or (found.size and (found.min() < 0 or found.max() >= limit)):
        what = {"class": "class", "label": "label", "number": "output"}[kind_of(task)]
        raise ValueError(
            f"`target` of task `{name}` should be the index of a {what}, from 0 to {limit - 1}, or "
            f"one for each of the {count} rows. Received: target={target!r}"
        )
    if is_yes_no(task):
        return np.zeros(count, int), signs * np.where(found == 1, 1, -1)
    return found.astype(int), signs


def as_given(task: Task | None, index: np.ndarray, signs: np.ndarray) -> list[int]:
    """The targets by which `choose` gives these indices and signs, of yes/no without a sign."""
    return (signs > 0).astype(int).tolist() if is_yes_no(task) else index.tolist()


def check_classes(classes: Sequence[str] | None, count: int, task: Task | None) -> None:
    """Refuse another number of names than the task has classes, labels or outputs.

    Raises:
        ValueError: if there are more or fewer.
    """
    count = 2 if is_yes_no(task) else count
    if classes is not None and len(classes) != count:
        raise ValueError(
            f"`classes` should be {count} names. Received: {len(classes)}, classes={classes!r}"
        )


def is_yes_no(task: Task | None) -> bool:
    """Whether the task has one logit, of yes."""
    return isinstance(task, BinaryClassification)


def _answered(task, raw, columns):
    """The class or label that each row is given; of other numbers the first."""
    if kind_of(task) == "number" or columns.shape[1] == 1:
        return np.zeros(len(columns), int)
    if kind_of(task) == "class" and raw.ndim > 2:  # what most pixels or steps are
        votes = raw.reshape(len(raw), -1, raw.shape[-1]).argmax(-1)
        return np.array([np.bincount(v, minlength=raw.shape[-1]).argmax() for v in votes])
    return columns.argmax(1)


def named(task: Task | None, target: int, sign: int, classes: Sequence[str] | None = None) -> str:
    """What is explained, in words.

    Args:
        task: the task, or `None`.
        target: the index.
        sign: 1 or -1.
        classes: names of the classes, labels or outputs. Defaults to none.
    """
    if is_yes_no(task):
        return str(("no", "yes")[int(sign > 0)] if classes is None else classes[int(sign > 0)])
    name = str(classes[target]) if classes is not None else f"{_WORDS[kind_of(task)]} {target}"
    return name if sign > 0 else f"not {name}" if kind_of(task) != "number" else f"less {name}"


_WORDS = {"class": "class", "label": "label", "number": "output"}


def answers(
    task: Task | None, raw: np.ndarray, columns: np.ndarray, classes: Sequence[str] | None = None
) -> list[str]:
    """What the model answers for each row, in a few words.

    Args:
        task: the task, or `None`.
        raw: its raw output, `(B, ...)`.
        columns: `(B, C)`.
        classes: names of the classes, labels or outputs. Defaults to none.
    """
    indices = _answered(task, raw, columns).tolist()
    return [_answer(task, *row, classes) for row in zip(indices, raw, columns, strict=True)]


def _answer(task, index, raw, columns, classes):
    column = columns[index]
    if is_yes_no(task):
        share = _sigmoid(column)
        return f"{named(task, 0, 1 if share >= 0.5 else -1, classes)} ({max(share, 1 - share):.2f})"
    if kind_of(task) == "number":
        more = ", …" if len(columns) > _MOST_NUMBERS else ""
        return ", ".join(f"{value:.3g}" for value in columns[:_MOST_NUMBERS]) + more
    if kind_of(task) == "label":
        return f"{named(task, index, 1, classes)} ({_sigmoid(column):.2f})"
    if raw.ndim > 1:
        share = float((raw.reshape(-1, raw.shape[-1]).argmax(-1) == index).mean())
        return f"{named(task, index, 1, classes)} ({100 * share:.0f}%)"
    odds = np.exp(columns - columns.max())
    return f"{named(task, index, 1, classes)} ({odds[index] / odds.sum():.2f})"


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
