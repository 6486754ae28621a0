"""Help: usage, what a command does, its flags, examples."""

import re
import textwrap
from collections.abc import Iterable

from absl import flags

from mtlzoo.command_line.command import Command

WIDTH = 96
EXIT_CODES = "Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 130 interrupted."


def of_program(commands: Iterable[Command]) -> str:
    """The help of the whole program."""
    listed = list(commands)
    width = max(len(command.name) for command in listed)
    lines = [
        "Usage: mtlzoo COMMAND [WORDS] [--flag=value ...]",
        "",
        "Multi-task learning on Keras: models, balancers, data sets and presets by name.",
        "",
        "Commands:",
        *(f"  {command.name.ljust(width)}  {command.summary}" for command in listed),
        "",
        "Flags:",
        "  --help             Show this help; `mtlzoo COMMAND --help` shows that of a command.",
        "  --version          Show the version.",
        "  --completion=bash  Print a script that completes commands, names and flags:",
        '                     eval "$(mtlzoo --completion=bash)"',
        "",
        "First steps:",
        "  mtlzoo list models",
        "  mtlzoo train MMoE census_income --epochs=3 --out=runs/mmoe",
        "  mtlzoo report runs/mmoe --out=runs/report.html",
        "",
        EXIT_CODES,
    ]
    return "\n".join(lines)


def usage(command: Command) -> str:
    """The usage line of a command."""
    return " ".join(["Usage: mtlzoo", command.name, *command.words, "[--flag=value ...]"])


def of_command(command: Command) -> str:
    """The help of a command."""
    values = command.new_flags()
    shown = [values[name] for name in own_flags(values)]
    width = max(len(_left(flag)) for flag in shown)
    lines = [usage(command), "", command.summary]
    if command.details:
        lines += ["", *command.details.splitlines()]
    lines += ["", "Flags:"]
    for flag in shown:
        room = max(40, WIDTH - width - 4)
        first, *rest = textwrap.wrap(_told(flag), room)
        lines.append(f"  {_left(flag).ljust(width)}  {first}")
        lines += [f"  {' ' * width}  {line}" for line in rest]
    lines += ["", "Examples:", *(f"  mtlzoo {example}" for example in command.examples)]
    return "\n".join([*lines, "", EXIT_CODES])


def own_flags(values: flags.FlagValues) -> list[str]:
    """The names of a command's flags, without short ones, `help` last."""
    return [name for name in values if len(name) > 1]


def _left(flag: flags.Flag) -> str:
    """A flag as it may be written, with its default."""
    if flag.boolean:
        return f"--[no]{flag.name}" if flag.name not in ("help", "json", "quiet") else _short(flag)
    default = flag.default
    if isinstance(default, list):
        default = ",".join(default)
    return f"--{flag.name}={default if default not in (None, '') else flag.name.upper()}"


def _told(flag: flags.Flag) -> str:
    """Its help, without what absl adds to it, and with the values that it may have."""
    text = re.sub(r"^<[^>]*>: |;\s+repeat this option.*$", "", flag.help, flags=re.S)
    values = getattr(flag.parser, "enum_values", None)
    return f"{text} One of {', '.join(values)}." if values else text


def _short(flag: flags.Flag) -> str:
    return f"--{flag.name}" + (f", -{flag.short_name}" if flag.short_name else "")
