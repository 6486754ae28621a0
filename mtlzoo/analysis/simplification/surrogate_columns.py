"""Columns of rows as numbers with names, for models that people read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Columns:
    """Columns of a table, of which those of text become a yes or no for each value.

    Args:
        x: A dict of arrays `(rows,)` or `(rows, 1)` by name, or one array `(rows, features)`.
        columns: The names of those that count. Defaults to all.
        names: Names of the features of one array. Defaults to `x0`, `x1`, ...

    Attributes:
        rows: Their number.
        encoded_names: From `encoded` on, the names of its columns: `<name> = <value>` for text.

    Raises:
        ValueError: For other shapes, numbers of rows that differ, and unknown names.
    """

    def __init__(
        self, x: Any, columns: Sequence[str] | None = None, names: Sequence[str] | None = None
    ) -> None:
        by_name = _of_dict(x, names) if isinstance(x, Mapping) else _of_array(x, names)
        self.rows = len(next(iter(by_name.values())))
        for name, values in by_name.items():
            if len(values) != self.rows:
                raise ValueError(
                    "`x` should have as many rows in each column. Received: "
                    f"{self.rows} rows, and {len(values)} of `{name}`"
                )
        if columns is not None:
            if isinstance(columns, str) or not columns:
                raise ValueError(
                    f"`columns` should be a list of names. Received: columns={columns!r}"
                )
            for name in columns:
                if name not in by_name:
                    raise ValueError(
                        f"`columns` should name some of {list(by_name)}. Received: {name!r}"
                    )
            by_name = {name: by_name[name] for name in columns}
        self._by_name = by_name
        self.encoded_names: list[str] = []

    def encoded(self, known: np.ndarray) -> np.ndarray:
        """All rows as numbers.

        Args:
            known: The rows whose values of text get columns.

        Returns:
            (rows, encoded columns), float32.
        """
        found: list[np.ndarray] = []
        self.encoded_names = []
        for name, values in self._by_name.items():
            if values.dtype.kind not in "OUS":
                found.append(values)
                self.encoded_names.append(name)
                continue
            texts = np.array([v.decode() if isinstance(v, bytes) else str(v) for v in values])
            options = np.unique(texts[known])
            # Of two values one says all.
            for option in options[1:] if len(options) == 2 else options:
                found.append(texts == option)
                self.encoded_names.append(f"{name} = {option}")
        return np.stack(found, axis=1).astype("float32")


def _of_dict(x: Mapping[str, Any], names: Any) -> dict[str, np.ndarray]:
    if names is not None:
        raise ValueError("`names` should be None where `x` is a dict by name. Received: names")
    if not x:
        raise ValueError("`x` should have columns. Received: x={}")
    by_name = {}
    for name, values in x.items():
        values = np.asarray(values)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim != 1:
            raise ValueError(
                "`x` should have columns of shape (rows,) or (rows, 1). "
                f"Received: `{name}` of shape {values.shape}"
            )
        by_name[name] = values
    return by_name


def _of_array(x: Any, names: Any) -> dict[str, np.ndarray]:
    values = np.asarray(x)
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiub":
        raise ValueError(
            "`x` should be a dict of columns by name, or numbers of shape (rows, features), which "
            f"people can read; pictures and sequences are neither. Received: x of shape "
            f"{values.shape} and dtype {values.dtype}"
        )
    if names is None:
        names = [f"x{i}" for i in range(values.shape[1])]
    if len(names) != values.shape[1] or len(set(names)) < len(names):
        raise ValueError(
            f"`names` should be {values.shape[1]} different names, one for each feature. "
            f"Received: {len(names)} names, {len(set(names))} of them different"
        )
    return dict(zip(names, values.T, strict=True))
