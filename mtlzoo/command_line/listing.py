"""`mtlzoo list`: what there is, a line each."""

from absl import flags

from mtlzoo.command_line import catalogue
from mtlzoo.command_line.command import Answer, Command, Request, UsageError
from mtlzoo.command_line.spelling import hint


def define(values: flags.FlagValues) -> None:
    """It has no flags of its own."""


def run(request: Request) -> Answer:
    """List one kind of things, or all."""
    for word in request.words:
        if word not in catalogue.KINDS:
            raise UsageError(
                f"KIND should be one of {', '.join(catalogue.KINDS)}."
                f"{hint(word, catalogue.KINDS)} Received: {word!r}"
            )
    found = {kind: catalogue.lines(kind) for kind in request.words or catalogue.KINDS}
    blocks = []
    for kind, entries in found.items():
        width = max((len(name) for name in entries), default=0)
        named = [f"  {name.ljust(width)}  {line}" for name, line in entries.items()]
        blocks.append("\n".join([catalogue.TITLES[kind], *named]))
    blocks.append("`mtlzoo describe NAME` tells more of each.")
    return Answer("\n\n".join(blocks), found)


COMMAND = Command(
    name="list",
    summary="Lists models, balancers, data sets, presets, backbones and tasks.",
    words=("[KIND]",),
    details=f"KIND is one of {', '.join(catalogue.KINDS)}. Without it all are listed.",
    examples=("list", "list balancers", "list data --json"),
    define=define,
    run=run,
    completes=("kinds",),
)
