"""How the model's training reaches callbacks, and callbacks the tasks."""

from typing import Any

import keras

from mtlzoo.balancing import Balancer


class BalancerEpochs(keras.callbacks.Callback):
    """Tells the balancer that an epoch has ended, and the model which method comes next."""

    def __init__(self, balancer: Balancer) -> None:
        super().__init__()
        self.balancer = balancer

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on with the method of the present epoch."""
        self.model.follow_balancer()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Give the balancer the epoch's logs."""
        self.balancer.on_epoch_end(dict(logs or {}))
        self.model.follow_balancer()


# Of the metrics that the tasks bring with them.
LOWER_IS_BETTER = {"mae", "rmse"}


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
