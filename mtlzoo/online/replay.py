"""Rows of before, that are trained on again beside new ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.layers.arguments import check_bool
from mtlzoo.online.batches import StreamBatch, concatenate
from mtlzoo.online.slots import Slots


class Reservoir:
    r"""A replay memory: a uniform sample of all rows that were learned (algorithm R, Vitter, 1985).

    Row $n$ goes to a free place while there is one, and then with probability
    $\text{capacity} / n$ takes the place of a row drawn at random, so that at any time each row
    that has come is in the memory with the same probability.

    By task, the memory is one reservoir for each task, over the rows that have its label, and
    equal numbers are replayed from each; a row that has labels of several tasks may be in several.
    By class, each of these is again one for each class of the task.

    Args:
        capacity: the number of rows it holds.
        ratio: the part of each training batch that is replayed, once there are so many rows.
            Defaults to 0.5.
        per_task: whether there is a reservoir for each task. Defaults to `False`.
        per_class: whether there is one for each class, too, of those tasks that have one class a
            row; needs `per_task`. Defaults to `False`.
        seed: of what is drawn. Defaults to 0.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    from mtlzoo.online import Reservoir

    Reservoir(10_000, ratio=0.25, per_task=True)
    ```

    References:
        Vitter, *Random Sampling with a Reservoir*, ACM Transactions on Mathematical Software, 1985.

    *Differences from the paper*: none in algorithm R.
    """

    def __init__(
        self,
        capacity: int,
        ratio: float = 0.5,
        per_task: bool = False,
        per_class: bool = False,
        seed: int = 0,
    ) -> None:
        self.capacity = check_count("capacity", capacity)
        if not (is_number(ratio) and 0 < ratio < 1):
            raise ValueError(
                f"`ratio` should be a number between 0 and 1. Received: ratio={ratio!r}"
            )
        self.ratio = float(ratio)
        self.per_task, self.per_class = (
            check_bool("per_task", per_task),
            check_bool("per_class", per_class),
        )
        if per_class and not per_task:
            raise ValueError(
                "`per_class` should be True only with `per_task`. Received: per_class=True, "
                "per_task=False"
            )
        self._random = np.random.default_rng(check_count("seed", seed, 0))
        self._strata: list[_Stratum] = []

    def start(self, tasks: Mapping[str, Any]) -> None:
        """Make the reservoirs, when a learner is made.

        Args:
            tasks: by name, in sorted order.

        Raises:
            ValueError: if there is not a place for each task and class.
        """
        keys: list[tuple[str | None, int | None]] = [(None, None)]
        if self.per_task:
            keys = [
                (name, number)
                for name, task in tasks.items()
                for number in (range(_classes(task)) if self.per_class else [None]) or [None]
            ]
        shares: dict[str | None, int] = {}
        for name, _ in keys:
            shares[name] = shares.get(name, 0) + 1
        of_task = self.capacity // len(shares)
        if of_task < max(shares.values()):
            raise ValueError(
                f"`capacity` should be at least {max(shares.values()) * len(shares)} for the tasks "
                f"and classes of the model. Received: capacity={self.capacity}"
            )
        self._strata = [_Stratum(name, number, of_task // shares[name]) for name, number in keys]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(stratum.rows for stratum in self._strata)

    def replayed(self, batch_size: int) -> int:
        """How many rows of a training batch are replayed now.

        Args:
            batch_size: of new and replayed rows together.
        """
        return min(round(self.ratio * batch_size), self.rows, batch_size - 1)

    def add(self, batch: StreamBatch, has: np.ndarray, names: list[str]) -> None:
        """Offer rows that were learned.

        Args:
            batch: the rows, with labels of all tasks.
            has: `(B, T)` bool, which labels are there.
            names: of the tasks.
        """
        for stratum in self._strata:
            chosen = np.ones(batch.rows, bool)
            if stratum.task is not None:
                chosen = has[:, names.index(stratum.task)]
                if stratum.number is not None:
                    labels = batch.y[stratum.task]
                    if labels.ndim > 1:  # distributions over classes
                        labels = labels.argmax(-1)
                    chosen = chosen & (np.nan_to_num(labels, nan=-1).round() == stratum.number)
            if chosen.any():
                stratum.add(batch.take(chosen), self._random)

    def draw(self, number: int) -> StreamBatch:
        """Rows drawn at random, equally many of each reservoir as far as they have them.

        Args:
            number: how many; at most `rows`.
        """
        sizes = np.array([stratum.rows for stratum in self._strata])
        counts = np.zeros(len(sizes), int)
        while counts.sum() < number:  # what an empty one lacks, the others give
            free = np.flatnonzero(counts < sizes)
            each, left = divmod(number - counts.sum(), len(free))
            if not each:
                counts[self._random.choice(free, left, replace=False)] += 1
            else:
                counts[free] = np.minimum(counts[free] + each, sizes[free])
        drawn = [
            stratum.draw(count, self._random)
            for stratum, count in zip(self._strata, counts, strict=True)
            if count
        ]
        return concatenate(drawn)

    def get_state(self) -> dict[str, Any]:
        """The rows, how many have come, and the state of the random numbers."""
        random = self._random.bit_generator.state
        return {
            "strata": [stratum.get_state() for stratum in self._strata],
            "random": {**random["state"], **{k: random[k] for k in ("has_uint32", "uinteger")}},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        for stratum, its in zip(self._strata, state["strata"], strict=True):
            stratum.set_state(its)
        values = state["random"]
        self._random.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {key: values[key] for key in ("state", "inc")},
            **{key: values[key] for key in ("has_uint32", "uinteger")},
        }


class _Stratum:
    """One reservoir, of the rows with a label of a task, and perhaps of one class."""

    def __init__(self, task: str | None, number: int | None, capacity: int) -> None:
        self.task, self.number = task, number
        self.seen = self.rows = 0
        self._slots = Slots(capacity)

    def add(self, batch: StreamBatch, random: np.random.Generator) -> None:
        capacity = self._slots.capacity
        arrival = np.arange(self.seen, self.seen + batch.rows)
        places = np.where(arrival < capacity, arrival, random.integers(0, arrival + 1))
        kept = np.flatnonzero(places < capacity)
        # One by one as it came: of two rows for one place, the later one stays.
        _, last = np.unique(places[kept][::-1], return_index=True)
        kept = kept[::-1][last]
        if kept.size:
            chosen = batch.take(kept)
            self._slots.put(places[kept], chosen.to_dict())
        self.seen += batch.rows
        self.rows = min(self.seen, capacity)

    def draw(self, count: int, random: np.random.Generator) -> StreamBatch:
        return self.take(random.choice(self.rows, count, replace=False))

    def take(self, places: np.ndarray) -> StreamBatch:
        return StreamBatch.from_dict(self._slots.take(places))

    def get_state(self) -> dict[str, Any]:
        rows = self._slots.take(np.arange(self.rows)) if self.rows else None
        return {"seen": self.seen, "rows": rows}

    def set_state(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]
        self.rows = min(self.seen, self._slots.capacity)
        if self.rows:
            self._slots.put(np.arange(self.rows), state["rows"])


def _classes(task: Any) -> int:
    """How many classes a row may be of one of; 0 if the task has no such thing."""
    if task.label_shape not in {(), (1,)} or task.loss_family != "classification":
        return 0
    return getattr(task, "num_classes", 2)
