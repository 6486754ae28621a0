"""TensorFlow's SavedModel: one signature for all tasks and one for each."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.export.exported import Exported
from mtlzoo.export.parts import Parts
from mtlzoo.tasks import Task


def write(parts: Parts, path: str, verbose: bool = False) -> None:
    """Write a SavedModel.

    Args:
        parts: what of the model is written.
        path: a new or an empty directory.
        verbose: whether to print the signatures. Defaults to `False`.
    """
    model, front, chosen = parts.model, parts.front, parts.tasks
    part = keras.Model(model.input, {name: model.output[name] for name in chosen})
    signature = [parts.specs()]
    archive = keras.export.ExportArchive()
    models = [part] if front is None else [part, front]
    _track(archive, models)
    archive.add_endpoint("serve", _answering(part, front, chosen), signature)
    for name, task in chosen.items():
        single = _answering(model.single_task(name), front, {name: task})
        archive.add_endpoint(name, single, signature)
    archive.write_out(path, verbose=verbose)


def _track(archive: keras.export.ExportArchive, models: Sequence[keras.Model]) -> None:
    """Have the archive save what `models` hold, each variable once."""
    # Endpoints find their variables by themselves, but not the tables of string lookups.
    for model in models:
        archive.track(model)
    # `track` lists Keras's variables, which wrap TensorFlow's: both would be written, the file
    # would be twice as large, and the variables listed after loading not those of the endpoints.
    for kind in ("trainable", "non_trainable"):
        weights = [v.value for model in models for v in getattr(model, f"{kind}_weights")]
        archive.add_variable_collection(f"{kind}_variables", weights)
    archive.add_variable_collection(
        "variables", [v.value for model in models for v in model.weights]
    )


def _answering(
    model: keras.Model, front: keras.Model | None, tasks: Mapping[str, Task]
) -> Callable:
    def answers(x) -> dict[str, Any]:
        if front is not None:
            x = front(x, training=False)
        return served(model(x, training=False), tasks)

    return answers


def served(outputs: Mapping[str, Any], tasks: Mapping[str, Task]) -> dict[str, Any]:
    """What a server answers for raw outputs.

    Args:
        outputs: by task.
        tasks: those that are served, by name.

    Raises:
        ValueError: if two of them answer under one key.
    """
    merged: dict[str, Any] = {}
    for name, task in tasks.items():
        answers = task.serve(outputs[name])
        taken = merged.keys() & answers.keys()
        if taken:
            raise ValueError(
                f"`serve` of task `{name}` should answer under keys of its own. "
                f"Received: {sorted(taken)}, which another task answers too"
            )
        merged |= answers
    return merged


def load(path: str | os.PathLike) -> Exported:
    """Load a SavedModel that `mtlzoo.export.save` has written.

    Args:
        path: its directory.

    Raises:
        ValueError: if something else has written it.
    """
    model: Any = tf.saved_model.load(os.fspath(path))
    if "serve" not in model.signatures:
        raise ValueError(
            "A SavedModel that `save` has written should have a signature `serve`. "
            f"Received: {sorted(model.signatures)}"
        )
    signatures = {name: f for name, f in model.signatures.items() if name != "serving_default"}
    _, specs = model.signatures["serve"].structured_input_signature

    def answering(function: Any) -> Callable:
        def answers(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            found = function(**{name: tf.constant(rows[name]) for name in specs})
            return {name: value.numpy() for name, value in found.items()}

        return answers

    return Exported(
        format="tf_saved_model",
        inputs={
            name: ("string" if spec.dtype == tf.string else spec.dtype.name, tuple(spec.shape))
            for name, spec in specs.items()
        },
        signatures={name: answering(function) for name, function in signatures.items()},
        _loaded=model,  # whose variables the signatures only refer to
    )
