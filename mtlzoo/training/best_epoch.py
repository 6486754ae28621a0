"""A callback that ends a training with the weights of its best epoch."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from mtlzoo.tasks import Task


class BestEpoch(keras.callbacks.Callback):
    """Ends a training with the weights of the epoch that was best on the validation data.

    An epoch's score is the mean over the tasks of the metric that decides each of them, counted
    negative where lower is better; one that is not finite is below all others.

    Args:
        tasks: the tasks that count, by name, such as `model.tasks`.

    Attributes:
        epoch: the best epoch so far, from 1; `None` before the first has ended.
        score: its score.

    Example:
        ```python
        import keras
        import numpy as np
        from mtlzoo import HardSharing, Regression, training

        x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
        y = {"first": x[:, 0], "second": x[:, 1]}
        model = HardSharing(keras.Input((3,)), [Regression(name) for name in y], shared_units=(4,))
        model.compile("adam", run_eagerly=True)
        best = training.BestEpoch(model.tasks)
        model.fit(x, y, validation_data=(x, y), epochs=2, verbose=0, callbacks=[best])
        print(best.epoch)
        ```
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self._tasks = tasks
        self.epoch: int | None = None
        self.score = -math.inf

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the weights if they are the best so far; the first of equals wins."""
        score = 0.0
        for name, task in self._tasks.items():
            value = float(logs[f"val_{name}_{task.monitor}"])
            score += (value if task.mode == "max" else -value) / len(self._tasks)
        if self.epoch is None or score > self.score:
            self.epoch, self.score = epoch + 1, score if math.isfinite(score) else -math.inf
            self._weights = self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        """Go back to the best epoch."""
        self.model.set_weights(self._weights)

    def get_state(self) -> dict[str, Any]:
        """What a training that goes on after a kill needs."""
        weights = self._weights if self.epoch else None
        return {"epoch": self.epoch, "score": self.score, "weights": weights}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self.epoch, self.score = state["epoch"], state["score"]
        self._weights = state["weights"]
