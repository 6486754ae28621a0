"""Variables that move from one device to another, and what an optimizer keeps for them."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from mtlzoo.models.optimizer_slots import OptimizerSlots


def move(
    devices: Sequence[tuple[keras.Variable, str | None]], slots: OptimizerSlots | None
) -> None:
    """Have variables live on devices.

    Args:
        devices: variables, each with the name of its device, `None` for where TensorFlow puts it.
        slots: what the optimizer keeps for each, which moves too; `None` without an optimizer.
    """
    keys = {}
    for variable, device in devices:
        old = variable.value
        for each in [variable, *(slots.of(variable) if slots is not None else ())]:
            value = tf.convert_to_tensor(each.value)
            with tf.device(device):
                # Keras makes variables where they are needed first, and has no way to move them.
                each._initialize(tf.identity(value))
        if slots is not None:
            key = slots.optimizer._var_key
            keys[key(old)] = key(variable)
    if slots is not None:
        slots.rename(keys)
