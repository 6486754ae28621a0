"""What has a name: models, balancers, data sets, presets, backbones, tasks."""

import functools
import inspect
from typing import Any

import mtlzoo
from mtlzoo import backbones, balancing, data, models
from mtlzoo.command_line.command import UsageError
from mtlzoo.command_line.spelling import bare, hint, known_as
from mtlzoo.models.architecture import Architecture

KINDS = ("models", "balancers", "data", "presets", "backbones", "tasks")
TITLES = {
    "models": "Models (`mtlzoo train MODEL DATASET`)",
    "balancers": "Balancers (`--balancer=NAME`)",
    "data": "Data sets (`python -m mtlzoo.data NAME --download` prepares those that are not there)",
    "presets": "Presets: trained models, and configurations",
    "backbones": "Backbones (chosen by `mtlzoo train` to fit the data)",
    "tasks": "Tasks: what can be learned",
}


def names(kind: str) -> list[str]:
    """The names of a kind, sorted.

    Args:
        kind: one of `KINDS`.
    """
    return sorted(_things(kind), key=bare)


def words_of(kind: str) -> list[str]:
    """What may be typed in place of a kind: its names, or of `"kinds"` the kinds themselves."""
    return list(KINDS) if kind == "kinds" else names(kind)


def lines(kind: str) -> dict[str, str]:
    """By name what it is, in a line.

    Args:
        kind: one of `KINDS`.
    """
    return {name: _line(kind, name) for name in names(kind)}


def thing(kind: str, name: str) -> Any:
    """What a name stands for: a class, the module of a data set, or the card of a preset."""
    found = _things(kind)[name]
    return found() if kind in ("data", "presets") else found


def named(kind: str, word: str) -> str:
    """The name of a kind that a word stands for, whatever its cases and underscores.

    Raises:
        UsageError: there is none; the message has the nearest ones.
    """
    found = _called(kind, word)
    if found is None:
        raise UsageError(
            f"There is none of the {kind} with the name {word!r}.{hint(word, names(kind))} "
            f"`mtlzoo list {kind}` shows all"
        )
    return found


def find(word: str) -> list[tuple[str, str]]:
    """All kinds and names that a word stands for.

    Raises:
        UsageError: there is none; the message has the nearest ones.
    """
    found = [(kind, name) for kind in KINDS if (name := _called(kind, word)) is not None]
    if not found:
        every = [name for kind in KINDS for name in names(kind)]
        raise UsageError(
            f"Nothing is called {word!r}.{hint(word, every)} `mtlzoo list` shows all names"
        )
    return found


def _called(kind: str, word: str) -> str | None:
    """The name of a kind that a word stands for; a balancer is called by its class, too."""
    found = known_as(word, names(kind))
    if found is None and kind == "balancers":
        classes = {bare(cls.__name__): name for name, cls in _balancers().items()}
        return classes.get(bare(word))
    return found


def _line(kind: str, name: str) -> str:
    found = thing(kind, name)
    if kind == "presets":
        return found.title
    return (inspect.getdoc(found) or "").split("\n\n")[0].replace("\n", " ")


def _things(kind: str) -> dict[str, Any]:
    if kind == "models":
        found = [getattr(models, name) for name in models.__all__]
        return {
            cls.__name__: cls
            for cls in found
            if issubclass(cls, Architecture) and cls is not Architecture
        }
    if kind == "balancers":
        return _balancers()
    if kind == "data":
        return {name: functools.partial(data.loading.module, name) for name in data.names()}
    if kind == "presets":
        from mtlzoo import presets

        return {name: functools.partial(presets.card, name) for name in presets.names()}
    if kind == "backbones":
        found = [getattr(backbones, name) for name in backbones.__all__]
        return {cls.__name__: cls for cls in found if cls is not backbones.Backbone}
    if kind == "tasks":
        of_room = [name for name, room in mtlzoo._WHERE.items() if room == "tasks"]
        return {name: getattr(mtlzoo, name) for name in of_room}
    raise UsageError(f"There is no kind {kind!r}.{hint(kind, KINDS)} Kinds: {', '.join(KINDS)}")


@functools.cache
def _balancers() -> dict[str, type]:
    """Those with a name by it, the others by their class."""
    found: dict[str, type] = {name: type(balancing.get(name)) for name in balancing.names()}
    of_room = [name for name, room in mtlzoo._WHERE.items() if room == "balancing"]
    others = {name: getattr(mtlzoo, name) for name in of_room}
    return found | {name: cls for name, cls in others.items() if cls not in found.values()}
