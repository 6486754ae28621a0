"""A clock that never goes backwards, from times that may."""

from typing import Any

import numpy as np

# Times so many seconds before the latest one, or after it, are taken for those of a clock that was
# set only when so many in a row say so; else they are late rows, or wrong.
FAR_BEFORE, FAR_AFTER, BELIEVED = 60.0, 86_400.0, 3


class Clock:
    """Counts the seconds from the first time to the latest one, no second twice.

    A time before the latest one changes nothing. When three in a row lie more than a minute before
    it, the clock was set back, and counts on from there. Nor does a time more than a day after it
    count, until three in a row say so: there was a pause. The clock of arrival is not looked at any
    more once rows have had times of their own.

    Attributes:
        time: the seconds since the first time.
        backwards: how often a time lay before the latest one.
    """

    def __init__(self) -> None:
        self.time = 0.0
        self.backwards = 0
        self._kind = ""
        self._latest = 0.0
        self._far = 0  # times in a row that were far away; negative for those before

    def read(self, times: float | np.ndarray, kind: str) -> float:
        """Be told the times of some rows.

        Args:
            times: in seconds, one or several.
            kind: of which clock, `"event"` or `"arrival"`.

        Returns:
            `time`.
        """
        if kind == "arrival" and self._kind == "event":
            return self.time
        given = np.atleast_1d(np.asarray(times, "float64"))
        if kind != self._kind:
            self._kind, self._latest, self._far = kind, float(given.max()), 0
            return self.time
        near = given[given <= self._latest + FAR_AFTER]
        now = float(near.max() if near.size else given.min())
        self.backwards += now < self._latest
        if now > self._latest + FAR_AFTER:
            self._far = max(self._far, 0) + 1
        elif now < self._latest - FAR_BEFORE:
            self._far = min(self._far, 0) - 1
        else:
            self._far = 0
        if abs(self._far) == BELIEVED or not self._far:
            set_back = self._far < 0
            self.time += max(now - self._latest, 0.0)
            self._latest = now if set_back else max(self._latest, now)
            self._far = 0
        return self.time

    def get_state(self) -> dict[str, Any]:
        """Where it stands."""
        return {
            "time": self.time,
            "backwards": self.backwards,
            "kind": self._kind,
            "latest": self._latest,
            "far": self._far,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self.time, self.backwards = state["time"], state["backwards"]
        self._kind, self._latest, self._far = state["kind"], state["latest"], state["far"]
