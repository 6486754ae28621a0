"""What teachers say of a data set, kept on disk."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from mtlzoo.training.distillation.distillation import Distillation


def precompute(
    model: Distillation, dataset: tf.data.Dataset, path: str | os.PathLike
) -> tf.data.Dataset:
    """Ask the teachers about every batch once, and keep the batches with what they said.

    Trained on what this returns, the model runs no teacher. Whole batches are kept: rows may be
    shuffled and batched anew afterwards (`.unbatch().shuffle(...).batch(...)`), but whatever
    augments inputs has to come before, and is then the same in every epoch.

    Args:
        model: the student with its teachers.
        dataset: batches `(x, y)` or `(x, y, sample_weight)`, with an end.
        path: a folder that is not there yet, or one that this has written for the same teachers and
            a data set of the same form: then that is read, whatever rows the data set has by now.

    Returns:
        The batches, with what the teachers said among the labels.

    Raises:
        ValueError: if the data set has no end or no labels by task, or `path` has something else.

    Example:
    ```python
    import tempfile

    import keras
    import numpy as np
    import tensorflow as tf
    from mtlzoo import HardSharing, Regression
    from mtlzoo.training import Distillation, precompute

    tasks = [Regression("stay")]
    teacher = HardSharing(keras.Input((8,), name="x"), tasks, shared_units=(64,))
    model = Distillation(teacher.student(0.25), teacher)
    x, y = np.ones((32, 8), "float32"), {"stay": np.ones((32, 1), "float32")}
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    rows = precompute(model, rows, tempfile.mkdtemp() + "/said")
    sorted(rows.element_spec[1])  # ['stay', 'stay_soft']
    ```
    """
    if not isinstance(model, Distillation):
        raise ValueError(f"`model` should be a `Distillation`. Received: model={model!r}")
    if model._held.arguments["online"]:
        raise ValueError(
            "`model` should have teachers that do not change, or what they say would be out of "
            "date. Received: a model with online=True"
        )
    if not isinstance(dataset, tf.data.Dataset):
        raise ValueError(f"`dataset` should be a `tf.data.Dataset`. Received: dataset={dataset!r}")
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) < 2 or not isinstance(spec[1], Mapping):
        raise ValueError(
            "`dataset` should have elements `(x, y)` or `(x, y, sample_weight)` with labels by "
            f"task. Received: elements {spec}"
        )
    for name in spec[1]:
        if name not in model.tasks:
            raise ValueError(
                f"`dataset` should have labels of the tasks {list(model.task_names)} only. "
                f"Received: {name!r}"
            )
    ranks = [[len(t.shape) for t in keras.tree.flatten(x)] for x in (spec[0], model.input)]
    if ranks[0] != ranks[1]:
        raise ValueError(
            "`dataset` should have batches of the student's inputs. "
            f"Received: inputs {spec[0]}, where the student has {model.input}"
        )
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError("`dataset` should have an end. Received: an infinite data set")
    folder = Path(path)
    note = json.dumps({"teachers": _digest(model), "elements": repr(spec)}, indent=1)
    written = folder / "teachers.json"
    if written.is_file() and written.read_text("utf-8") == note:
        return tf.data.Dataset.load(str(folder / "batches"))
    if folder.exists():
        raise ValueError(
            "`path` should be a folder that is not there yet, or one that was written for these "
            f"teachers and this form of data. Received: path={str(path)!r}"
        )
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.unfinished")
    try:
        _said(model, dataset).save(str(unfinished / "batches"))
        (unfinished / written.name).write_text(note, "utf-8")
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return tf.data.Dataset.load(str(folder / "batches"))


def _said(model, dataset):
    """The data set with what the teachers say, computed outside of its graph, where devices are."""
    ask = tf.function(model.teacher_labels, reduce_retracing=True)

    def any_batch(tensors):
        return keras.tree.map_structure(
            lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), tensors
        )

    inputs, labels, *weights = any_batch(dataset.element_spec)
    said = any_batch(ask.get_concrete_function(inputs).structured_outputs)

    def elements():
        for x, y, *weights in dataset:
            yield (x, {**ask(x), **y}, *weights)

    whole = (inputs, {**said, **labels}, *weights)
    return tf.data.Dataset.from_generator(elements, output_signature=whole)


def _digest(model) -> str:
    """The checksum of what the teachers are, and of what of them is asked."""
    found = hashlib.sha256()
    for name, teacher in sorted(model.teachers.items()):
        found.update(name.encode())
        for variable in teacher.variables:
            found.update(keras.ops.convert_to_numpy(variable).tobytes())
    config = model.get_config()
    asked = {key: config[key] for key in ("teachers", "teacher_of", "temperature", "hints")}
    found.update(json.dumps(asked, default=str, sort_keys=True).encode())
    return found.hexdigest()
