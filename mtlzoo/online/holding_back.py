"""Labelled rows that are never trained on, to judge models by."""

import hashlib
from typing import Any

import numpy as np

from mtlzoo.data.arguments import check_count
from mtlzoo.online.batches import StreamBatch
from mtlzoo.online.slots import joined


class HeldBack:
    """Every so many labelled rows are held back for validation, the newest of each task.

    Which ones, a hash of the seed and the `id` of the row says, so that it is the same in every
    run, and when a row is delivered again; of rows without one, their number in the stream. They
    are neither trained on nor put in the replay memory.

    Args:
        every: one row of so many, on average. Defaults to 20.
        rows: the newest rows with a label that are kept for each task. Defaults to 1000.
        seed: of the hash. Defaults to 0.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    from mtlzoo.online import HeldBack

    HeldBack(every=10, rows=2000)
    ```
    """

    def __init__(self, every: int = 20, rows: int = 1000, seed: int = 0) -> None:
        self.every = check_count("every", every, 2)
        self.rows = check_count("rows", rows)
        self.seed = check_count("seed", seed, 0)
        self.seen = 0
        self._kept: Any = None
        self._new: list[dict[str, Any]] = []

    def chooses(self, numbers: np.ndarray) -> np.ndarray:
        """Which rows are held back, `(B,)` bool.

        Args:
            numbers: of the rows, see `numbers_of`.
        """
        # The finalizer of SplitMix64 (Steele et al., 2014).
        with np.errstate(over="ignore"):
            z = numbers.astype("uint64") + np.uint64(self.seed + 1) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (z ^ (z >> np.uint64(31))) % np.uint64(self.every) == 0

    def add(self, batch: StreamBatch, has: np.ndarray) -> None:
        """Keep rows that were chosen.

        Args:
            batch: the rows, with labels of all tasks.
            has: `(B, T)` bool, which labels are there.
        """
        numbers = np.arange(self.seen, self.seen + batch.rows)
        self._new.append({**batch.to_dict(), "has": has, "number": numbers})
        self.seen += batch.rows
        if sum(len(part["has"]) for part in self._new) > self.rows:
            self._merge()

    def window(self, since: int = 0) -> tuple[StreamBatch, np.ndarray, np.ndarray] | None:
        """The rows that are kept.

        Args:
            since: how many rows had been held back when it began: older ones are left out.
                Defaults to 0.

        Returns:
            The rows, which labels are there `(B, T)`, and their numbers among all that were held
            back; `None` if there are none.
        """
        self._merge()
        if self._kept is None:
            return None
        chosen = self._kept["number"] >= since
        if not chosen.any():
            return None
        batch = StreamBatch.from_dict(self._kept).take(chosen)
        return batch, self._kept["has"][chosen], self._kept["number"][chosen]

    def _merge(self) -> None:
        """Bring all together, and let go of what is not among the newest of any task."""
        kept = joined([self._kept, *self._new])
        self._new = []
        if kept is None:
            return
        newer = kept["has"][::-1].cumsum(0)[::-1]  # of each task, from this row on
        wanted = (kept["has"] & (newer <= self.rows)).any(1)
        batch = StreamBatch.from_dict(kept).take(wanted)
        others = {key: kept[key][wanted] for key in ("has", "number")}
        self._kept = {**batch.to_dict(), **others}

    def get_state(self) -> dict[str, Any]:
        """The rows, and how many were held back."""
        self._merge()
        return {"seen": self.seen, "kept": self._kept}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self.seen, self._kept, self._new = state["seen"], state["kept"], []


def numbers_of(ids: np.ndarray | None, places: np.ndarray) -> np.ndarray:
    """The numbers by which rows are chosen, `(B,)` int64.

    Args:
        ids: of the rows, integers or text, or `None`.
        places: of the rows in the stream, which stand for ids where there are none.
    """
    if ids is None or ids.dtype.kind != "U":
        return (places if ids is None else ids).astype("int64")
    hashes = [hashlib.blake2b(each.encode("utf-8", "surrogatepass"), digest_size=8) for each in ids]
    return np.frombuffer(b"".join(each.digest() for each in hashes), "<i8").astype("int64")
