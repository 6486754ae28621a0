"""When a model that learns from a stream is updated."""

import dataclasses
from typing import Any

import numpy as np

from mtlzoo.data.arguments import check_count, check_positive_or_none


@dataclasses.dataclass(frozen=True)
class Moment:
    """What an update policy may look at after a mini-batch was predicted.

    Attributes:
        rows: the number of rows of this mini-batch.
        waiting: the number of rows that have labels and were not trained on yet, with those of this
            mini-batch.
        time: the learner's clock in seconds, which never goes backwards.
        losses: by task the loss of each row whose label has come now, `(n,)`, by the prediction
            that was made before learning from it; empty for a task without any.
        outputs: by task the raw outputs of this mini-batch.
        features: the model's inputs, flattened, `(B, F)`, if the policy needs them.
        load: how full the intake is, from 0 to 1; 0 without one.
    """

    rows: int
    waiting: int
    time: float
    losses: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    features: np.ndarray | None = None
    load: float = 0.0


@dataclasses.dataclass(frozen=True)
class Decision:
    """What is done now.

    Attributes:
        updates: how many passes over the waiting rows are trained; 0 to go on collecting.
        reason: why, for the history.
        drifts: the tasks in which a drift was found now, for the history.

    Raises:
        ValueError: if they are something else.
    """

    updates: int
    reason: str = ""
    drifts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_count("updates", self.updates, 0)
        if not isinstance(self.reason, str):
            raise ValueError(f"`reason` should be a text. Received: reason={self.reason!r}")
        given = self.drifts if isinstance(self.drifts, list | tuple) else [None]
        if not all(isinstance(name, str) for name in given):
            raise ValueError(
                f"`drifts` should be a tuple of names of tasks. Received: drifts={self.drifts!r}"
            )


class UpdatePolicy:
    """The base of what says when the waiting rows are trained on; supply `decide`.

    Attributes:
        needs_features: whether `Moment.features` is given.

    Example:
    ```python
    from mtlzoo.online import Decision, Moment, UpdatePolicy

    class EverySecond(UpdatePolicy):
        def __init__(self):
            self.seen = 0

        def decide(self, moment: Moment) -> Decision:
            self.seen += 1
            return Decision(int(self.seen % 2 == 0), "every second mini-batch")

        def get_state(self):
            return {"seen": self.seen}

        def set_state(self, state):
            self.seen = state["seen"]
    ```
    """

    needs_features: bool = False

    def start(self, names: list[str]) -> None:
        """Be told the names of the tasks, before the first mini-batch.

        Args:
            names: sorted.
        """

    def decide(self, moment: Moment) -> Decision:
        """Whether to train now; called once for each mini-batch.

        Args:
            moment: what can be known now.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The arguments that must be the same for it to go on from a state; none by default."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """What it remembers: dicts, lists, arrays, strings, numbers."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `get_state` gave.
        """


def decided(policy: UpdatePolicy, moment: Moment) -> Decision:
    """What a policy decides.

    Args:
        policy: the policy.
        moment: what it may look at.

    Raises:
        ValueError: if it gives anything but a `Decision`.
    """
    decision = policy.decide(moment)
    if not isinstance(decision, Decision):
        raise ValueError(
            f"`decide` of {type(policy).__name__} should return a `mtlzoo.online.Decision`. "
            f"Received: {decision!r}"
        )
    return decision


class EveryBatch(UpdatePolicy):
    """Learn from each mini-batch as soon as it was predicted.

    Example:
    ```python
    from mtlzoo.online import EveryBatch

    EveryBatch()
    ```
    """

    def decide(self, moment: Moment) -> Decision:
        """One pass over what waits.

        Args:
            moment: what can be known now.
        """
        return Decision(1, "every mini-batch") if moment.waiting else Decision(0)


class Windows(UpdatePolicy):
    """Collect a window of rows, or of seconds, and then learn from it.

    With both, whichever is full first. A window in seconds begins with the first mini-batch after
    the last update; one that has no labelled row when its time is over goes on until there is one.

    Args:
        rows: the number of labelled rows in a window. Defaults to `None`.
        seconds: how long a window lasts by the learner's clock. Defaults to `None`.
        passes: how often each window is trained on. Defaults to 1.

    Raises:
        ValueError: if neither is given, or one is out of its range.

    Example:
    ```python
    from mtlzoo.online import Windows

    Windows(rows=1024)
    Windows(seconds=60, passes=2)
    ```
    """

    def __init__(
        self, rows: int | None = None, seconds: float | None = None, passes: int = 1
    ) -> None:
        if rows is None and seconds is None:
            raise ValueError(
                "`rows` or `seconds` should be given. Received: rows=None, seconds=None"
            )
        if rows is not None:
            check_count("rows", rows)
        self.rows, self.seconds = rows, check_positive_or_none("seconds", seconds)
        self.passes = check_count("passes", passes)
        self._began: float | None = None

    def decide(self, moment: Moment) -> Decision:
        """Train when the window is full.

        Args:
            moment: what can be known now.
        """
        if self._began is None:
            self._began = moment.time
        reason = ""
        if self.rows is not None and moment.waiting >= self.rows:
            reason = f"{self.rows} rows"
        elif self.seconds is not None and moment.time - self._began >= self.seconds:
            reason = f"{self.seconds:g} seconds"
        if not reason or not moment.waiting:
            return Decision(0)
        self._began = None
        return Decision(self.passes, reason)

    def get_state(self) -> dict[str, Any]:
        """When the window began."""
        return {"began": self._began}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on with the window.

        Args:
            state: what `get_state` gave.
        """
        self._began = state["began"]
