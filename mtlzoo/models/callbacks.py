"""How the model's training reaches callbacks, and callbacks the tasks."""

import contextlib
from collections.abc import Iterable, Iterator
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
        """Train by the method of this epoch, and begin its record of Gramians."""
        self.trained.make_train_function()
        if self.trained._step.record is not None:
            self.trained._step.record.reset()


@contextlib.contextmanager
def told_of_failure(callbacks: Iterable[keras.callbacks.Callback]) -> Iterator[None]:
    """Tell those callbacks that want to know that the training has failed, as Keras does not.

    Args:
        callbacks: of the training; those with a method `on_train_failed` are told.
    """
    try:
        yield
    except BaseException:
        for callback in callbacks:
            if hasattr(callback, "on_train_failed"):
                callback.on_train_failed()
        raise


# Of the metrics that the tasks bring with them.
LOWER_IS_BETTER = {"abs_error", "mae", "mean_angle", "median_angle", "rel_error", "rmse"}
HIGHER_IS_BETTER = {
    *("accuracy", "auc", "exact_match", "f1", "overlap_f1", "precision", "r2", "recall"),
    *("macro_auc", "macro_f1", "macro_precision", "macro_recall", "micro_accuracy", "micro_f1"),
    *("delta_1", "map", "map_50", "mean_iou", "pixel_accuracy"),
    *("within_11_25", "within_22_5", "within_30"),
}


def usual_mode(metric: str) -> str | None:
    """The direction of a metric that is better, `"min"` or `"max"`, by its name alone.

    Args:
        metric: The name, without that of a task.

    Returns:
        The direction, or `None` if it is none of the metrics that tasks bring with them.
    """
    if metric == "loss" or metric in LOWER_IS_BETTER:
        return "min"
    return "max" if metric in HIGHER_IS_BETTER else None


def known_modes(model: Any) -> dict[str, str]:
    """By key of the logs, without `val_`, the direction that is better, wherever it is known.

    Args:
        model: A multi-task model.
    """
    modes = {"loss": "min"}
    for name, task in model.tasks.items():
        modes[f"{name}_loss"] = "min"
        for metric in task.default_metrics():
            modes[f"{name}_{metric.name}"] = usual_mode(metric.name) or "max"
        modes[f"{name}_{task.monitor}"] = task.mode
    return modes


def set_modes(callbacks: Any, model: Any) -> None:
    """Set `mode` of callbacks that monitor a task's loss or own metrics with `mode="auto"`.

    Keras cannot tell the direction of a metric that it did not compile itself, and gives up.
    """
    modes = known_modes(model)
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        mode = modes.get(monitor.removeprefix("val_")) if isinstance(monitor, str) else None
        if mode is not None and getattr(callback, "mode", None) == "auto":
            callback.mode = mode
