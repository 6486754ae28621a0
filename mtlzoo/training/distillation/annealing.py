"""Teachers that are listened to less and less."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf


def check(steps: Any) -> None:
    """Refuse anything but a positive integer or `None`.

    Raises:
        ValueError: naming the argument.
    """
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
        raise ValueError(
            "`annealing_steps` should be a positive integer or None. "
            f"Received: annealing_steps={steps!r}"
        )


def weights(
    y: Mapping[str, Any], sample_weight: Any, rises: Mapping[str, bool], step: Any, steps: int
) -> dict[str, Any]:
    """Sample weights that move from the teachers to the labels.

    Args:
        y: the labels by task.
        sample_weight: those of the batch: a dict by task, one tensor for all, or `None`.
        rises: by the name of a task that moves, whether it has labels of its own (its weight rises
            from 0 to 1) or those of a teacher (it falls from 1 to 0).
        step: the variable that counts the steps.
        steps: the number of steps that this takes.
    """
    given = sample_weight
    if not isinstance(given, Mapping):
        given = dict.fromkeys(y, sample_weight)
    part = tf.cast(tf.convert_to_tensor(step.value) + 1, keras.backend.floatx()) / steps
    part = tf.minimum(part, 1)
    found: dict[str, Any] = {}
    for name, labels in y.items():
        weight = given.get(name)
        if name in rises and labels is not None:
            ones = tf.ones(tf.shape(labels)[:1], part.dtype)
            weight = ones if weight is None else tf.cast(weight, part.dtype)
            weight = weight * (part if rises[name] else 1 - part)
        if weight is not None:
            found[name] = weight
    return found
