"""What callbacks remember from one epoch to the next."""

from collections.abc import Iterable
from typing import Any

import keras
from absl import logging

from mtlzoo.models.callbacks import BalancerEpochs
from mtlzoo.training import backup_files

# What those of Keras remember, by attribute.
ATTRIBUTES: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: (
        *("wait", "stopped_epoch", "best", "best_weights", "best_epoch"),
    ),
    keras.callbacks.ModelCheckpoint: (
        *("best", "_batches_seen_since_last_saving", "_last_batch_seen"),
    ),
    keras.callbacks.ReduceLROnPlateau: ("best", "cooldown_counter", "wait"),
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
}
# Those that remember nothing that training depends on.
WITHOUT_STATE = (
    BalancerEpochs,
    keras.callbacks.CSVLogger,
    keras.callbacks.History,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.TensorBoard,
    keras.callbacks.TerminateOnNaN,
)


def get(callbacks: Iterable[keras.callbacks.Callback]) -> list[dict[str, Any]]:
    """The states of those callbacks that have one which is known.

    Args:
        callbacks: of one training.

    Raises:
        ValueError: if a callback gives a state that cannot be kept.
    """
    found = []
    for callback in callbacks:
        if not _keeps(callback):
            continue
        attributes = _attributes(callback)
        if attributes is None:
            state = callback.get_state()
            _check(type(callback).__name__, state, "get_state()")
        else:
            state = {name: getattr(callback, name) for name in attributes}
        found.append({"class": type(callback).__name__, "state": state})
    return found


def restore(
    callbacks: Iterable[keras.callbacks.Callback], states: Iterable[dict[str, Any]]
) -> None:
    """Give callbacks their states back, each that of the next one of its class.

    Args:
        callbacks: of one training.
        states: what `get` gave.
    """
    left = list(states)
    for callback in callbacks:
        if not _keeps(callback):
            continue
        name = type(callback).__name__
        own = next((each for each in left if each["class"] == name), None)
        if own is None:
            logging.warning("The callback `%s` was not there before, and begins anew.", name)
            continue
        left.remove(own)
        attributes = _attributes(callback)
        if attributes is None:
            callback.set_state(own["state"])
        else:
            for attribute in attributes:
                setattr(callback, attribute, own["state"][attribute])


def warn(callbacks: Iterable[keras.callbacks.Callback]) -> None:
    """Name the callbacks that will begin anew after a kill.

    Args:
        callbacks: of one training.
    """
    for callback in callbacks:
        if not _keeps(callback) and not isinstance(callback, WITHOUT_STATE):
            logging.warning(
                "The state of the callback `%s` is not kept, since it has no `get_state` and "
                "`set_state`: after a kill it begins anew.",
                type(callback).__name__,
            )


def _check(name: str, value: Any, where: str) -> None:
    """Refuse what a file cannot hold; `where` is the expression that gives the value."""
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise ValueError(
                    f"The state of the callback `{name}` should have strings as keys. "
                    f"Received: the key {key!r} of `{where}`"
                )
            _check(name, each, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for i, each in enumerate(value):
            _check(name, each, f"{where}[{i}]")
    elif not backup_files.can_hold(value):
        raise ValueError(
            f"The state of the callback `{name}` should be made of dicts, lists, arrays, strings, "
            f"numbers, bools and None. Received: {value!r}, which is `{where}`"
        )


def _attributes(callback: Any) -> tuple[str, ...] | None:
    """What is kept of one of Keras's callbacks; `None` for one that has methods for it."""
    if hasattr(callback, "get_state") and hasattr(callback, "set_state"):
        return None
    return next((a for kind, a in ATTRIBUTES.items() if isinstance(callback, kind)), ())


def _keeps(callback: Any) -> bool:
    return _attributes(callback) != ()
