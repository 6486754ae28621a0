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
        if not isinstance(rows, Mapping) or set(rows) != set(self.inputs):
            received = sorted(rows) if isinstance(rows, Mapping) else type(rows).__name__
            raise ValueError(
                f"`rows` should be a dict of the inputs {sorted(self.inputs)}. Received: {received}"
            )
        return self.signatures[signature](
            {name: _as(name, rows[name], dtype) for name, (dtype, _) in self.inputs.items()}
        )


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
    if not np.can_cast(array.dtype, dtype, "same_kind"):  # else the numbers would change
        raise ValueError(
            f"Input `{name}` should be of dtype {dtype}. Received: dtype={array.dtype.name}"
        )
    return np.ascontiguousarray(array, dtype)
