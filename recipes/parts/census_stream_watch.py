"""How soon after a change a version is good again."""

import time

from mtlzoo import MultiTaskModel
from mtlzoo.metrics import AUC
from mtlzoo.online import OnlineLearner
from recipes.parts.census_streams import Stream


class Watch:
    """Looks after each mini-batch whether a version is good that was published after the change.

    Args:
        model: the model that learns.
        stream: what it learns from.
        good: how close to the AUC of income before the change it is good again.

    Attributes:
        recovered: the `"rows"` and `"seconds"` from the change to the first good version; empty
            as long as there is none.
        looking: the seconds that looking has taken, which are no part of learning.
    """

    def __init__(self, model: MultiTaskModel, stream: Stream, good: float):
        self._model, self._stream = model, stream
        self._goal = auc(model, stream.test[0])["income"] - good
        self._began: float | None = None
        self._published = 0
        self.recovered: dict[str, float] = {}
        self.looking = 0.0

    def look(self, learner: OnlineLearner) -> None:
        """Look at what was published last, if it is new."""
        counts = learner.counts
        is_new, self._published = counts["published"] > self._published, counts["published"]
        if counts["read"] < self._stream.change:
            return
        if self._began is None:
            self._began = time.perf_counter() - self.looking
        if is_new and not self.recovered:
            now = time.perf_counter()
            if auc(self._model, self._stream.test[1])["income"] >= self._goal:
                self.recovered["rows"] = counts["read"] - self._stream.change
                self.recovered["seconds"] = now - self.looking - self._began
            self.looking += time.perf_counter() - now


def auc(model: MultiTaskModel, part: tuple) -> dict[str, float]:
    """The AUC of each task on rows."""
    x, y = part
    raw = model.predict_on_batch(x)
    found = {}
    for name, labels in y.items():
        metric = AUC()
        metric.update_state(labels, raw[name])
        found[name] = float(metric.result())
    return found
