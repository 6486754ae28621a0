"""Devices by short names, and variables that move from one to another."""

from typing import Any

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
    short = short_name(name) if isinstance(name, str) else ""
    if short not in found:
        raise ValueError(
            f"`{argument}` should be one of the devices that TensorFlow sees, {found}. "
            f"Received: {name!r}"
        )
    return f"/device:{short}"


def short_name(name: str) -> str:
    """The short form of a device's name, such as `"GPU:1"` of `"/device:gpu:1"`."""
    return name.upper().removeprefix("/").removeprefix("DEVICE:")


def _number(device: Any) -> str:
    return device.name.rsplit(":", 1)[1]
