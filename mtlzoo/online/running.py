"""What is usual in a stream: moments that fade, and the last numbers."""

import math
from typing import Any

import numpy as np

# A column that never varied has no unit. It gets this share of the mean variance of all columns,
# and no column counts for more than so many standard deviations.
LEAST_VARIANCE, MOST_DEVIATIONS = 1e-3, 100.0


class Recent:
    """The last numbers of a kind, and where others stand among them.

    Args:
        memory: How many.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._numbers = np.zeros(0)

    def rank(self, numbers: np.ndarray) -> np.ndarray:
        """For each the share of the remembered ones below it; then remember them.

        Args:
            numbers: `(B,)`. The first ones are ranked among themselves.
        """
        known = np.sort(self._numbers if self._numbers.size else numbers)
        below = np.searchsorted(known, numbers, "left") + np.searchsorted(known, numbers, "right")
        self._numbers = np.concatenate([self._numbers, numbers])[-self.memory :]
        return below / (2 * len(known))

    def get_state(self) -> dict[str, Any]:
        """The numbers."""
        return {"numbers": self._numbers}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self._numbers = np.asarray(state["numbers"], "float64")


class Running:
    """The mean and the variance of each column of the rows so far, old rows fading.

    Args:
        memory: After how many rows one counts for 1/e of a new one.

    Attributes:
        count: how many rows there are, those that faded by what is left of them.
        mean: `(F,)`.
        variance: `(F,)`.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.count = 0.0
        self.mean = self.variance = np.zeros(0)

    def distance(self, rows: np.ndarray) -> np.ndarray:
        """How many standard deviations each row is away, in the mean square; then remember them.

        Args:
            rows: `(B, F)`. The first ones are compared with themselves.

        Raises:
            ValueError: If there are more or fewer columns than before.
        """
        if self.count == 0:
            self.remember(rows)
            return self._away(rows)
        if rows.shape[1] != len(self.mean):
            raise ValueError(
                f"`rows` should have {len(self.mean)} columns, as before. Received: {rows.shape[1]}"
            )
        found = self._away(rows)
        self.remember(rows)
        return found

    def _away(self, rows: np.ndarray) -> np.ndarray:
        least = LEAST_VARIANCE * self.variance.mean()
        units = np.sqrt(np.maximum(self.variance, least if least > 0 else 1.0))
        away = np.minimum(np.abs(rows - self.mean) / units, MOST_DEVIATIONS)
        return np.sqrt(np.square(away).mean(1))

    def remember(self, rows: np.ndarray) -> None:
        """Take rows into the moments, by Chan's formula for two sets, the older one faded.

        Args:
            rows: `(B, F)`.
        """
        mean, variance, count = rows.mean(0), rows.var(0), len(rows)
        if self.count == 0:
            self.mean, self.variance, self.count = mean, variance, float(count)
            return
        old = self.count * math.exp(-count / self.memory)
        share = count / (old + count)
        apart = mean - self.mean
        self.variance = (1 - share) * self.variance + share * variance
        self.variance += share * (1 - share) * np.square(apart)
        self.mean = self.mean + share * apart
        self.count = old + count

    def get_state(self) -> dict[str, Any]:
        """The moments."""
        return {"count": self.count, "mean": self.mean, "variance": self.variance}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self.count = float(state["count"])
        self.mean = np.asarray(state["mean"], "float64")
        self.variance = np.asarray(state["variance"], "float64")
