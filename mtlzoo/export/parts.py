"""What of a model is written: the chosen tasks, what stands in front, the inputs by name."""

import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.models.multi_task_model import MultiTaskModel
from mtlzoo.tasks import Task


@dataclass(frozen=True)
class Parts:
    """What of a model is written.

    Attributes:
        model: the model.
        front: the preprocessor in front of it, or `None`.
        tasks: the chosen tasks by name, in sorted order.
        inputs: what is taken: a tensor of Keras, or a list or dict of them.
    """

    model: MultiTaskModel
    front: keras.Model | None
    tasks: dict[str, Task]
    inputs: Any

    def named(self) -> dict[str, Any]:
        """The inputs by name."""
        if isinstance(self.inputs, Mapping):
            return dict(self.inputs)
        return {tensor.name: tensor for tensor in keras.tree.flatten(self.inputs)}

    def specs(self) -> Any:
        """The TensorFlow specifications of the inputs, in their structure, with any batch."""

        def spec(name, tensor):
            return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=name)

        if isinstance(self.inputs, Mapping):
            return {name: spec(name, tensor) for name, tensor in self.inputs.items()}
        return keras.tree.map_structure(lambda tensor: spec(tensor.name, tensor), self.inputs)

    def rows_by_name(self, rows: Any) -> dict[str, np.ndarray]:
        """Rows as the model takes them, or by name, as arrays by name.

        Args:
            rows: an array, or a list or dict of arrays.

        Raises:
            ValueError: if they are not those of the inputs, or not equally many.
        """
        named = self.named()
        if isinstance(rows, Mapping):
            given = dict(rows)
        else:
            values = rows if isinstance(rows, list | tuple) and len(named) > 1 else [rows]
            given = dict(zip(named, values, strict=True)) if len(values) == len(named) else {}
        if set(given) != set(named):
            received = sorted(rows) if isinstance(rows, Mapping) else type(rows).__name__
            raise ValueError(f"`rows` should be of the inputs {list(named)}. Received: {received}")
        arrays = {name: np.asarray(given[name]) for name in named}
        counts = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
        if len(set(counts.values())) > 1 or not all(counts.values()):
            raise ValueError(
                f"`rows` should have the same number of rows, one or more, by each input. "
                f"Received: {counts}"
            )
        return arrays

    def in_structure(self, named: Mapping[str, Any]) -> Any:
        """Rows by name, as what stands first takes them.

        Args:
            named: a value for each input.
        """
        if isinstance(self.inputs, Mapping):
            return dict(named)
        return keras.tree.map_structure(lambda tensor: named[tensor.name], self.inputs)


def parts(model: Any, tasks: Any = None, preprocessor: Any = "own") -> Parts:
    """What of a model is written.

    Args:
        model: the model.
        tasks: list of names of tasks. Defaults to all.
        preprocessor: what stands in front. Defaults to `"own"`, that of the model.

    Raises:
        ValueError: as `mtlzoo.export.save` says.
    """
    chosen = _choose(model, tasks)
    front = _front(model, preprocessor)
    return Parts(model, front, chosen, _inputs_of(front or model))


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
        names = model.task_names
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
    if "signatures" in names:
        raise ValueError(
            "A served task should not be called 'signatures', which a SavedModel has for itself. "
            f"Received: tasks={list(names)!r}"
        )
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


def check_keywords(names: Any) -> None:
    """Check the names of inputs, which callers of a signature write as keywords.

    Args:
        names: the names.

    Raises:
        ValueError: if one cannot be a keyword, or two differ in case only.
    """
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
