"""SavedModels for serving: one signature for all tasks and one for each."""

import keyword
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.tasks import Task


def save(
    model: MultiTaskModel,
    path: str | os.PathLike,
    tasks: Sequence[str] | None = None,
    *,
    preprocessor: keras.Model | str | None = "own",
    verbose: bool = False,
) -> str | os.PathLike:
    r"""Write a TensorFlow SavedModel that answers for all tasks together and for each alone.

    The signature `serve`, which is `serving_default` too, answers for all chosen tasks; one more
    signature for each task, named as the task, computes and answers that task only. With a model
    $f$, a preprocessor $p$ and raw rows $x$, the answers are

    $$\mathrm{serve}_t\big(f_t(p(x))\big),$$

    with `Task.serve` as $\mathrm{serve}_t$: the key `<task>`, and for classifiers `<task>_class`.
    The optimizer, the balancer and the heads of tasks that are not chosen are left out. A nested
    model or a layer that also works for a chosen task stays whole.

    Every signature has the same keyword inputs, whether its task needs all of them or not: the raw
    columns by name where there is a preprocessor, else the model's inputs by name. TensorFlow alone
    reads the result: no class of this library is in it.

    The answers are those of `Task.serve` on `model.predict` up to the rounding of float32, 1e-6 for
    answers of order one. In bfloat16 they are those on `model(x)`: `predict` may be compiled by
    XLA, which rounds at other places (5e-3 in a probability over a trunk of three layers).

    Args:
        model: the model; it need not be compiled if it was made with `tasks`.
        path: a new or an empty directory.
        tasks: list of names of the tasks to serve. Defaults to all.
        preprocessor: the model from raw columns to the model's inputs that stands in front.
            Defaults to `"own"`, the model's own if it has one; `None` for none.
        verbose: whether to print the signatures. Defaults to `False`.

    Shapes:
        Inputs `(B, ...)` with any `B`; outputs as `Task.serve` returns them.

    Returns:
        `path`.

    Raises:
        ValueError: for another model, unknown, repeated or no tasks, a preprocessor that is no
            built Keras model, inputs whose names cannot be keywords, tasks that answer under the
            same key, or a path that is taken.

    Example:
    ```python
    import tempfile

    import keras
    import tensorflow as tf
    from mtlzoo import BinaryClassification, HardSharing, Regression, export

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,), name="features"), tasks, shared_units=(16,))
    path = export.save(model, tempfile.mkdtemp())

    served = tf.saved_model.load(path)  # anywhere: `mtlzoo` is not needed
    rows = tf.zeros((2, 8))
    served.serve(rows)  # {"click": (2, 1), "click_class": (2,), "stay": (2, 1)}
    served.signatures["stay"](features=rows)  # {"stay": (2, 1)}, as a server calls it
    keras.layers.TFSMLayer(path, call_endpoint="click")(rows)
    ```

    The attributes `served.serve` and `served.<task>` take what `model.predict` takes (with a
    preprocessor, what the preprocessor takes): a tensor, a list or a dict of tensors.
    """
    chosen = _choose(model, tasks)
    front = _front(model, preprocessor)
    inputs = _inputs_of(front or model)
    _check_keywords(inputs)
    _check_path(path)

    part = keras.Model(model.input, {name: model.output[name] for name in chosen})
    signature = [_specs(inputs)]
    archive = keras.export.ExportArchive()
    models = [part] if front is None else [part, front]
    _track(archive, models)
    archive.add_endpoint("serve", _answering(part, front, chosen), signature)
    for name, task in chosen.items():
        single = _answering(model.single_task(name), front, {name: task})
        archive.add_endpoint(name, single, signature)
    archive.write_out(os.fspath(path), verbose=bool(verbose))
    return path


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
        outputs = model(x, training=False)
        merged: dict[str, Any] = {}
        for name, task in tasks.items():
            served = task.serve(outputs[name])
            taken = merged.keys() & served.keys()
            if taken:
                raise ValueError(
                    f"`serve` of task `{name}` should answer under keys of its own. "
                    f"Received: {sorted(taken)}, which another task answers too"
                )
            merged |= served
        return merged

    return answers


def _choose(model: Any, names: Any) -> dict[str, Task]:
    """The tasks to serve by name, in sorted order."""
    if not isinstance(model, MultiTaskModel):
        raise ValueError(f"`model` should be a `MultiTaskModel`. Received: model={model!r}")
    if not model.tasks:
        raise ValueError(
            "`model` should have tasks: make it with `tasks=`, or `compile` it before the export. "
            f"Received: model={model!r}"
        )
    if names is None:
        return model.tasks
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"`tasks` should be a non-empty list of names. Received: tasks={names!r}")
    for name in names:
        if name not in model.task_names:
            raise ValueError(
                f"`tasks` should be some of the model's tasks {list(model.task_names)}. "
                f"Received: {name!r} in tasks={names!r}"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"`tasks` should have different names. Received: tasks={names!r}")
    return {name: model.tasks[name] for name in sorted(names)}


def _front(model: MultiTaskModel, preprocessor: Any) -> keras.Model | None:
    """The model that stands in front, if any."""
    if isinstance(preprocessor, str) and preprocessor == "own":
        preprocessor = model.preprocessor
    if preprocessor is not None and not isinstance(preprocessor, keras.Model):
        raise ValueError(
            "`preprocessor` should be a Keras model, None, or 'own'. "
            f"Received: preprocessor={preprocessor!r}"
        )
    return preprocessor


def _inputs_of(model: keras.Model):
    """The inputs as the model takes them: a tensor, or a list or dict of tensors."""
    try:
        # A `Sequential` has no `input` before it is called.
        return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    except AttributeError:
        raise ValueError(
            "`preprocessor` should be a functional model, or a Sequential that begins with a "
            f"`keras.Input`. Received: preprocessor={model!r}"
        ) from None


def _specs(inputs):
    """The TensorFlow specifications of `inputs`, in their structure, named and with any batch."""

    def spec(name, tensor):
        return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=name)

    if isinstance(inputs, Mapping):
        return {name: spec(name, tensor) for name, tensor in inputs.items()}
    return keras.tree.map_structure(lambda tensor: spec(tensor.name, tensor), inputs)


def _check_keywords(inputs) -> None:
    names = inputs if isinstance(inputs, Mapping) else [t.name for t in keras.tree.flatten(inputs)]
    seen: dict[str, str] = {}
    for name in names:
        # TensorFlow writes other names differently into a signature, or fails on them; and it
        # calls signatures as methods, so that `self` is taken.
        if (
            not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)
            or keyword.iskeyword(name)
            or name == "self"
        ):
            raise ValueError(
                "The inputs of a served model should have names that can be keywords: ASCII "
                "letters, digits and underscores, a letter first, no keyword of Python and not "
                f"'self'. Received: an input named {name!r}"
            )
        # Inside the SavedModel they are in lower case.
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(
                "The inputs of a served model should have names that differ in more than case. "
                f"Received: inputs named {other!r} and {name!r}"
            )


def _check_path(path: Any) -> None:
    # `tf.io.gfile` also reads remote paths, to which SavedModels may be written.
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"`path` should be the path of a directory. Received: path={path!r}")
    place = os.fspath(path)
    if tf.io.gfile.exists(place) and not (
        tf.io.gfile.isdir(place) and not tf.io.gfile.listdir(place)
    ):
        raise ValueError(f"`path` should be a new or an empty directory. Received: path={place!r}")
