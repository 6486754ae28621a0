"""A view's labels: those that were given, and those that the other view has given."""

from typing import Any

import keras
import numpy as np

from mtlzoo.tasks import Classification, Regression, SemanticSegmentation, Task


class Table:
    """The labels of one task for one view.

    Args:
        task: of a kind that co-training knows.
        labels: the given labels of all rows, in any form that the task takes.

    Attributes:
        labels: the labels of entries, in the type that they came in.
        given: bool, where a label was given. It is never overwritten.
        pseudo: bool, where there is one of the other view.

    Raises:
        ValueError: for labels that are none of this task's, or none at all.
    """

    def __init__(self, task: Task, labels: np.ndarray) -> None:
        labels = np.asarray(labels)
        task.check_labels(labels)
        count = getattr(task, "num_classes", None)
        if isinstance(task, Classification) and labels.shape[1:] == (count,):
            raise ValueError(
                f"Labels of task `{task.name}` should be class ids, and not distributions over the "
                f"classes, for co-training. Received: shape={labels.shape}"
            )
        canonical = keras.ops.convert_to_numpy(task.canonical(labels))
        missing = keras.ops.convert_to_numpy(task.is_missing(canonical))
        wrong = ~missing & ~keras.ops.convert_to_numpy(task.legal(canonical))
        shape: Any = (len(labels), *task.label_shape)
        if None in shape:
            shape = canonical.shape
        self.task = task
        self.labels = labels.reshape(shape).copy()
        if isinstance(task, Regression) and labels.dtype.kind in "iu":
            self.labels = self.labels.astype("float32")  # the other view answers no integers
        self.given = ~missing.reshape(self.labels.shape)
        if wrong.any():
            example = self.labels[wrong.reshape(self.labels.shape)][0]
            raise ValueError(
                f"Labels of task `{task.name}` should be labels of this task or {task.missing}, "
                f"for none. Received: {example}"
            )
        if not self.given.any():
            raise _none_at_all(task)
        self.pseudo = np.zeros(self.given.shape, bool)

    @property
    def open(self) -> np.ndarray:
        """Bool: where none was given. Not in an image with labelled pixels: its others are void."""
        if isinstance(self.task, SemanticSegmentation):
            return np.broadcast_to(~self.given.any(axis=(1, 2), keepdims=True), self.given.shape)
        return ~self.given

    @property
    def candidates(self) -> np.ndarray:
        """Bool: where a label may still be given."""
        return self.open & ~self.pseudo

    def rows(self) -> np.ndarray:
        """Bool by row: whether there is a label."""
        return (self.given | self.pseudo).reshape(len(self.given), -1).any(axis=1)

    def give(self, places: np.ndarray, labels: np.ndarray) -> None:
        """Enter labels of the other view.

        Args:
            places: positions in the flattened table, where none was given.
            labels: what stands there from now on.
        """
        self.labels.reshape(-1)[places] = labels
        self.pseudo.reshape(-1)[places] = True

    def scale(self) -> np.ndarray:
        """By column of a regression the standard deviation of the given labels, 1 for 0."""
        rows = np.where(self.given, self.labels, np.nan).reshape(len(self.labels), -1)
        found = np.nanstd(rows.astype("float64"), axis=0)
        return np.where(found > 0, found, 1.0)

    def weights(self, rank: int, given: np.ndarray | None, pseudo: float) -> np.ndarray:
        """Sample weights for training.

        Args:
            rank: how many axes the loss has a value for each entry over.
            given: sample weights of the rows or entries, `None` for ones.
            pseudo: what those of pseudo-labels are multiplied by.
        """
        factors = np.where(self.pseudo, pseudo, 1.0)
        if given is not None:
            given = np.asarray(given, "float64")
            if given.ndim > 1 and given.shape[-1] == 1 and given.ndim > factors.ndim:
                given = given[..., 0]
            factors = factors * given.reshape(*given.shape, *[1] * (factors.ndim - given.ndim))
        if factors.ndim > rank:
            factors = factors.min(axis=tuple(range(rank, factors.ndim)))
        return factors.astype("float32")


class Given:
    """The labels of a task that gets none of the other view, as they are.

    Args:
        task: of any kind.
        labels: the given labels of all rows.

    Attributes:
        labels: the same.

    Raises:
        ValueError: for labels that are none of this task's, or none at all.
    """

    def __init__(self, task: Task, labels: np.ndarray) -> None:
        self.task, self.labels = task, np.asarray(labels)
        read = task.read_labels(self.labels)
        if keras.ops.convert_to_numpy(read.invalid).any():
            raise ValueError(
                f"Labels of task `{task.name}` should be labels of this task or {task.missing}, "
                "for none. Received: others among them"
            )
        present = keras.ops.convert_to_numpy(read.present)
        self._rows = present.reshape(len(self.labels), -1).any(axis=1)
        if not self._rows.any():
            raise _none_at_all(task)

    def rows(self) -> np.ndarray:
        """Bool by row: whether there is a label."""
        return self._rows

    def weights(self, rank: int, given: np.ndarray | None, pseudo: float) -> np.ndarray:
        """Sample weights for training, those that were given.

        Args:
            rank: not looked at.
            given: sample weights, `None` for ones.
            pseudo: not looked at.
        """
        return np.ones(len(self.labels), "float32") if given is None else np.asarray(given)


def _none_at_all(task: Task) -> ValueError:
    return ValueError(f"Task `{task.name}` should have labels in some rows. Received: none at all")
