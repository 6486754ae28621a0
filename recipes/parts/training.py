"""What trainings of recipes share: the best epoch's weights, one bar for a whole job."""

import sys
import time
from collections.abc import Mapping

import keras

from mtlzoo.tasks import Task

_BAR = 24  # characters


class BestEpoch(keras.callbacks.Callback):
    """Ends a training with the weights of the epoch that was best on the validation data.

    An epoch's score is the mean over the model's tasks of the metric that decides each of them,
    counted negative where lower is better.

    Args:
        tasks: the tasks that count, by name.

    Attributes:
        epoch: the best epoch so far, from 1; `None` before the first has ended.
        score: its score.
    """

    def __init__(self, tasks: Mapping[str, Task]):
        super().__init__()
        self._tasks = tasks
        self.epoch: int | None = None
        self.score = -float("inf")

    def on_epoch_end(self, epoch, logs=None):
        """Keep the weights if they are the best so far; the first of equals wins."""
        score = 0.0
        for name, task in self._tasks.items():
            value = logs[f"val_{name}_{task.monitor}"]
            score += (value if task.mode == "max" else -value) / len(self._tasks)
        if self.epoch is None or score > self.score:
            self.epoch, self.score = epoch + 1, score
            self._weights = self.model.get_weights()

    def on_train_end(self, logs=None):
        """Go back to the best epoch."""
        self.model.set_weights(self._weights)

    def get_state(self) -> dict:
        """What a training that goes on after a kill needs."""
        weights = self._weights if self.epoch else None
        return {"epoch": self.epoch, "score": self.score, "weights": weights}

    def set_state(self, state: dict) -> None:
        """Go on from what `get_state` gave."""
        self.epoch, self.score = state["epoch"], state["score"]
        self._weights = state["weights"]


class Restart:
    """Lets one compiled model begin again and again: to trace a new one takes longer than a few
    epochs.

    Args:
        model: the model, compiled and not yet trained.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._optimizer = [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables]

    def begin(self, new: keras.Model) -> None:
        """Begin with the weights of a new model, and with the optimizer as it was at first."""
        pairs = zip(self.model.trained_variables, new.trained_variables, strict=True)
        slots = zip(self.model.optimizer.variables, self._optimizer, strict=True)
        for variable, value in [*pairs, *slots]:
            variable.assign(value)


class StepTimes(keras.callbacks.Callback):
    """How long each step took, in seconds."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch, logs=None):
        """Look at the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Look again."""
        self.seconds.append(time.perf_counter() - self._started)


class Progress(keras.callbacks.Callback):
    """One bar for a job of several trainings, and a line for each that is done.

    The bar moves on a terminal only; a file gets just the lines.

    Args:
        trainings: number of trainings.
        epochs: epochs of each.
        stream: where to write. Defaults to the standard output.
    """

    def __init__(self, trainings: int, epochs: int, stream=None):
        super().__init__()
        self._total, self._done = trainings * epochs, 0
        self._stream = stream or sys.stdout
        self._started = time.perf_counter()

    def on_train_begin(self, logs=None):
        """Show which training begins."""
        self._bar()

    def on_epoch_end(self, epoch, logs=None):
        """Move the bar."""
        self._done += 1
        self._bar()

    def finish(self, line: str) -> None:
        """Write the line of a training that is done in place of the bar."""
        self._clear()
        print(line, file=self._stream, flush=True)

    def _bar(self) -> None:
        if not self._stream.isatty():
            return
        self._clear()
        full = _BAR * self._done // self._total
        seconds = time.perf_counter() - self._started
        self._stream.write(
            f"[{'#' * full}{'.' * (_BAR - full)}] {self._done}/{self._total} epochs, "
            f"{seconds:.0f} s, now {self.model.name}"
        )
        self._stream.flush()

    def _clear(self) -> None:
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")  # back to the first column, and erase the line
