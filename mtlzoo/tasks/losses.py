"""What a task has to know about a loss: its logits, its cells, its labels."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import keras

Loss: TypeAlias = keras.losses.Loss | Callable[[Any, Any], Any]

# Losses that Keras defines cell by cell and then averages over the last axis. All others need the
# whole row.
_OF_CELLS = (
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
    keras.losses.Hinge,
    keras.losses.Huber,
    keras.losses.LogCosh,
    keras.losses.MeanAbsoluteError,
    keras.losses.MeanAbsolutePercentageError,
    keras.losses.MeanSquaredError,
    keras.losses.MeanSquaredLogarithmicError,
    keras.losses.Poisson,
    keras.losses.SquaredHinge,
)

# Losses of one class among many whose labels Keras wants one-hot.
_OF_ONE_HOT = (
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.CategoricalGeneralizedCrossEntropy,
    keras.losses.CategoricalHinge,
    keras.losses.KLDivergence,
)

_CLASSES = {n.lower(): c for n, c in vars(keras.losses).items() if inspect.isclass(c)}


def resolve(name: str, identifier: Any, from_logits: bool | None) -> Loss:
    """The loss object or function that `identifier` means for a task.

    Args:
        name: The task's name, for messages.
        identifier: A Keras loss or its name, configuration or function, or any function
            `fn(y_true, y_pred)` of one value per row.
        from_logits: Whether the task's outputs are logits; `None` if no such thing is known.

    Returns:
        A `keras.losses.Loss`, or a function as it was given.

    Raises:
        ValueError: If Keras does not know `identifier`, if its reduction is `"sum"`, or if its
            `from_logits` is not the task's.
    """
    try:
        loss = keras.losses.get(identifier)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"The loss of task `{name}` should be a Keras loss, the name of one, or a function "
            f"`fn(y_true, y_pred)`. Received: loss={identifier!r}"
        ) from error
    if not isinstance(identifier, keras.losses.Loss | dict):
        cls = type(loss) if isinstance(loss, keras.losses.Loss) else _class_of(loss)
        if cls is None:
            return loss
        takes_logits = "from_logits" in inspect.signature(cls).parameters
        is_known = takes_logits and from_logits is not None
        loss = cls(from_logits=from_logits) if is_known else cls()
    if loss.reduction == "sum":
        raise ValueError(
            f"The loss of task `{name}` should not have the reduction 'sum': it is divided by the "
            f"number of present labels in the global batch. Received: {type(loss).__name__} with "
            "reduction='sum'"
        )
    own = logits_of(loss)
    if from_logits is not None and own is not None and own != from_logits:
        raise ValueError(
            f"The loss of task `{name}` should have `from_logits={from_logits}`, as the task's "
            f"outputs are {'logits' if from_logits else 'probabilities'}. Received: "
            f"{type(loss).__name__} with from_logits={own}"
        )
    return loss


def _class_of(function: Any) -> type[keras.losses.Loss] | None:
    """The class of one of Keras's own functions."""
    name = getattr(function, "__name__", "")
    if getattr(keras.losses, name, None) is not function:
        return None
    return _CLASSES.get(name.replace("_", ""))


def logits_of(loss: Loss) -> bool | None:
    """Whether a loss takes logits; `None` where it does not say."""
    if not isinstance(loss, keras.losses.Loss):
        return None
    return loss.get_config().get("from_logits")


def is_of_cells(loss: Loss) -> bool:
    """Whether the loss of a row is the mean over its cells, so that cells can be masked."""
    return type(loss) in _OF_CELLS and getattr(loss, "axis", -1) == -1


def is_of_one_hot(loss: Loss) -> bool:
    """Whether the loss takes one-hot labels instead of class ids."""
    return isinstance(loss, _OF_ONE_HOT)
