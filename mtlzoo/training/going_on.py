"""To go on in the middle of an epoch: what was done is passed over, and callbacks do not see it."""

from collections.abc import Callable
from typing import Any

import keras

from mtlzoo.training.data_order import pass_over


class FromStep(keras.callbacks.CallbackList):
    """Callbacks that see nothing of the steps that were done in an earlier process.

    Args:
        first: the first step that they see, in their first epoch.
        callbacks: the callbacks.
        **arguments: as for `keras.callbacks.CallbackList`.
    """

    def __init__(self, first: int, callbacks: list, **arguments: Any) -> None:
        super().__init__(callbacks, **arguments)
        self._first = first

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Tell the callbacks that a step begins, if it is a new one."""
        if batch >= self._first:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Tell the callbacks that a step has ended, if it is a new one."""
        if batch >= self._first:
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Tell the callbacks that an epoch has ended; of the next they see all steps."""
        self._first = 0
        super().on_epoch_end(epoch, logs)


def pass_steps(model: Any, steps: int, before: int) -> None:
    """Have the model pass over steps of the epoch that begins, and train from then on.

    Keras counts the steps that are passed, so that steps have the numbers that they would have had.

    Args:
        model: the model, with a training function.
        steps: how many were done in the epoch; a multiple of `steps_per_execution`.
        before: how many batches of the iteration were read in earlier epochs.
    """
    train: Callable[[Any], Any] = model.train_function
    at_once = model.steps_per_execution
    done, passed = 0, None

    def passing(iterator: Any) -> Any:
        nonlocal done, passed
        # Whatever goes wrong, and whatever interrupts this training, the next one trains.
        model.train_function = train
        if passed is not None and passed is not iterator:
            return train(iterator)
        passed = iterator
        wanted = at_once + (before if done == 0 else 0)
        found = pass_over(iterator, wanted)
        if found <= wanted - at_once:
            raise ValueError(
                "`x` should have the batches that it had when the training was interrupted. "
                f"Received: data that end before batch {before + done + 1}"
            )
        done += at_once
        if done < steps:
            model.train_function = passing
            return {}
        return model.get_metrics_result()  # Keras takes the names of the logs from it

    def first(iterator: Any) -> Any:
        model.train_function = train
        pass_over(iterator, before)
        return train(iterator)

    if steps:
        model.train_function = passing
    elif before:
        model.train_function = first
