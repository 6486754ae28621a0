"""A callback that notes what a report wants to know of a training."""

import time
from typing import Any

import keras


class RunRecorder(keras.callbacks.Callback):
    """Notes the logs of each epoch and how many seconds it took, validation with it.

    A training that goes on after a kill (`mtlzoo.training.Backup`) goes on in the record.

    Attributes:
        history: By key of the logs a list with a number for each epoch.
        seconds: How long each epoch took.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.reporting import RunRecorder

    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((4,)), tasks, shared_units=[8])
    model.compile("adam", balancer="pcgrad")
    x = np.ones((16, 4), "float32")
    recorder = RunRecorder()
    model.fit(x, {"a": x[:, 0], "b": x[:, 1]}, epochs=2, callbacks=[recorder], verbose=0)
    recorder.history["a_loss"], recorder.seconds  # two numbers each
    ```
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.seconds: list[float] = []
        self._started: float | None = None
        self._before = 0.0  # seconds of this epoch before the training was killed

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin anew."""
        self.history, self.seconds = {}, []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._started, self._before = time.perf_counter(), 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note the logs and the time."""
        self.seconds.append(self._spent())
        self._started = None
        epochs = len(self.seconds)
        for key, value in (logs or {}).items():
            values = self.history.setdefault(key, [float("nan")] * (epochs - 1))
            values.append(float(value))
        for values in self.history.values():  # what this epoch did not log
            values += [float("nan")] * (epochs - len(values))

    def get_state(self) -> dict[str, Any]:
        """What a training that goes on after a kill needs."""
        return {"history": self.history, "seconds": self.seconds, "spent": self._spent()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self.history = {key: list(map(float, values)) for key, values in state["history"].items()}
        self.seconds = list(map(float, state["seconds"]))
        self._before = float(state["spent"])

    def _spent(self) -> float:
        """How long the epoch has lasted; 0 between epochs."""
        return 0.0 if self._started is None else time.perf_counter() - self._started + self._before
