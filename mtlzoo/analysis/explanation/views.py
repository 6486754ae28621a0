"""One task of a model as explainers need it: numbers in, one column for each target out."""

import functools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.analysis.explanation import drawn
from mtlzoo.analysis.explanation.targets import Columns
from mtlzoo.analysis.explanation.task_view import Instead, empty, like, pin_and_draw
from mtlzoo.models import graph
from mtlzoo.tasks import Task

# The layer that hands on what a class activation map is made of.
PENULTIMATE = "explained_penultimate"

# By model, and the ids of its variables, which change with `enable_lora` and `quantize`.
_VIEWS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Point:
    """Where an attribution is measured.

    Attributes:
        name: the input, or the layer.
        place: what is read there; `None` for the input itself.
        embeds: whether it holds a vector for each id, whose sum is the id's attribution.
    """

    name: str
    place: drawn.Place | None = None
    embeds: bool = False


_ALL = slice(None)


class View:
    """One task of a model, open at some points, the other inputs pinned row by row.

    Args:
        model: the model.
        task: the task.
        points: where it is open.
        opened: names of the inputs that are of interest.
        tap: what class activation maps are made of. Defaults to none.
        notes: what should be said about the points. Defaults to `""`.

    Attributes:
        scores: the model from the list of points to columns.
    """

    def __init__(
        self,
        model: keras.Model,
        task: str,
        points: Sequence[Point],
        opened: Sequence[str],
        tap: drawn.Place | None = None,
        notes: str = "",
    ) -> None:
        self.task, self.points, self.notes = task, list(points), notes
        self._inputs = drawn.tensors_by_name(model)
        outside = {p.name: like(self._inputs[p.name]) for p in points if p.place is None}
        # By index, since a layer that is called several times has one name only. The drawing below
        # has the order of the survey that the places are from.
        inside: dict[int, Any] = {}
        for i, place in enumerate(p.place for p in points if p.place is not None):
            shape = place.tensor.shape[1:]
            inside[place.index] = keras.Input(shape, dtype="float32", name=f"explained_point_{i}")

        def change(place):
            tensor = place.tensor
            if place.index in inside:
                instead = Instead(name=f"explained_instead_{place.index}", autocast=False)
                tensor = instead([tensor, inside[place.index]])
            if tap is not None and place.index == tap.index:
                # Float32, since SciPy cannot enlarge bfloat16; new, so that it has one output only.
                tensor = keras.layers.Identity(name=PENULTIMATE, dtype="float32")(tensor)
            return None if tensor is place.tensor else tensor

        order = [inside[p.place.index] if p.place else outside[p.name] for p in points]
        pinned = {n: empty(t) for n, t in self._inputs.items() if n not in outside}
        raw, _, self._pins = pin_and_draw(
            model, task, outside, pinned, order[0], list(opened), change
        )
        columns = Columns(task_of(model, task), name="explained_columns")(raw)
        self.scores = keras.Model(order, columns, name=f"{task}_scores")
        self._both = keras.Model(order, [raw, columns], name=f"{task}_answers")
        places = [p.place.tensor for p in points if p.place]
        self._reader = keras.Model(graph.inputs_of(places), places) if places else None
        self._signature = [tf.TensorSpec(t.shape, t.dtype) for t in order]

    def read(self, x: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """What the points hold for inputs."""
        found = iter(())
        if self._reader is not None:
            by_tensor = {like(t).name: name for name, t in self._inputs.items()}
            given = [x[by_tensor[t.name]] for t in self._reader.inputs]
            outputs = self._reader([tf.convert_to_tensor(g) for g in given], training=False)
            found = iter(outputs if isinstance(outputs, list) else [outputs])
        return [
            np.asarray(tf.cast(next(found), "float32")) if p.place else x[p.name]
            for p in self.points
        ]

    @property
    def is_pinned(self) -> bool:
        """Whether inputs are held fixed."""
        return bool(self._pins)

    def pin(self, x: Mapping[str, np.ndarray], rows: slice = _ALL) -> None:
        """Hold these rows of the inputs that are not open."""
        for name, layer in self._pins.items():
            layer.pin(x[name][rows])

    def answers(self, points: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """The raw outputs and the columns of rows."""
        raw, columns = self._answers([tf.convert_to_tensor(p) for p in points])
        return raw.numpy(), columns.numpy()

    def gradients(self, points: Sequence[Any], index: Any, sign: Any) -> list[np.ndarray]:
        """Those of the rows' columns `index` times `sign`, by each point.

        Raises:
            ValueError: if there is none.
        """
        given = [tf.convert_to_tensor(p) for p in points]
        index, sign = (tf.convert_to_tensor(i, "int32") for i in (index, sign))
        return [gradient.numpy() for gradient in self._compiled(given, index, sign)]

    def check_gradient(self) -> None:
        """Refuse a task that has no gradient by any point.

        Raises:
            ValueError: naming the task.
        """
        _ = self._compiled  # tracing it finds out

    def check_map_gradient(self) -> None:
        """Refuse a task that has no gradient by what maps are made of.

        Raises:
            ValueError: naming the task.
        """
        _ = self._by_map

    # Traced once each, when first asked for; not as a `tf.function`, which would warn of many
    # views as of one function that is traced again and again.

    @functools.cached_property
    def _answers(self):
        def answers(given):
            return self._both(given, training=False)

        return _traced(answers, [self._signature])

    @functools.cached_property
    def _compiled(self):
        rows = tf.TensorSpec((None,), "int32")
        return _traced(self._gradients, [self._signature, rows, rows])

    @functools.cached_property
    def _by_map(self):
        tap = self.scores.get_layer(PENULTIMATE).output
        both = keras.Model(self.scores.inputs, [tap, self.scores.output])

        def gradient(given):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(given)
                made, columns = both(given, training=False)
            found = tape.gradient(columns, made)
            if found is None:
                raise ValueError(
                    f"Task `{self.task}` should have a gradient by what the map is made of. "
                    "Received: a model that rounds or looks something up before or behind it; "
                    "`method='score_cam'` and `mtlzoo.analysis.permutation_importance` need none"
                )
            return found

        return _traced(gradient, [self._signature])

    def _gradients(self, points, index, sign):
        # A tape of its own: what is differentiated is no loss and no variables are watched, so
        # that nothing of `mtlzoo.gradients` has a part in it.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(points)
            columns = self.scores(points, training=False)
            chosen = tf.gather(columns, index, batch_dims=1) * tf.cast(sign, columns.dtype)
        found = tape.gradient(chosen, points)
        if all(gradient is None for gradient in found):
            raise ValueError(
                f"Task `{self.task}` should have a gradient by {[p.name for p in self.points]}. "
                "Received: a model that rounds or looks something up between them; "
                "`mtlzoo.analysis.permutation_importance` needs no gradient"
            )
        pairs = zip(found, points, strict=True)
        return [tf.zeros_like(p) if g is None else tf.convert_to_tensor(g) for g, p in pairs]


def _traced(function, signature):
    made = tf.function(function, input_signature=signature, autograph=False)
    return made.get_concrete_function()


def kept(model: keras.Model, key: Any, make: Any) -> Any:
    """What was made for this model before under this key, or is made now."""
    variables = tuple(map(id, model.variables))
    known, made = _VIEWS.get(model, (None, {}))
    if known != variables:
        made = {}
        _VIEWS[model] = variables, made
    if key not in made:
        made[key] = make()
    return made[key]


def task_of(model: keras.Model, name: str) -> Task | None:
    """The task of that name, if the model knows its tasks."""
    return getattr(model, "tasks", {}).get(name)


def prepared(model: keras.Model, x: Any) -> dict[str, np.ndarray]:
    """Rows for a model as arrays, by the names of its inputs.

    Raises:
        ValueError: if inputs are missing, have other shapes, differing numbers of rows, or none, or
            `x` is no arrays.
    """
    if isinstance(x, tf.data.Dataset | Iterator):
        raise ValueError(
            f"`x` should be arrays, as the model takes them. Received: {type(x).__name__}"
        )
    return prepared_some(model, drawn.inputs_by_name(model, x))


def prepared_some(model: keras.Model, x: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The same for some of the inputs.

    Raises:
        ValueError: as of `prepared`, and for a name that no input has.
    """
    tensors = drawn.tensors_by_name(model)
    found = {}
    for name, given in x.items():
        if name not in tensors:
            raise ValueError(f"There should be an input {name!r} among {list(tensors)}.")
        dtype = keras.backend.standardize_dtype(tensors[name].dtype)
        rows = np.asarray(given, object if dtype == "string" else dtype)
        shape = tuple(tensors[name].shape)
        if rows.ndim == len(shape) - 1 and rows.ndim and shape[-1] == 1:
            rows = rows[..., None]
        sizes = zip(rows.shape[1:], shape[1:], strict=False)
        if rows.ndim != len(shape) or any(b not in (None, a) for a, b in sizes):
            raise ValueError(
                f"`x` should have rows of the shape {shape} for the input {name!r}. "
                f"Received: shape={rows.shape}"
            )
        found[name] = rows
    counts = {name: len(rows) for name, rows in found.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ValueError(
            f"`x` should have as many rows for each input, at least one. Received: {counts}"
        )
    return found


def slices(count: int, size: int) -> Iterator[slice]:
    """Rows in batches."""
    return (slice(start, start + size) for start in range(0, count, size))
