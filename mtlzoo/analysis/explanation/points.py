"""Where in a model an explanation is measured: inputs, embeddings of ids, layers, maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtlzoo.analysis.explanation import drawn
from mtlzoo.analysis.explanation.drawn import Place
from mtlzoo.analysis.explanation.task_view import find_place, inputs_of, like
from mtlzoo.analysis.explanation.views import Point, View, kept
from mtlzoo.models import graph

# What belongs to a convolution: normalization, activation, sums with a shortcut.
_AFTER = {
    *("Activation", "ELU", "Gelu", "LeakyReLU", "PReLU", "ReLU", "Relu", "Silu"),
    *("Add", "BatchNormalization", "GroupNormalization", "LayerNormalization"),
}
_INSTEAD = (
    "methods that need no map are 'integrated_gradients', 'saliency' and 'smooth_grad', and "
    "`mtlzoo.analysis.permutation_importance`"
)


def view_of(model: keras.Model, task: str, wrt: Any = None, layer: str | None = None) -> View:
    """The view for methods that measure at inputs, or at a layer in their place.

    Args:
        model: the model.
        task: the task.
        wrt: name or names of inputs; `None` for all that the task depends on.
        layer: name of the layer in place of inputs. Defaults to none.

    Raises:
        ValueError: if there is no such task, input or layer, or no number that has a gradient.
    """
    drawn.check_task(model, task)
    names = _named_inputs(model, task, wrt)
    key = (task, tuple(names), layer)
    return kept(model, key, lambda: _view(model, task, names, wrt is not None, layer))


def view_with_map(model: keras.Model, task: str, wrt: Any = None, layer: str | None = None) -> View:
    """The view for methods that make a map of what a convolution puts out.

    Args:
        model: the model.
        task: the task.
        wrt: name of the input that the map is about; `None` where one only is convolved.
        layer: name of the layer that puts out what the map is made of; `None` for the last one.

    Raises:
        ValueError: if there is no such task, input or layer, or none that could give a map.
    """
    drawn.check_task(model, task)
    names = _named_inputs(model, task, wrt)
    key = (task, tuple(names), layer, "map")
    return kept(model, key, lambda: _with_map(model, task, names, layer))


def _named_inputs(model: keras.Model, task: str, wrt: Any) -> list[str]:
    needed = inputs_of(model, task)
    if wrt is None:
        return needed
    names = [wrt] if isinstance(wrt, str) else wrt
    if not isinstance(names, Sequence) or not names or not set(names) <= set(needed):
        raise ValueError(
            f"`wrt` should name inputs that task `{task}` depends on, from {needed}. "
            f"Received: wrt={wrt!r}"
        )
    return list(dict.fromkeys(names))


def survey(model: keras.Model, task: str, names: Sequence[str] | None = None) -> list[Place]:
    """What all layers put out that a task depends on, inputs first.

    Args:
        model: the model.
        task: the task.
        names: inputs; models inside that read them are taken apart. Defaults to all.
    """
    names = inputs_of(model, task) if names is None else names

    def make():
        inputs = {name: like(t) for name, t in drawn.tensors_by_name(model).items()}
        return drawn.draw(model, task, inputs, names)[1]

    return kept(model, (task, tuple(names), "survey"), make)


def _view(model, task, names, asked, layer):
    places = survey(model, task, names)
    if layer is not None:
        place = find_place(places, layer, task)
        if not place.is_float or not place.reads & set(names):
            raise ValueError(
                f"`layer` should put out numbers that depend on {names}. Received: layer={layer!r}"
            )
        return View(model, task, [Point(place.name, place)], names)
    found: list[Point] = []
    left_out, notes = [], []
    for name in names:
        own, rest = _points(name, drawn.tensors_by_name(model), places)
        if not own and asked:
            raise ValueError(
                f"`wrt` should name inputs of numbers, or of ids that are embedded. Received: "
                f"{name!r}, of which task `{task}` has no gradient; "
                "`mtlzoo.analysis.permutation_importance` needs none"
            )
        found += own
        left_out += [] if own else [name]
        notes += [_held(name, rest)] if own and rest else []
    if not found:
        raise ValueError(
            f"Task `{task}` should depend on numbers, or on ids that are embedded. Received: "
            f"inputs {names} without a gradient; `mtlzoo.analysis.permutation_importance` needs "
            "none"
        )
    if left_out:
        notes.insert(0, f"Held fixed, since they have no gradient: {', '.join(left_out)}.")
    return View(model, task, found, names, notes=" ".join(notes))


def _held(name: str, rest: Sequence[Place]) -> str:
    made = ", ".join(f"`{place.name}`" for place in rest)
    return f"Of `{name}`, what {made} puts out is held fixed too."


def _points(
    name: str, inputs: Mapping[str, Any], places: Sequence[Place]
) -> tuple[list[Point], list[Place]]:
    """Where the attribution of an input is measured: ids wherever they are made vectors.

    Returns:
        The points, whose attributions are to be added up, and where else it becomes numbers.
    """
    tensor = inputs[name]
    if drawn.is_float(tensor):
        return [Point(name)], []
    if "int" not in keras.backend.standardize_dtype(tensor.dtype):
        return [], []
    rank = len(tensor.shape)
    # Flags may say which ids are there.
    flags = {other for other, t in inputs.items() if _is_flag(t)}
    own = [place for place in places if place.reads - flags == {name}]
    first = [place for place in own if place.is_float and not place.from_numbers]
    vectors = [p for p in first if len(p.tensor.shape) == rank + 1]
    # Whole numbers that are rescaled, such as the bytes of pictures; a mask is no vector.
    numbers = [p for p in first if len(p.tensor.shape) == rank and rank > 2]
    chosen = vectors or numbers
    rest = [p for p in first if p not in chosen and _reads_ids(p)]
    return [Point(name, place, embeds=bool(vectors)) for place in chosen], rest


def _reads_ids(place: Place) -> bool:
    """Whether it makes numbers of ids themselves, and not of which are there."""
    history = place.tensor._keras_history
    read = history.operation._inbound_nodes[history.node_index].input_tensors
    return any("int" in keras.backend.standardize_dtype(t.dtype) for t in read)


def _with_map(model, task, names, layer):
    places = _before_head(survey(model, task, names), task)
    places = [p for p in places if p.is_float and p.reads & set(names)]
    inputs = drawn.tensors_by_name(model)
    usable = [p for p in places if _is_map(p, inputs)]
    if layer is not None:
        place = _named(places, usable, layer, task)
    else:
        place = _last(usable)
        if place is None:
            raise ValueError(
                f"`model` should have convolutions, for a map, that task `{task}` depends on. "
                f"Received: none after the inputs {names}; {_INSTEAD}"
            )
    convolved = [place] if layer is not None else [place, *filter(_convolves, usable)]
    sources = {n: _points(n, inputs, places)[0] for p in convolved for n in p.reads & set(names)}
    found = [own for own in sources.values() if own and not own[0].embeds]
    if not found:
        raise ValueError(
            f"`wrt` should name an input of numbers for a map. Received: {sorted(sources)}, whose "
            f"ids are embedded; {_INSTEAD}"
        )
    if len(found) > 1:
        raise ValueError(
            "`wrt` should name the input that the map is about, one of "
            f"{sorted(own[0].name for own in found)}. Received: several that are convolved"
        )
    calls = sum(p.name == place.name for p in places)
    which = f"in the last of {calls} calls " if calls > 1 else ""
    notes = f"The map is made of what `{place.name}` {which}puts out."
    readers = sorted(_readers(model, places, place) - {task})
    if readers:
        one = len(readers) == 1
        who = f"task {readers[0]} depends" if one else f"tasks {', '.join(readers)} depend"
        notes = f"{notes[:-1]}, which {who} on too."
    (own,) = found
    if len(own) > 1:  # a map is laid over the first
        notes += f" {_held(own[0].name, [p.place for p in own[1:] if p.place])}"
    return View(model, task, own[:1], names, place, notes)


def _named(places, usable, layer, task):
    if any(layer in (p.name, p.name.split("/")[-1]) for p in usable):
        return find_place(usable, layer, task)
    known = [p.name for p in usable]
    found = [tuple(p.tensor.shape) for p in places if layer in (p.name, p.name.split("/")[-1])]
    raise ValueError(
        f"`layer` should put out maps with channels, for task `{task}` one of {known}. "
        f"Received: layer={layer!r}, which puts out {found[0] if found else 'nothing for it'}"
    )


def _readers(model, places, place):
    """The tasks that depend on the last variables that the place depends on itself."""
    ownership = graph.read_ownership(model, by_row=False)
    before = places[: places.index(place) + 1]
    variables = [getattr(p.operation, "variables", []) for p in before]
    last = next((found for found in reversed(variables) if found), [])
    return frozenset().union(*map(ownership.of, last))


def _before_head(places, task):
    """What comes before the layer that is named as the task, and is no part of its answer."""
    ends = [i for i, p in enumerate(places) if p.name in (task, f"{task}_projection")]
    return places[: ends[0]] if ends else places[:-1]


def _is_map(place, inputs):
    shape = tuple(place.tensor.shape)
    if len(shape) < 3 or all(n == 1 for n in shape[1:-1]):
        return False
    # A sequence that is made of ids is one of words, and one of several inputs a list of these.
    sources = [inputs[name] for name in place.reads if not _is_flag(inputs[name])]
    return len(shape) > 3 or (len(sources) == 1 and drawn.is_float(sources[0]))


def _is_flag(tensor):
    return keras.backend.standardize_dtype(tensor.dtype) == "bool"


def _convolves(place):
    return hasattr(place.operation, "kernel_size") and not hasattr(place.operation, "pool_size")


def _last(usable):
    """The last convolution, as it is after normalization and activation."""
    convolved = [i for i, place in enumerate(usable) if _convolves(place)]
    if not convolved:
        # Convolutions may be inside of layers that stay whole, such as copies of networks.
        return next((p for p in reversed(usable) if len(p.tensor.shape) > 3), None)
    last = usable[convolved[-1]]
    alike = [p for p in usable[convolved[-1] + 1 :] if p.tensor.shape == last.tensor.shape]
    after = [p for p in alike if type(p.operation).__name__ in _AFTER]
    return after[-1] if after else last
