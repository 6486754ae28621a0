"""The values of one column of a stream, given row by row or as one array."""

import reprlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from mtlzoo.tasks.labels import dtype_of, fits

# The kinds of NumPy's dtypes that a column takes, by what it holds.
_KINDS = {"float": "iuf", "int": "iu", "uint": "iu", "bool": "b", "string": "OSU"}
# Of Python's values, those that NumPy makes such arrays of without changing any.
_PLAIN: dict[str, set[type]] = {
    "float": {int, float},
    "int": {int},
    "uint": {int},
    "bool": {bool},
    "string": {str},
}

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


class Column(NamedTuple):
    """What the values of a column should be.

    Attributes:
        what: how it is called in reasons.
        shape: of one value, with `None` for a size that is not known; `None` for any.
        dtype: the name of the type that it is cast to, or `"string"`.
    """

    what: str
    shape: tuple[int | None, ...] | None
    dtype: str

    @property
    def kind(self) -> str:
        """`"float"`, `"int"`, `"uint"`, `"bool"` or `"string"`."""
        return "float" if "float" in self.dtype else self.dtype.rstrip("0123456789")

    def wanted(self) -> str:
        """The first sentence of a reason."""
        shape = "" if self.shape is None else f"shape {self.shape} and "
        return f"{self.what} should have {shape}dtype {self.dtype}"


class Problems:
    """What is wrong with which rows; the first thing that is found of each.

    Args:
        rows: how many there are.

    Attributes:
        good: bool `(rows,)`, those with nothing wrong.
        reasons: what is wrong with the others, by index.
    """

    def __init__(self, rows: int) -> None:
        self.good = np.ones(rows, bool)
        self.reasons: dict[int, str] = {}

    def add(self, where: Any, reason: str | Callable[[int], str]) -> None:
        """Note what is wrong with some rows.

        Args:
            where: bool `(rows,)`, which ones; or `True` for all.
            reason: what is wrong, with all of them or with the row of an index.
        """
        where = np.broadcast_to(np.asarray(where, bool), self.good.shape)
        for row in np.flatnonzero(where & self.good).tolist():
            self.reasons[row] = reason if isinstance(reason, str) else reason(row)
        self.good &= ~where


def shown(value: Any) -> str:
    """A value as it stands in a reason, shortened.

    Args:
        value: anything.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return _short.repr(value)


def to_array(value: Any) -> np.ndarray | None:
    """Anything dense as an array, `None` for what is not.

    Args:
        value: a tensor, an array, a list or a scalar.
    """
    if hasattr(value, "dense_shape") or hasattr(value, "row_splits"):  # sparse, ragged
        return None
    try:
        return np.asarray(value)
    except (TypeError, ValueError):  # rows of different lengths
        return None


def of_array(array: np.ndarray, column: Column, problems: Problems) -> np.ndarray | None:
    """The values of a whole batch, cast.

    Args:
        array: `(B, ...)`.
        column: what it should be.
        problems: takes what is wrong.

    Returns:
        The column, `None` where no row fits.
    """
    if not _fits(array.shape[1:], column) or not _is_of(array, column):
        received = f"shape {array.shape[1:]} and dtype {dtype_of(array)}"
        problems.add(True, f"{column.wanted()}. Received: {received}")
        return None
    if array.dtype.kind == "O" and not set(map(type, array.ravel().tolist())) <= {str, bytes}:
        no_text = np.frompyfunc(lambda value: not isinstance(value, str | bytes), 1, 1)
        where = np.asarray(no_text(array), bool)
        problems.add(_rows(where), lambda row: f"{column.wanted()}. Received: {shown(array[row])}")
        return np.where(where, "", array)
    return _cast(array, column, problems)


def of_rows(values: Sequence[Any], column: Column, problems: Problems) -> np.ndarray | None:
    """The values of rows that came one by one, stacked and cast.

    Args:
        values: one for each row.
        column: what they should be. Where a size is not known, the first row says it.
        problems: takes what is wrong.

    Returns:
        The column, with anything in the rows that do not fit; `None` where no row fits.
    """
    if not column.shape and set(map(type, values)) <= _PLAIN[column.kind]:
        array = np.array(values, object if column.kind == "string" else None)
        if _is_of(array, column):  # else integers of any length, which are objects
            return _cast(array, column, problems)
    found = [None if value is None else to_array(value) for value in values]
    for row, cell in enumerate(found):
        if cell is None:
            continue
        # Objects are what is neither text nor numbers, or a mixture.
        if cell.dtype.kind != "O" and _is_of(cell, column) and _fits(cell.shape, column):
            column = column._replace(shape=cell.shape)
        else:
            found[row] = None
    filler = next((cell for cell in found if cell is not None), None)
    wanted = column.wanted()
    problems.add(
        [cell is None for cell in found], lambda row: f"{wanted}. Received: {shown(values[row])}"
    )
    if filler is None:
        return None
    if column.kind == "string":
        found = [None if cell is None else cell.astype(object) for cell in found]
    return _cast(np.stack([filler if c is None else c for c in found]), column, problems)


def _fits(shape: tuple[int, ...], column: Column) -> bool:
    return column.shape is None or fits(shape, column.shape)


def _is_of(array: np.ndarray, column: Column) -> bool:
    if array.dtype.kind == "V":  # bfloat16 and its like
        return column.kind == "float" and "float" in array.dtype.name
    return array.dtype.kind in _KINDS[column.kind]


def _rows(where: np.ndarray) -> np.ndarray:
    """The rows with any entry that is true."""
    return np.any(where.reshape(len(where), -1), axis=1)


def _cast(array: np.ndarray, column: Column, problems: Problems) -> np.ndarray:
    if column.kind in ("string", "bool"):  # text of any length: arrays of it have one width each
        return array.astype(object, copy=False) if column.kind == "string" else array
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(tf.as_dtype(column.dtype).as_numpy_dtype, copy=False)
    if column.kind == "float":
        wrong = None if np.isfinite(cast).all() else ~np.isfinite(cast)
        wanted = f"{column.what} should be finite"
    else:
        changed = (cast != array) | ((cast < 0) != (array < 0))
        wrong = changed if cast.dtype != array.dtype and changed.any() else None
        wanted = column.wanted()
    if wrong is not None:

        def reason(row: int) -> str:
            return f"{wanted}. Received: {shown(np.ravel(array[row])[np.ravel(wrong[row])][0])}"

        problems.add(_rows(wrong), reason)
    return cast
