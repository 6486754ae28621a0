"""Rows in numbered places of arrays that are made once."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


class Slots:
    """Rows of nested arrays, each in one of a fixed number of places.

    Args:
        capacity: the number of places.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._arrays: Any = None

    def put(self, places: np.ndarray, rows: Any) -> None:
        """Write rows, over what was there.

        Args:
            places: one for each row; where one is named twice, the last row stays.
            rows: nested dicts and lists of arrays, rows first.

        Raises:
            ValueError: if a part has another shape or dtype than in the first rows.
        """
        if self._arrays is None:
            self._arrays = keras.tree.map_structure(
                lambda a: np.zeros((self.capacity, *a.shape[1:]), a.dtype), rows
            )
        for kept, new in zip(
            keras.tree.flatten(self._arrays), keras.tree.flatten(rows), strict=True
        ):
            if (kept.shape[1:], kept.dtype) != (new.shape[1:], new.dtype):
                raise ValueError(
                    f"`rows` should have the shape {kept.shape[1:]} and dtype {kept.dtype}, as "
                    f"those before. Received: shape {new.shape[1:]} and dtype {new.dtype}"
                )
            kept[places] = new

    def write(self, places: np.ndarray, path: tuple[str, ...], values: np.ndarray) -> None:
        """Write one part of some rows.

        Args:
            places: of the rows.
            path: the keys that lead to the part.
            values: one for each.
        """
        kept = self._arrays
        for key in path:
            kept = kept[key]
        kept[places] = values

    def take(self, places: np.ndarray) -> Any:
        """A copy of the rows in some places.

        Args:
            places: at least one row must have been put anywhere.
        """
        return keras.tree.map_structure(lambda a: a[places], self._arrays)


def joined(rows: Sequence[Any]) -> Any:
    """The rows of several nested arrays as one, `None` if there are none.

    Args:
        rows: nested arrays of the same structure, rows first; those that are `None` are left out.
    """
    given = [each for each in rows if each is not None]
    if len(given) < 2:
        return given[0] if given else None
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *given)
