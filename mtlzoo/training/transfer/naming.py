"""The variables of a model by names that have the names of its tasks in them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mtlzoo.layers.adapters import LowRankUpdate
from mtlzoo.layers.blended_stage import BlendedStage
from mtlzoo.layers.cross_stitch import CrossStitchUnit
from mtlzoo.layers.nddr import NDDRUnit
from mtlzoo.models import PLE, MultiTaskModel
from mtlzoo.models.hard_sharing import prefix_of

# The state of random generators, which is none of what was learned.
SEEDS = "seed_generator_state"


@dataclass(frozen=True)
class Named:
    """A variable with what identifies it.

    Attributes:
        key: the names of the layers that hold it, and its own. Where Keras gave a layer its name,
            which depends on what was made before, its class and which of these it is, among those
            that serve the same tasks.
        variable: the variable.
        tasks: the names of the tasks that depend on it.
        axis: the axis on which it has a part for each task, if it has one.
        sizes: by name of a task how large its part is, in order; empty for a variable without
            parts. The axis is None where it cannot be taken apart.
    """

    key: str
    variable: keras.Variable
    tasks: frozenset[str]
    axis: int | None
    sizes: Mapping[str, int]


def named_variables(model: MultiTaskModel) -> dict[str, Named]:
    """The variables of a model by their keys, without those of balancers and random generators.

    Args:
        model: a multi-task model.

    Raises:
        ValueError: if two variables have one key, so that they cannot be told apart.
    """
    ownership = model._ownership
    found: dict[str, Named] = {}
    seen: set[int] = set()
    own_names = set(model.task_names)

    def visit(holder: Any, path: str) -> None:
        counts: Counter = Counter()
        for layer in holder._layers:
            if getattr(layer, "beside_graph", False) or id(layer) in seen:
                continue
            seen.add(id(layer))
            kind = _snake_case(type(layer).__name__)
            tasks = frozenset().union(*(ownership.of(v) for v in layer.variables))
            whose = "" if path or tasks == own_names else f"{{{','.join(sorted(tasks))}}}/"
            rest = _of_group(model, layer.name, tasks)
            if rest is not None:
                key = f"{whose}{rest}"
            elif layer.name not in own_names and re.fullmatch(rf"{kind}(_\d+)?", layer.name):
                key = f"{path}{whose}{kind}:{counts[whose, kind]}"
                counts[whose, kind] += 1
            else:
                key = f"{path}{layer.name}"
            inside = {id(v) for part in layer._layers for v in part.variables}
            names: Counter = Counter()
            for variable in layer.variables:
                if id(variable) in inside or variable.name == SEEDS:
                    continue
                own = f"{key}/{variable.name}"
                names[own] += 1
                own += f":{names[own]}" if names[own] > 1 else ""
                if own in found:
                    raise ValueError(
                        "`model` should have layers whose names tell them apart. Received: "
                        f"`{model.name}`, which has `{own}` twice"
                    )
                axis, sizes = _parts(model, layer, variable)
                found[own] = Named(own, variable, ownership.of(variable), axis, sizes)
            # Each task has one of these around the same layer.
            visit(layer, "" if isinstance(layer, BlendedStage | LowRankUpdate) else f"{key}/")

    visit(model, "")
    return found


def _parts(model: Any, layer: Any, variable: keras.Variable) -> tuple[int | None, dict[str, int]]:
    """The axis of a variable that is one of tasks, and the sizes of their parts."""
    count = len(model.task_names)
    if isinstance(layer, CrossStitchUnit) and variable is layer.alpha:
        return 1, dict.fromkeys(model.task_names, variable.shape[1] // count)
    if isinstance(layer, NDDRUnit) and variable is layer.kernel:
        return 0, dict.fromkeys(model.task_names, variable.shape[0] // count)
    if isinstance(model, PLE) and re.fullmatch(r"level_\d+_shared_gate", layer.name):
        return None, dict.fromkeys(model.task_names, 1)  # one weight for each expert of each task
    return None, {}


def parts_of(named: Named) -> dict[str, np.ndarray]:
    """By name of a task its part of the value of a variable that has such.

    Args:
        named: the variable, with an axis.
    """
    value = keras.ops.convert_to_numpy(named.variable)
    ends = np.cumsum(list(named.sizes.values()))[:-1]
    return dict(zip(named.sizes, np.split(value, ends, named.axis or 0), strict=True))


def _snake_case(name: str) -> str:
    """What Keras calls layers of a class that are given no name."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _of_group(model: Any, name: str, tasks: frozenset[str]) -> str | None:
    """The name of a layer without that of the group of tasks whose copy it is, in a tree."""
    for groups in getattr(model, "tree", None) or ():
        for group in groups:
            prefix = f"{prefix_of(group, len(model.task_names))}_"
            of_stage = name.startswith(prefix) and not name.startswith(f"{prefix}tower_")
            if set(group) == tasks and of_stage:
                return name[len(prefix) :]
    return None


def renamed(
    key: str,
    names: Mapping[str, Sequence[str]],
    known: Iterable[str],
    others: Iterable[str],
    tasks: frozenset[str],
) -> str | None:
    """A key with other names of tasks in it; None if one of them has no other.

    Names of tasks may be words of the names of layers, such as `gate`. So what counts as one is
    what the name of a layer begins with, and elsewhere in it that of the only task it serves.

    Args:
        key: a key of `named_variables`.
        names: by name of a task the other, or several for a group that has more of them, or none
            for a group that has one less.
        known: the names that are names of tasks.
        others: the names of the tasks of the other model.
        tasks: those that depend on the variable.
    """
    if key.startswith("{"):
        group, _, rest = key[1:].partition("}/")
        missing = any(name not in names for name in group.split(","))
        new = sorted({new for name in group.split(",") for new in names.get(name, ())})
        if missing or not new:
            return None
        return rest if new == sorted(others) else f"{{{','.join(new)}}}/{rest}"
    layers, slash, own = key.rpartition("/")  # of which the last is no name of a layer
    found = []
    for layer in layers.split("/"):
        start, group, end = _around_tasks(layer, known, tasks)
        if not all(names.get(name) for name in group):
            return None
        found.append(start + ".".join(names[name][0] for name in group) + end)
    return "/".join(found) + slash + own


def _around_tasks(layer: str, known: Iterable[str], tasks: frozenset[str]) -> Any:
    """What is before the names of tasks in that of a layer, these names, and what is behind."""
    if re.search(r":\d+$", layer):  # a class, and which of these it is
        return layer, [], ""
    # A longer name may begin with a shorter one. `PLE`, `NDDR` and `CrossStitch` put a word before.
    some = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    end = r"(?![A-Za-z0-9])"
    found = re.match(rf"(?:level_\d+_|fusion_|stitch_)?((?:{some})(?:\.(?:{some}))*){end}", layer)
    if found is None and len(tasks) == 1:
        found = re.search(rf"(?<![A-Za-z0-9])({re.escape(next(iter(tasks)))}){end}", layer)
    if found is None:
        return layer, [], ""
    return layer[: found.start(1)], found[1].split("."), layer[found.end(1) :]
