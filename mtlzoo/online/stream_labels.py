"""The labels and sample weights of one task in a stream."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.online import cells
from mtlzoo.online.cells import Column, Problems, shown
from mtlzoo.tasks import Task

# Checks are traced for so many shapes and types of labels; of others they run as they are, which
# takes longer.
_MOST_TRACED = 16


class StreamLabels:
    """Reads the labels of one task.

    Args:
        task: the task.
        loss: the loss in force, or `None` for the task's own.
    """

    def __init__(self, task: Task, loss: Any = None) -> None:
        self._task, self._loss = task, loss
        self._name = f"task `{task.name}`"
        self._dtype = np.asarray(task.missing_labels(1)).dtype
        self._traced: dict[Any, Callable] = {}

    def of_array(self, array: np.ndarray, problems: Problems) -> np.ndarray | None:
        """The labels of a whole batch.

        Args:
            array: what was given.
            problems: takes what is wrong.

        Returns:
            The labels, `None` where no row's fits.
        """
        if reason := self._reason(array):
            problems.add(True, reason)
            return None
        return array

    def of_rows(self, values: Sequence[Any], problems: Problems) -> np.ndarray | None:
        """The labels of rows that came one by one, stacked.

        Args:
            values: one for each row, `None` where it is missing. Where several shapes are labels,
                the first row says which.
            problems: takes what is wrong.

        Returns:
            The labels, missing where they do not fit; `None` where no row has one.
        """
        missing = self._task.missing
        types = set(map(type, values)) - {type(None)}
        if len(types) == 1 and types <= {int, float, bool}:
            array = np.array([missing if value is None else value for value in values])
            if not self._reason(array):
                return array
        reasons: dict[Any, str] = {}  # by all that the check looks at
        wrong: dict[int, str] = {}
        found: list[np.ndarray | None] = [None] * len(values)
        shape: tuple[int, ...] | None = None
        for row, value in enumerate(values):
            if value is None:
                continue
            cell = cells.to_array(value)
            if cell is None:
                wrong[row] = f"Labels of {self._name} should be numbers. Received: {shown(value)}"
                continue
            kind = (cell.shape, cell.dtype)
            if kind not in reasons:
                reasons[kind] = self._reason(cell[None])
            if reasons[kind]:
                wrong[row] = reasons[kind]
            elif shape not in (None, cell.shape):
                wrong[row] = (
                    f"Labels of {self._name} should have one shape in all rows of an element. "
                    f"Received: {cell.shape} after {shape}"
                )
            else:
                found[row], shape = cell, cell.shape
        problems.add([row in wrong for row in range(len(values))], lambda row: wrong[row])
        if shape is None:
            return None
        return np.stack([np.full(shape, missing) if cell is None else cell for cell in found])

    def judge(
        self, labels: np.ndarray, weights: np.ndarray | None, problems: Problems
    ) -> np.ndarray:
        """Find what is no label.

        Args:
            labels: of a shape and type that labels of the task have.
            weights: the sample weights, or `None` for ones. Where one is 0, anything may stand.
            problems: takes what is wrong.

        Returns:
            The labels, in the one type that those of the task always have.
        """
        whole = labels.dtype.kind in "iub"
        # Of a task of class ids, floats are the probabilities of classes.
        is_real = self._dtype.kind == "f" or not whole
        with np.errstate(over="ignore"):
            cast = labels.astype(keras.config.floatx() if is_real else self._dtype, copy=False)
        # Integers are looked at before: a cast might make legal ones of them.
        invalid = self._invalid(labels if whole else cast)
        if weights is not None:
            if weights.ndim == invalid.ndim + 1 and weights.shape[-1] == 1:
                weights = weights[..., 0]
            if weights.ndim != 1 and weights.shape != invalid.shape:
                cells_too = f", or of shape {invalid.shape[1:]}" if invalid.ndim > 1 else ""
                problems.add(
                    True,
                    f"The sample weight of {self._name} should be one number for a row{cells_too}. "
                    f"Received: shape {weights.shape[1:]}",
                )
                return cast
            there = weights != 0
            invalid &= there.reshape(there.shape + (1,) * (invalid.ndim - there.ndim))
        if invalid.any():

            def reason(row: int) -> str:
                value = labels[row]
                if value.size == invalid[row].size:
                    value = value.ravel()[invalid[row].ravel()][0]
                return (
                    f"The label of {self._name} should be legal, or the missing value "
                    f"{self._task.missing}. Received: {shown(value)}"
                )

            problems.add(invalid.reshape(len(labels), -1).any(1), reason)
        return cast

    def weights(self, values: Any, read_column: Callable, problems: Problems) -> np.ndarray | None:
        """The sample weights of the task.

        Args:
            values: those that were given, for a batch or for each row.
            read_column: `cells.of_array` or `cells.of_rows`.
            problems: takes what is wrong.

        Returns:
            The weights, `None` where no row's fits.
        """
        column = Column(f"The sample weight of {self._name}", None, keras.config.floatx())
        if isinstance(values, list):
            values = [1.0 if value is None else value for value in values]
        found = read_column(values, column, problems)
        if found is None or not (found < 0).any():
            return found
        negative = found < 0

        def reason(row: int) -> str:
            value = np.ravel(found[row])[np.ravel(negative[row])][0]
            return f"{column.what} should not be negative. Received: {shown(value)}"

        problems.add(negative.reshape(len(found), -1).any(1), reason)
        return found

    def _reason(self, labels: np.ndarray) -> str:
        """Why an array cannot be labels, empty if it can."""
        try:
            self._task.check_labels(labels)
        except ValueError as error:
            return str(error)
        return ""

    def _invalid(self, labels: np.ndarray) -> np.ndarray:
        key = (labels.shape[1:], labels.dtype)
        if key not in self._traced and len(self._traced) >= _MOST_TRACED:
            return np.array(self._look(labels))
        if key not in self._traced:
            spec = tf.TensorSpec((None, *labels.shape[1:]), labels.dtype)
            self._traced[key] = tf.function(self._look, input_signature=[spec])
        return np.array(self._traced[key](labels))

    def _look(self, labels: Any) -> Any:
        return self._task.read_labels(labels, self._loss).invalid
