"""What has happened while a model learned from a stream."""

import collections
import copy
from typing import Any

# By name what a learner counts.
COUNTS = {
    "read": "rows with inputs that were read, and rows with something wrong",
    "learned": "rows trained on",
    "waiting": "labelled rows that are collected for the next update",
    "awaiting_labels": "rows that are held until their labels come",
    "held_back": "labelled rows kept from training, to judge models by",
    "quarantined": "rows with something wrong, and those of failed steps",
    "unlabelled": "rows without labels, that were predicted only",
    "expired": "rows whose labels did not come in time",
    "left_out": "rows that the intake left out, which were never read",
    "predicted": "rows predicted",
    "labels_joined": "rows of late labels that found their rows",
    "labels_unknown": "rows of late labels whose rows were not held",
    "labels_repeated": "rows of late labels whose rows had them already",
    "updates": "updates",
    "steps": "training steps",
    "replayed": "rows of the replay memory in them",
    "failed_steps": "training steps that failed",
    "drifts": "drifts that the update policy found",
    "published": "versions published",
    "rejected": "candidates that were worse than the published version",
    "returned": "returns of the learner to the published weights",
    "rolled_back": "published versions that were withdrawn",
    "publish_failures": "versions that could not be written",
    "state_failures": "states that could not be written",
    "clock_backwards": "times that lay before the one before them",
}
# Where a row that was read may be: their sum is `read`.
PLACES = (
    *("learned", "waiting", "awaiting_labels", "held_back", "quarantined", "unlabelled", "expired"),
)


class OnlineHistory:
    """Prequential metrics by task, updates, publications, drifts and counts of a learner.

    The lists hold the newest `keep` entries, so that an endless stream does not fill the memory;
    `counts` has all.

    Args:
        keep: the most entries of a list. Defaults to 2000.

    Attributes:
        windows: a dict for each window: the `rows` that were read by its end, the `time`, and by
            task the metrics in it (`tasks`) and from the start of the stream (`total`).
        updates: a dict for each update: `rows` read by then, `time`, `steps`, `passes`, `trained`
            rows and `reason`.
        publications: a dict for each candidate and each roll-back: `rows`, `time`, `event`
            (`"published"`, `"rejected"`, `"returned"`, `"rolled back"` or `"failed"`), `version`
            (of a candidate that was rejected, the one that is better) and `comparison` by task.
        drifts: a dict for each drift: `rows`, `time`, `task`.
        counts: numbers by name, see `mtlzoo.online.history.COUNTS`.

    Example:
    ```python
    from mtlzoo.online import OnlineHistory

    history = OnlineHistory()
    history.windows.append({"rows": 64, "time": 1.0, "tasks": {"a": {"loss": 0.5}}, "total": {}})
    history.series("a", "loss")  # ([64], [0.5])
    ```
    """

    def __init__(self, keep: int = 2000) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self.windows: collections.deque[dict[str, Any]] = collections.deque(maxlen=keep)
        self.updates: collections.deque[dict[str, Any]] = collections.deque(maxlen=keep)
        self.publications: collections.deque[dict[str, Any]] = collections.deque(maxlen=keep)
        self.drifts: collections.deque[dict[str, Any]] = collections.deque(maxlen=keep)

    def series(
        self, task: str, metric: str = "loss", total: bool = False
    ) -> tuple[list[int], list[float]]:
        """A prequential metric over the stream.

        Args:
            task: its name.
            metric: `"loss"`, `"labels"` or a metric of the task. Defaults to `"loss"`.
            total: whether from the start of the stream, and not in each window. Defaults to
                `False`.

        Returns:
            The numbers of rows read by the ends of the windows, and the values.
        """
        part = "total" if total else "tasks"
        found = [(w["rows"], w[part][task][metric]) for w in self.windows]
        return [rows for rows, _ in found], [value for _, value in found]

    def to_dict(self) -> dict[str, Any]:
        """All of it as dicts and lists, for JSON; NaN where a window had no label of a task."""
        lists = ("windows", "updates", "publications", "drifts")
        found = {name: list(getattr(self, name)) for name in lists}
        return copy.deepcopy({**found, "counts": self.counts})

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: what `to_dict` gave.
        """
        self.counts |= state["counts"]
        for name in ("windows", "updates", "publications", "drifts"):
            entries = getattr(self, name)
            entries.clear()
            entries.extend(state[name])
