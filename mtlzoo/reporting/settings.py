"""What a training was made of, in words: architecture, balancer, optimizer, machine, versions."""

import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

import mtlzoo
from mtlzoo.models import MultiTaskModel
from mtlzoo.models.architecture import Architecture

PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "numpy", "matplotlib")


def parameters(model: MultiTaskModel) -> dict[str | None, int]:
    """The number of parameters that each task has for itself; by `None`, of those shared.

    Args:
        model: A multi-task model.
    """
    owners: dict[str | None, Any] = {None: model.shared_variables}
    owners |= {name: model.task_variables(name) for name in model.task_names}
    return {name: sum(math.prod(v.shape) for v in owned) for name, owned in owners.items()}


def of_model(model: MultiTaskModel) -> dict[str, str]:
    """The architecture with its arguments, the balancer, the optimizer and the loss weights.

    Args:
        model: A compiled multi-task model.
    """
    arguments = model._held.arguments if isinstance(model, Architecture) else {}
    told = {
        "architecture": _call(type(model).__name__, arguments),
        "balancer": _of_config(model.balancer),
        "optimizer": _of_config(model.optimizer),
    }
    weights = model._step.objectives.loss_weights
    if weights is not None:
        pairs = zip(model.task_names, weights, strict=True)
        told["loss weights"] = ", ".join(f"{name} {weight:g}" for name, weight in pairs)
    return told


def machine() -> str:
    """The system, the number of processors, and the accelerators."""
    devices = [d for d in tf.config.list_physical_devices() if d.device_type != "CPU"]
    kinds = ", ".join(sorted(d.device_type for d in devices)) or "no accelerator"
    system = f"{platform.system()} {platform.machine()}"
    return f"{system}, {os.cpu_count()} processors, {kinds}"


def versions() -> dict[str, str]:
    """The versions of Python, of this package, and of those that it stands on."""
    found = {"Python": platform.python_version(), "mtlzoo": mtlzoo.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _of_config(thing: Any) -> str:
    config = {key: each for key, each in thing.get_config().items() if key != "name"}
    return _call(type(thing).__name__, config)


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    """As it would stand in a program, without what is `None`."""
    told = [f"{key}={_value(each)}" for key, each in arguments.items() if each is not None]
    return f"{name}({', '.join(told)})"


def _value(thing: Any) -> str:
    """A value in short: of what has a configuration the class and its numbers."""
    if isinstance(thing, float):
        return f"{thing:.6g}"
    if isinstance(thing, bool | int | str):
        return repr(thing)
    if isinstance(thing, Mapping) and "class_name" in thing:  # serialized by Keras
        config = thing.get("config")
        own = config if isinstance(config, Mapping) else {}
        return _call(str(thing["class_name"]), {k: v for k, v in own.items() if k != "name"})
    if isinstance(thing, Mapping):
        return "{" + ", ".join(f"{key!r}: {_value(each)}" for key, each in thing.items()) + "}"
    if isinstance(thing, list | tuple):
        return "[" + ", ".join(_value(each) for each in thing) + "]"
    if isinstance(thing, keras.Model):
        return f"{type(thing).__name__} {thing.name!r}"
    return type(thing).__name__
