"""Labelled rows that wait for the next update, and the update."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mtlzoo.online.batches import StreamBatch
from mtlzoo.online.replay import Reservoir
from mtlzoo.online.slots import joined
from mtlzoo.online.training_steps import TrainingSteps


class Waiting:
    """Rows that are collected, and trained on in batches of one size.

    A training batch has `batch_size` rows, new ones and those that the memory adds. Rows that do
    not fill one wait for the next update, unless the memory has rows enough to fill it.

    Args:
        batch_size: the rows of a training batch.
        names: of the tasks.
        steps: makes the steps.
        replay: the memory, or `None`.
        failed: is called with the rows of a step that failed, and why.
    """

    def __init__(
        self,
        batch_size: int,
        names: list[str],
        steps: TrainingSteps,
        replay: Reservoir | None,
        failed: Callable[[StreamBatch, str], None],
    ) -> None:
        self._batch_size, self._names = batch_size, names
        self._steps, self._replay, self._failed = steps, replay, failed
        self._parts: list[dict[str, Any]] = []
        self.rows = 0
        self.failures = 0  # steps in a row

    def add(self, batch: StreamBatch, has: np.ndarray) -> None:
        """Collect rows.

        Args:
            batch: rows with labels of all tasks.
            has: `(B, T)` bool, which labels are there.
        """
        self._parts.append({**batch.to_dict(), "has": has})
        self.rows += batch.rows

    def update(self, passes: int, told: dict[str, int], to_the_last: bool = False) -> None:
        """Train on the rows that wait, in the order in which they came.

        Rows do not wait any more once a step was made with them, whatever comes of the next one.

        Args:
            passes: how often.
            told: counts the rows that were `learned`, the `steps`, the rows `replayed` in them, and
                the `failed_steps`.
            to_the_last: whether rows that do not fill a batch are trained on in a smaller one, for
                which the step is traced once more. Defaults to `False`.
        """
        pieces = self._pieces(to_the_last)
        if not pieces:
            return
        rows = joined(self._parts)
        all_new = StreamBatch.from_dict(rows)
        good = []
        for begin, end in pieces:
            good.append((all_new.take(np.arange(begin, end)), rows["has"][begin:end]))
        learned, last = [], 0
        try:
            for number in range(passes):
                kept = []
                for new, has in good:
                    failure = self._step(new, told)
                    if failure is None:
                        kept.append((new, has))
                    if number:
                        continue
                    last += new.rows
                    if failure is None:
                        told["learned"] += new.rows
                        learned.append((new, has))
                    else:
                        self._failed(new, failure)
                good = kept
        finally:
            self._parts, self.rows = [], all_new.rows - last
            if self.rows:
                rest = all_new.take(np.arange(last, all_new.rows))
                self._parts = [{**rest.to_dict(), "has": rows["has"][last:]}]
            if self._replay is not None:
                for new, has in learned:
                    self._replay.add(new, has, self._names)

    def _step(self, new: StreamBatch, told: dict[str, int]) -> str | None:
        """Make a step; why it has failed, if it has."""
        lacking, old = self._batch_size - new.rows, None
        if lacking and self._replay is not None and self._replay.rows >= lacking:
            old = self._replay.draw(lacking)
            told["replayed"] += lacking
        try:
            self._steps.train(new, old)
        except FloatingPointError as error:
            told["failed_steps"] += 1
            self.failures += 1
            return str(error)
        self.failures = 0
        told["steps"] += 1
        return None

    def _pieces(self, to_the_last: bool) -> list[tuple[int, int]]:
        """Where the new rows of each step begin and end."""
        memory = 0 if self._replay is None else self._replay.rows
        new = self._batch_size
        if self._replay is not None:
            new -= self._replay.replayed(self._batch_size)
        full, left = divmod(self.rows, new)
        pieces = [(i * new, (i + 1) * new) for i in range(full)]
        if left and (to_the_last or memory >= self._batch_size - left):
            pieces.append((full * new, self.rows))
        return pieces

    def get_state(self) -> dict[str, Any]:
        """The rows that wait, and how many steps in a row have failed."""
        return {"rows": joined(self._parts), "failures": self.failures}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self._parts = [] if state["rows"] is None else [state["rows"]]
        self.rows = sum(len(part["has"]) for part in self._parts)
        self.failures = state["failures"]
