"""A written model in memory, run by the runtime of its format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Exported:
    """A written model, run by the runtime of its format; `mtlzoo.export.load` makes it.

    Attributes:
        format: that of the file, in the words of `mtlzoo.export.save`.
        inputs: by name the dtype, in NumPy's words or `"string"`, and the shape, with `None` for
            sizes that are free.
        signatures: by name a function from arrays by name to answers by name: `serve` for all
            tasks and, in the formats that have it, one for each task.
    """

    format: str
    inputs: dict[str, tuple[str, tuple[int | None, ...]]]
    signatures: dict[str, Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]]
    _loaded: Any = None

    def answer(self, rows: Mapping[str, Any], signature: str = "serve") -> dict[str, np.ndarray]:
        """Answer some rows.

        Any number of threads may call it; LiteRT and OpenVINO answer one after the other.

        Args:
            rows: for each input an array, or what becomes one.
            signature: `"serve"`, or the name of a task. Defaults to `"serve"`.

        Returns:
            The answers by name, as `Task.serve` gives them.

        Raises:
            ValueError: if there is no such signature, or the rows are not those of the inputs.
        """
        if signature not in self.signatures:
            raise ValueError(
                f"`signature` should be one of {sorted(self.signatures)}. "
                f"Received: signature={signature!r}"
            )
        return self.signatures[signature](arrays(rows, self.inputs))


def arrays(
    rows: Any, inputs: Mapping[str, tuple[str, tuple[int | None, ...]]]
) -> dict[str, np.ndarray]:
    """Rows as the arrays that a runtime takes, which checks and converts little by itself.

    Args:
        rows: for each input an array, or what becomes one.
        inputs: dtype and shape by name, as `Exported` has them.

    Raises:
        ValueError: if the rows are not those of the inputs.
    """
    if not isinstance(rows, Mapping) or set(rows) != set(inputs):
        received = sorted(rows, key=str) if isinstance(rows, Mapping) else type(rows).__name__
        raise ValueError(
            f"`rows` should be a dict of the inputs {sorted(inputs)}. Received: {received}"
        )
    found = {name: _as(name, rows[name], dtype) for name, (dtype, _) in inputs.items()}
    for name, (_, shape) in inputs.items():
        sizes = found[name].shape
        if len(sizes) != len(shape) or any(
            wanted not in (None, size) for size, wanted in zip(sizes, shape, strict=True)
        ):
            raise ValueError(f"Input `{name}` should have shape {shape}. Received: shape={sizes}")
    counts = {name: array.shape[0] for name, array in found.items() if array.ndim}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f"The inputs of `rows` should have the same number of rows. Received: {counts}"
        )
    return found


def fits(array: np.ndarray, dtype: str | np.dtype) -> bool:
    """Whether numbers stay what they are in a dtype, but for the rounding of fractions.

    Args:
        array: the numbers.
        dtype: the dtype.
    """
    dtype = np.dtype(dtype)
    if not array.size and dtype.kind in "iu":  # an empty list is of fractions
        return array.dtype.kind in "iuf"
    if array.dtype.kind in "iu" and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return bool(limits.min <= array.min() and array.max() <= limits.max)
    if array.dtype.kind == dtype.kind == "f" and dtype.itemsize < array.dtype.itemsize:
        finite = array[np.isfinite(array)]  # which should not become infinite
        return not finite.size or bool(np.abs(finite).max() <= np.finfo(dtype).max)
    return np.can_cast(array.dtype, dtype, "same_kind")


def described(array: np.ndarray) -> str:
    """The dtype of an array and, of numbers, between which they are, for errors.

    Args:
        array: the array.
    """
    if not array.size or array.dtype.kind not in "iuf":
        return f"dtype={array.dtype}"
    return f"dtype={array.dtype}, from {array.min():.6g} to {array.max():.6g}"


def _as(name: str, values: Any, dtype: str) -> np.ndarray:
    """An array that a runtime takes, which converts nothing by itself."""
    array = np.asarray(values)
    if dtype == "string":
        if array.dtype.kind not in "OSU":
            raise ValueError(
                f"Input `{name}` should be of strings. Received: dtype={array.dtype.name}"
            )
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel()]
        return np.array(texts, object).reshape(array.shape)
    if not fits(array, dtype):  # else the numbers would change
        raise ValueError(f"Input `{name}` should be of dtype {dtype}. Received: {described(array)}")
    return np.asarray(array, dtype, order="C")
