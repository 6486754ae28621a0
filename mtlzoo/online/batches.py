"""Rows of a stream: their inputs, their labels, who they are and when they came."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class StreamBatch:
    """Some rows of a stream, in the order in which they came.

    Attributes:
        x: the inputs of the model, an array or a dict or list of them, rows first; `None` where
            only labels have come.
        y: the labels by task; those of some tasks may come later.
        sample_weight: the sample weights by task.
        ids: what rows are known by when their labels come later, `(B,)`, or `None`.
        times: when rows came about, in seconds, `(B,)`, or `None`.

    Raises:
        ValueError: if the parts have different numbers of rows, or there are none.

    Example:
    ```python
    import numpy as np
    from mtlzoo.online import StreamBatch

    batch = StreamBatch(x=np.zeros((3, 4), "float32"), y={"a": np.zeros(3)})
    batch.take([0, 2]).rows  # 2
    ```
    """

    x: Any
    y: dict[str, np.ndarray]
    sample_weight: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    ids: np.ndarray | None = None
    times: np.ndarray | None = None

    def __post_init__(self) -> None:
        sizes = {len(part) for part in keras.tree.flatten(self._parts()) if part is not None}
        if len(sizes) != 1:
            raise ValueError(
                "The parts of a batch of a stream should have the same number of rows. "
                f"Received: {sorted(sizes)}"
            )

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return next(len(part) for part in keras.tree.flatten(self._parts()) if part is not None)

    def take(self, indices: Sequence[int] | np.ndarray) -> "StreamBatch":
        """Some of the rows.

        Args:
            indices: which, in which order; or a bool for each.
        """
        chosen = np.asarray(indices)
        if not chosen.size:
            chosen = chosen.astype("int64")
        parts = keras.tree.map_structure(
            lambda part: None if part is None else np.asarray(part)[chosen], self._parts()
        )
        return StreamBatch(*parts)

    def to_dict(self) -> dict[str, Any]:
        """The inputs, labels and weights, as nested arrays."""
        return {"x": self.x, "y": self.y, "sample_weight": self.sample_weight}

    @classmethod
    def from_dict(cls, parts: dict[str, Any]) -> "StreamBatch":
        """The rows of nested arrays.

        Args:
            parts: what `to_dict` gave; other keys are left out.
        """
        return cls(parts["x"], parts["y"], parts["sample_weight"])

    def _parts(self) -> tuple:
        return (self.x, self.y, self.sample_weight, self.ids, self.times)


def concatenate(batches: Sequence[StreamBatch]) -> StreamBatch:
    """The rows of several batches as one.

    Args:
        batches: at least one, all with inputs, labels and weights of the same keys.

    Returns:
        One batch. It has ids, or times, if all have them.

    Raises:
        ValueError: if there is none, or the keys differ.
    """
    if not batches:
        raise ValueError("`batches` should be one at least. Received: batches=[]")
    first = batches[0]
    if len(batches) == 1:
        return first
    for other in batches[1:]:
        for part in ("x", "y", "sample_weight"):
            mine, its = getattr(first, part), getattr(other, part)
            if _keys(mine) != _keys(its):
                raise ValueError(
                    f"`batches` should have the same `{part}`. "
                    f"Received: {_keys(mine)} and {_keys(its)}"
                )

    def joined(*parts: Any) -> Any:
        return None if any(part is None for part in parts) else np.concatenate(parts)

    return StreamBatch(
        *(
            keras.tree.map_structure(joined, *(getattr(batch, part) for batch in batches))
            for part in ("x", "y", "sample_weight", "ids", "times")
        )
    )


def _keys(part: Any) -> Any:
    """What tells the structures of two batches apart."""
    if isinstance(part, Mapping):
        return sorted(part)
    return len(part) if isinstance(part, list | tuple) else part is None
