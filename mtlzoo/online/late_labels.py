"""Rows that wait for labels which come later, and for some tasks only."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from mtlzoo.data.arguments import check_count, check_positive_or_none
from mtlzoo.online.batches import StreamBatch
from mtlzoo.online.slots import Slots, joined


@dataclasses.dataclass(frozen=True)
class Joined:
    """What came of some late labels.

    Attributes:
        known: which of the rows of labels are those of rows that wait.
        new: `(known rows, T)` bool, the labels that were not there before.
        outputs: by task, the predictions that were made when the rows came, of the known ones.
        complete: the rows that have all labels now, as they were held, or `None`.
    """

    known: np.ndarray
    new: np.ndarray
    outputs: dict[str, np.ndarray] | None
    complete: Any


class LateLabels:
    """Holds rows with an id until their labels have come, or the wait is over.

    A row that comes with an `id` and without the labels of some task is held, with the prediction
    that was made then. An element of the stream with ids and labels, but without `x`, is joined to
    it: each task's label is scored as it comes, against the prediction of then. The row is learned
    when it has the labels of all tasks, or, with those that it has, when the wait is over. One that
    has none by then is *expired*. Labels of ids that are not held (any more) are counted, as are
    those of a task that has one already, of which the first holds. No row waits for a label that
    is there and has a sample weight of 0.

    Args:
        max_rows: how many rows are held at most; a further one ends the wait of the oldest.
            Defaults to 10000.
        max_seconds: how long a row waits by the learner's clock, that of event times where the
            stream has them; `None` for as long as there is room. Defaults to `None`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    from mtlzoo.online import LateLabels

    LateLabels(max_rows=100_000, max_seconds=3600)
    ```
    """

    def __init__(self, max_rows: int = 10_000, max_seconds: float | None = None) -> None:
        self.max_rows = check_count("max_rows", max_rows)
        self.max_seconds = check_positive_or_none("max_seconds", max_seconds)
        self._slots = Slots(self.max_rows)
        self._places: dict[Any, tuple[int, float]] = {}  # by id, the oldest first, and since when
        self._free = list(range(self.max_rows))[::-1]

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return len(self._places)

    def hold(self, ids: np.ndarray, rows: dict[str, Any], time: float) -> Any:
        """Hold rows.

        Args:
            ids: one for each.
            rows: the parts of the rows; `has`, `(B, T)`, says which labels are there.
            time: the learner's clock.

        Returns:
            The rows whose wait this ends, since there is no room or their id has come again;
            `None` if there are none.
        """
        over: list[Any] = []
        written: list[tuple[int, int]] = []  # row and place

        def write() -> None:
            if written:
                chosen, places = np.array(written).T
                self._slots.put(places, keras.tree.map_structure(lambda a: a[chosen], rows))
                written.clear()

        for i, key in enumerate(ids.tolist()):
            ends = key if key in self._places else None
            if ends is None and not self._free:
                ends = next(iter(self._places))
            if ends is not None:
                write()
                over.append(self._release([ends]))
            place = self._free.pop()
            self._places[key] = (place, time)
            written.append((i, place))
        write()
        return joined(over)

    def join(
        self,
        ids: np.ndarray,
        y: dict[str, np.ndarray],
        sample_weight: dict[str, np.ndarray],
        has: np.ndarray,
    ) -> Joined:
        """Add labels to the rows that wait for them.

        Args:
            ids: one for each row of labels.
            y: by task, in the order of the axis of `has`.
            sample_weight: by task.
            has: `(B, T)` bool, which labels are there.
        """
        places = np.array([self._places.get(key, (-1, 0))[0] for key in ids.tolist()], int)
        known = places >= 0
        if not known.any():
            return Joined(known, np.zeros((0, has.shape[1]), bool), None, None)
        at = places[known]
        before = self._slots.take(at)["has"]
        after: dict[int, np.ndarray] = {}
        new = np.zeros_like(before)
        for i, place in enumerate(at.tolist()):  # an id may be there twice
            there = after.get(place, before[i])
            new[i] = has[known][i] & ~there
            after[place] = there | new[i]
        for t, name in enumerate(y):
            self._slots.write(at[new[:, t]], ("y", name), y[name][known][new[:, t]])
            weights = sample_weight[name][known][new[:, t]]
            self._slots.write(at[new[:, t]], ("sample_weight", name), weights)
        touched = np.array(list(after))
        self._slots.write(touched, ("has",), np.stack(list(after.values())))
        outputs = self._slots.take(at)["outputs"]
        full = {place for place, labels in after.items() if labels.all()}
        keys = {key: None for key in ids[known].tolist() if self._places[key][0] in full}
        complete = self._release(list(keys)) if keys else None
        return Joined(known, new, outputs, complete)

    def expire(self, time: float) -> Any:
        """End the wait of the rows whose time is over.

        Args:
            time: the learner's clock.

        Returns:
            The rows, or `None` if there are none.
        """
        if self.max_seconds is None or not self._places:
            return None
        keys = []
        for key, (_, since) in self._places.items():
            if time - since < self.max_seconds:
                break
            keys.append(key)
        return self._release(keys) if keys else None

    def _release(self, keys: list[Any]) -> Any:
        places = [self._places.pop(key)[0] for key in keys]
        self._free += places
        return self._slots.take(np.array(places))

    def get_state(self) -> dict[str, Any]:
        """The rows that wait."""
        places = [place for place, _ in self._places.values()]
        return {
            "ids": list(self._places),
            "since": [since for _, since in self._places.values()],
            "rows": self._slots.take(np.array(places)) if places else None,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        since = zip(state["ids"], state["since"], strict=True)
        self._places = {key: (i, time) for i, (key, time) in enumerate(since)}
        self._free = list(range(len(self._places), self.max_rows))[::-1]
        if self._places:
            self._slots.put(np.arange(len(self._places)), state["rows"])


def have_come(
    batch: StreamBatch, has: np.ndarray, present: Callable[[StreamBatch], np.ndarray]
) -> np.ndarray:
    """Which labels need not be waited for, `(B, T)` bool: those with a weight of 0, too.

    Args:
        batch: rows with labels and weights of all tasks.
        has: `(B, T)` bool, which labels are there and have a weight.
        present: finds this out for a batch.
    """
    if all(weights.all() for weights in batch.sample_weight.values()):
        return has
    ones = {name: np.ones_like(weights) for name, weights in batch.sample_weight.items()}
    return present(dataclasses.replace(batch, sample_weight=ones))


def weighted(has: np.ndarray, sample_weight: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which labels have a weight, `(B, T)` bool.

    Args:
        has: `(B, T)` bool, which labels have come.
        sample_weight: by task, in the order of the axis of `has`.
    """
    found = has.copy()
    for t, each in enumerate(sample_weight.values()):
        found[:, t] &= np.reshape(each, (len(each), -1)).any(1)
    return found
