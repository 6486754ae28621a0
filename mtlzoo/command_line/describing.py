"""`mtlzoo describe`: what a name stands for."""

import inspect
from typing import Any

from absl import flags

from mtlzoo.command_line import catalogue
from mtlzoo.command_line.command import Answer, Command, Request


def define(values: flags.FlagValues) -> None:
    """It has no flags of its own."""


def run(request: Request) -> Answer:
    """Describe all that the name stands for."""
    found = [
        {"kind": kind, "name": name, **_described(kind, name)}
        for kind, name in catalogue.find(request.words[0])
    ]
    text = "\n\n".join(f"{each['name']} ({each['kind']})\n\n{each['text']}" for each in found)
    return Answer(text, found)


def _described(kind: str, name: str) -> dict[str, Any]:
    """The text of a thing, and what else a machine reads of it."""
    thing = catalogue.thing(kind, name)
    if kind == "presets":
        return {"text": thing.markdown(), "data_set": thing.data_set, "trained": thing.trained}
    text = inspect.getdoc(thing) or ""
    if kind == "data":
        more = f"Prepare the full data: python -m mtlzoo.data {name} --download"
        return {"text": f"{text}\n\n{more}"}
    defaults = {
        each.name: None if each.default is each.empty else repr(each.default)
        for each in inspect.signature(thing).parameters.values()
        if each.kind is not each.VAR_KEYWORD
    }
    called = ", ".join(
        key if default is None else f"{key}={default}" for key, default in defaults.items()
    )
    return {"text": f"{thing.__name__}({called})\n\n{text}", "arguments": defaults}


COMMAND = Command(
    name="describe",
    summary="Describes a model, balancer, data set, preset, backbone or task.",
    words=("NAME",),
    details="Upper and lower case and underscores do not matter: `hard_sharing` is `HardSharing`.",
    examples=("describe MMoE", "describe pcgrad", "describe census_income"),
    define=define,
    run=run,
    completes=("models balancers data presets backbones tasks",),
)
