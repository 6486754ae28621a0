"""What a command is, what it is asked, and what it answers."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from absl import flags


class UsageError(Exception):
    """The words of the command are wrong: exit code 2."""


class Answer(NamedTuple):
    """What a command has found.

    Attributes:
        text: for people.
        document: the same for machines: what JSON can hold.
    """

    text: str
    document: Any


class Request(NamedTuple):
    """What a command is asked.

    Attributes:
        flags: the values of its flags by name.
        words: what stands beside them.
        note: tells people what is going on, on the standard error; silent with `--quiet`.
        verbose: how much Keras shows: 1 bars on a terminal, 2 a line for each epoch, 0 nothing.
        line: the whole command line, as it could be typed again.
    """

    flags: Mapping[str, Any]
    words: Sequence[str]
    note: Callable[[str], None]
    verbose: int
    line: str


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of the program.

    Attributes:
        name: what it is called.
        summary: what it does, in a line.
        words: names of the words beside the flags; those in brackets may be left out, and one that
            ends with three dots may be repeated.
        details: what there is to know about it.
        examples: command lines, without the program.
        define: defines its flags.
        run: does it.
        completes: for each word which names it may be, kinds of the catalogue.
    """

    name: str
    summary: str
    words: tuple[str, ...]
    details: str
    examples: tuple[str, ...]
    define: Callable[[flags.FlagValues], None]
    run: Callable[[Request], Answer]
    completes: tuple[str, ...] = ()

    def new_flags(self) -> flags.FlagValues:
        """Its flags, unparsed, in an object of their own: no flag of another command is among them,
        nor one of the program that calls this one.
        """
        values = flags.FlagValues()
        values.set_gnu_getopt(True)  # flags may stand before and behind words
        self.define(values)
        flags.DEFINE_bool(
            "json", False, "Print one JSON document instead of text.", flag_values=values
        )
        flags.DEFINE_bool(
            "quiet", False, "Say nothing of what is going on.", short_name="q", flag_values=values
        )
        flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
        return values


@contextmanager
def of_words(hint: str = "") -> Iterator[None]:
    """What is refused inside was asked for in words that are wrong.

    Args:
        hint: a sentence that is added to the error. Defaults to `""`.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{error}{'. ' if hint else ''}{hint}") from error
