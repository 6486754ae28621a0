"""One task of a model as a plain Keras model with one tensor out."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.analysis.explanation import drawn
from mtlzoo.models import graph


class Pinned(keras.layers.Layer):
    """Constants with as many rows as another tensor has.

    Args:
        rows: array with a first axis of 1, which is repeated, or of as many rows as will be asked.
        shape: of the rows that it may hold, `None` where they may be of any size.
        **kwargs: those of `keras.layers.Layer`.
    """

    def __init__(self, rows: Any, shape: Sequence[int | None], **kwargs: Any) -> None:
        super().__init__(trainable=False, autocast=False, **kwargs)
        rows = np.asarray(rows)
        # A variable, since functions that were traced before must see what it is changed to. In
        # a tuple, since it is no weight of the layer.
        with tf.init_scope():
            self._held = (tf.Variable(rows, shape=tf.TensorShape(shape), trainable=False),)
        self._row = tuple(shape[1:])

    def pin(self, rows: Any) -> None:
        """Hold other rows from now on."""
        self._held[0].assign(rows)

    def call(self, like: Any) -> Any:
        """The rows for a batch like this one."""
        rows = tf.convert_to_tensor(self._held[0])
        count, held = tf.shape(like)[0], tf.shape(rows)[0]
        index = tf.where(held == 1, tf.zeros((count,), "int32"), tf.range(count))
        return tf.gather(rows, index)

    def compute_output_spec(self, like: Any) -> Any:
        """Said here, since symbolic tensors would be taken for the rows."""
        dtype = keras.backend.standardize_dtype(self._held[0].dtype)
        return keras.KerasTensor((like.shape[0], *self._row), dtype)


class Instead(keras.layers.Layer):
    """Reads two tensors and hands on the second, with the mask of the first."""

    supports_masking = True

    def call(self, tensors: Any) -> Any:
        """The second."""
        return tensors[1]

    def compute_output_spec(self, tensors: Any) -> Any:
        """That of the second."""
        return keras.KerasTensor(tensors[1].shape, tensors[1].dtype)

    def compute_mask(self, tensors: Any, mask: Any = None) -> Any:
        """That of the first."""
        return None if mask is None else mask[0]


def task_view(
    model: keras.Model,
    task: str,
    *,
    wrt: str | None = None,
    pinned: Mapping[str, Any] | None = None,
    layer: str | None = None,
) -> keras.Model:
    """One task as a plain Keras model that puts out one tensor, for whatever explains models.

    It shares the model's variables, and has in it only what the task depends on, with the
    layers of models inside as its own. Explainers such as tf-keras-vis and SHAP fail on dicts of
    outputs, take a layer of another task for one of this task, or do not see layers inside.

    Args:
        model: A `MultiTaskModel`, or another functional Keras model with a dict of outputs.
        task: The task.
        wrt: The input that remains open. Defaults to `None`, all that are not pinned.
        pinned: By name of the other inputs what they hold: arrays of one row, which
            goes with all rows, or of as many rows as the view is called with. Defaults to none.
        layer: Name of a layer, `"encoder/embedding"` of one inside a model, whose output becomes
            the input of the view: for token ids, which have no gradient, their embedding. All
            inputs that the task otherwise depends on are to be pinned then. Defaults to `None`.

    Returns:
        A functional model. With one input of several open it takes one tensor, else the structure
        that the model takes. Its output is the raw one of the task.

    Raises:
        ValueError: If there is no such task, input or layer, an input is neither open nor
            pinned, or the task does not depend on what is open.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, CrossModalFusion, Regression, analysis

    inputs = {
        "image": keras.Input((8, 8, 1), name="image"),
        "words": keras.Input((5,), dtype="int32", name="words"),
    }
    encoders = {
        "image": keras.layers.Conv2D(4, 3),
        "words": keras.layers.Embedding(20, 4),
    }
    tasks = [BinaryClassification("click"), Regression("stay")]
    model = CrossModalFusion(inputs, tasks, encoders=encoders)
    words = np.array([[3, 7, 1, 0, 0]])
    view = analysis.task_view(model, "click", wrt="image", pinned={"words": words})
    view(np.zeros((2, 8, 8, 1))).shape  # (2, 1)
    ```
    """
    drawn.check_task(model, task)
    names = drawn.input_names(model)
    pinned = {} if pinned is None else dict(pinned)
    for argument, given in (("wrt", [wrt] if wrt is not None else []), ("pinned", [*pinned])):
        for name in given:
            if name not in names:
                raise ValueError(
                    f"`{argument}` should name inputs of the model, {names}. Received: {name!r}"
                )
    if wrt in pinned:
        raise ValueError(f"`wrt` should not be pinned. Received: wrt={wrt!r}")
    if layer is not None:
        return _from_layer(model, task, layer, pinned)
    opened = [wrt] if wrt is not None else [name for name in names if name not in pinned]
    if opened == names:
        fresh = {name: like(t) for name, t in drawn.tensors_by_name(model).items()}
        output, _ = drawn.draw(model, task, fresh, opened)
        return keras.Model(_structured(model, fresh), output, name=_name(model, task))
    points = {name: like(drawn.tensors_by_name(model)[name]) for name in opened}
    anchor = next(iter(points.values()))
    output = pin_and_draw(model, task, points, pinned, anchor, opened)[0]
    return keras.Model(_structured(model, points), output, name=_name(model, task))


def like(tensor: Any) -> Any:
    """A new `keras.Input` of the same shape and dtype, and where possible name."""
    return keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name.replace("/", "_"))


def empty(tensor: Any, rows: np.ndarray | None = None) -> np.ndarray:
    """A row of nothing for an input, where its size is open of that of `rows`, else of 1."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    sizes = [n or 1 for n in tensor.shape[1:]] if rows is None else rows.shape[1:]
    return np.full((1, *sizes), "", object) if dtype == "string" else np.zeros((1, *sizes), dtype)


def pin_and_draw(
    model: keras.Model,
    task: str,
    opened_tensors: Mapping[str, Any],
    pinned: Mapping[str, Any],
    anchor: Any,
    opened: list[str],
    change: Any = None,
) -> tuple[Any, list[drawn.Place], dict[str, Pinned]]:
    """Draw a task with some inputs open and the others pinned.

    Args:
        model: the model.
        task: the task.
        opened_tensors: by name of an open input, the symbolic tensor in its place.
        pinned: by name of the other inputs, their rows.
        anchor: a symbolic tensor that the view takes: pinned inputs have as many rows.
        opened: names of the inputs that are of interest.
        change: as for `drawn.draw`.

    Returns:
        The output, what all layers put out, and the layers that pin inputs, by name.

    Raises:
        ValueError: if an input is missing that the task depends on.
    """
    tensors = drawn.tensors_by_name(model)
    needed = inputs_of(model, task)
    layers: dict[str, Pinned] = {}
    inputs: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if name in opened_tensors:
            inputs[name] = opened_tensors[name]
            continue
        if name not in pinned and name in needed:
            raise ValueError(
                f"`pinned` should have an entry for the input {name!r}, which task `{task}` "
                f"depends on too. Received: pinned={sorted(pinned)}"
            )
        # What the task does not depend on may be anything.
        rows = pinned[name] if name in pinned else empty(tensor)
        rows = _rows(name, rows, tensor)
        layers[name] = Pinned(rows, (None, *tensor.shape[1:]), name=f"explained_{name}")
        inputs[name] = layers[name](anchor)
    output, places = drawn.draw(model, task, inputs, opened, change)
    return output, places, layers


def inputs_of(model: keras.Model, task: str) -> list[str]:
    """Names of the inputs that a task depends on."""
    found = {id(tensor) for tensor in graph.inputs_of([model.output[task]])}
    return [name for name, t in drawn.tensors_by_name(model).items() if id(t) in found]


def _structured(model, tensors):
    """One tensor alone, else the tensors as the model takes them."""
    if len(tensors) == 1 and (len(model.inputs) > 1 or not isinstance(model.input, Mapping)):
        return next(iter(tensors.values()))
    return tensors if isinstance(model.input, Mapping) else list(tensors.values())


def _from_layer(model, task, layer, pinned):
    inputs = {name: like(t) for name, t in drawn.tensors_by_name(model).items()}
    _, places = drawn.draw(model, task, inputs, list(inputs))
    place = find_place(places, layer, task)
    point = keras.Input(place.tensor.shape[1:], dtype="float32", name="explained_point")

    instead = Instead(name="explained_instead", autocast=False)

    def change(found):
        return instead([found.tensor, point]) if found.name == place.name else None

    opened = sorted(place.reads)
    output, _, _ = pin_and_draw(model, task, {}, pinned, point, opened, change)
    return keras.Model(point, output, name=_name(model, task))


def find_place(places: list[drawn.Place], layer: Any, task: str) -> drawn.Place:
    """What the layer of that name puts out.

    Raises:
        ValueError: if the task depends on no such layer, or on several, or on several calls of it.
    """
    if not isinstance(layer, str) or not layer:
        raise ValueError(f"`layer` should be the name of a layer. Received: layer={layer!r}")
    found = [place for place in places if place.name == layer]
    found = found or [place for place in places if place.name.endswith(f"/{layer}")]
    if len(found) == 1:
        return found[0]
    known = list(dict.fromkeys(place.name for place in found or places))
    what = "one layer, called once," if found else "a layer"
    raise ValueError(
        f"`layer` should name {what} that task `{task}` depends on, from {known}. "
        f"Received: layer={layer!r}"
    )


def _name(model: keras.Model, task: str) -> str:
    return f"{model.name}_{task}_view"


def _rows(name: str, rows: Any, tensor: Any) -> np.ndarray:
    """Rows of the shape and dtype of an input."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    rows = np.asarray(rows, object if dtype == "string" else dtype)
    if rows.ndim == len(tensor.shape) - 1:
        rows = rows[None]
    sizes = zip(rows.shape[1:], tensor.shape[1:], strict=False)
    if rows.ndim != len(tensor.shape) or any(b not in (None, a) for a, b in sizes):
        raise ValueError(
            f"`pinned[{name!r}]` should have the shape {tuple(tensor.shape)}. "
            f"Received: shape={rows.shape}"
        )
    return rows
