"""How the model's training reaches callbacks, and callbacks the tasks."""

from typing import Any

import keras


class BalancerEpochs(keras.callbacks.Callback):
    """Tells the balancer that an epoch has ended, and the model which method comes next."""

    def __init__(self, trained: Any) -> None:
        super().__init__()
        self.trained = trained  # Keras sets `model` only for callbacks in a list of its own making

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Give the balancer the epoch's logs, with the losses of rows for those of their tasks."""
        step = self.trained._step
        told = step.rows.logged(logs or {}, step.objectives.loss_weights)
        self.trained.balancer.on_epoch_end(told)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Train by the method of this epoch."""
        self.trained.make_train_function()


# Of the metrics that the tasks bring with them.
LOWER_IS_BETTER = {"mae", "median_angle", "rel_error", "rmse"}


def set_modes(callbacks: Any, model: Any) -> None:
    """Set `mode` of callbacks that monitor a task's loss or own metrics with `mode="auto"`.

    Keras cannot tell the direction of a metric that it did not compile itself, and gives up.
    """
    modes = {}
    for name, task in model.tasks.items():
        modes[f"{name}_loss"] = "min"
        for metric in task.default_metrics():
            lower = metric.name in LOWER_IS_BETTER
            modes[f"{name}_{metric.name}"] = "min" if lower else "max"
        modes[f"{name}_{task.monitor}"] = task.mode
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        mode = modes.get(monitor.removeprefix("val_")) if isinstance(monitor, str) else None
        if mode is not None and getattr(callback, "mode", None) == "auto":
            callback.mode = mode
