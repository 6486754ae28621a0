"""A clock that never goes backwards, from times that may."""

from typing import Any


class Clock:
    """Adds up the seconds between times, and counts the times that lie before their predecessor.

    After a jump backwards it goes on from the time that it was set to: neither does it stand still
    until the old time is reached again, nor does it count any second twice.

    Attributes:
        time: the seconds since the first time.
        backwards: how often a time lay before the one before it.
    """

    def __init__(self) -> None:
        self.time = 0.0
        self.backwards = 0
        self._last: dict[str, float] = {}

    def read(self, now: float, kind: str) -> float:
        """Be told a time.

        Args:
            now: in seconds.
            kind: of which clock; differences are taken within each only.

        Returns:
            `time`.
        """
        passed = now - self._last.get(kind, now)
        self._last[kind] = now
        if passed < 0:
            self.backwards += 1
        else:
            self.time += passed
        return self.time

    def get_state(self) -> dict[str, Any]:
        """Where it stands."""
        return {"time": self.time, "backwards": self.backwards, "last": dict(self._last)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """
        self.time, self.backwards = state["time"], state["backwards"]
        self._last = dict(state["last"])
