"""Devices by short names, and variables that move from one to another."""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf


def check_device(argument: str, name: Any) -> str:
    """The full name of a device that is there.

    Args:
        argument: what it was given as, for the message.
        name: a name such as `"GPU:1"` or `"/device:CPU:0"`.

    Raises:
        ValueError: if there is no such device.
    """
    found = [
        f"{device.device_type}:{_number(device)}" for device in tf.config.list_logical_devices()
    ]
    short = name.upper().removeprefix("/").removeprefix("DEVICE:") if isinstance(name, str) else ""
    if short not in found:
        raise ValueError(
            f"`{argument}` should be one of the devices that TensorFlow sees, {found}. "
            f"Received: {name!r}"
        )
    return f"/device:{short}"


def _number(device: Any) -> str:
    return device.name.rsplit(":", 1)[1]


def move(variables: Iterable[keras.Variable], device: str) -> None:
    """Have variables live on a device.

    Args:
        variables: Keras variables that no optimizer was built for yet.
        device: its name.
    """
    for variable in variables:
        value = tf.convert_to_tensor(variable.value)
        with tf.device(device):
            # Keras makes variables where they are needed first, and has no way to move them.
            variable._initialize(tf.identity(value))
