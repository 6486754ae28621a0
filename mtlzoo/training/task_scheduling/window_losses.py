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

    def read(self) -> dict[str, float]:
        """By task the mean loss of the labels since then; only of tasks that had any."""
        now = np.stack([_of(self._tracker.total), _of(self._tracker.count)])
        losses, counts = now - self._before
        self._before = now
        if (counts < 0).any():  # somebody has evaluated the model, which begins the sums anew
            return {}
        found = zip(self._names, losses.tolist(), counts.tolist(), strict=True)
        return {name: loss / count for name, loss, count in found if count > 0}

    def get_state(self) -> dict[str, Any]:
        """The sums when it was asked last."""
        return {"before": self._before.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: What `get_state` gave.
        """
        self._before = np.array(state["before"])


def _of(variable: keras.Variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype("float64")
