"""The losses of some steps, out of the sums that a training keeps for its logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


class WindowLosses:
    """What the tasks' losses were since the last time that it was asked.

    Args:
        model: A compiled multi-task model.
    """

    def __init__(self, model: Any) -> None:
        self._names = model.task_names
        self._tracker = model._step.objectives.tracker
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """The sums begin with zero again, as those of all metrics do."""
        self._before = np.zeros((2, len(self._names)), "float64")
        self._kept = self._before.copy()  # of steps before the sums were used for something else
        self._resets = self._tracker.resets

    def keep(self) -> None:
        """Keep what was trained so far, before the model is evaluated."""
        now = self._now()
        if self._resets == self._tracker.resets:
            self._kept = self._kept + now - self._before
        self.skip()

    def skip(self) -> None:
        """Leave out what the sums have got from an evaluation."""
        self._before, self._resets = self._now(), self._tracker.resets

    def skip_evaluations(self) -> None:
        """Leave out what a callback has evaluated by itself, and what was trained before it."""
        if self._resets != self._tracker.resets:
            self.skip()

    def read(self) -> dict[str, float]:
        """By task the mean loss of the labels since then; only of tasks that had any."""
        self.keep()
        losses, counts = self._kept
        self._kept = np.zeros_like(self._kept)
        found = zip(self._names, losses.tolist(), counts.tolist(), strict=True)
        return {name: loss / count for name, loss, count in found if count > 0}

    def _now(self) -> np.ndarray:
        return np.stack([_of(self._tracker.total), _of(self._tracker.count)])

    def get_state(self) -> dict[str, Any]:
        """The sums when it was asked last, and what is kept."""
        return {"before": self._before.copy(), "kept": self._kept.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: What `get_state` gave.
        """
        self._before, self._kept = np.array(state["before"]), np.array(state["kept"])
        self._resets = self._tracker.resets


def _of(variable: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype("float64")
