"""What trainings of recipes share: beginning anew, times of steps, one bar for a whole job."""

import sys
import time

import keras

_BAR = 24  # characters


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
