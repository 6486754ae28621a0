"""The program: which command, which flags, which exit code."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TextIO

import tensorflow as tf
from absl import flags, logging

import mtlzoo
from mtlzoo.command_line import (
    completion,
    describing,
    evaluating,
    explaining,
    exporting,
    help_text,
    listing,
    report_page,
    training,
)
from mtlzoo.command_line.command import Command, Request, UsageError
from mtlzoo.command_line.spelling import hint
from mtlzoo.command_line.tables import plain

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        listing.COMMAND,
        describing.COMMAND,
        training.COMMAND,
        evaluating.COMMAND,
        exporting.COMMAND,
        explaining.COMMAND,
        report_page.COMMAND,
    )
}
DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
# What a command that fails raises: bad data and files, losses that are not finite (arithmetic), no
# memory, and whatever TensorFlow cannot do. Others are mistakes of this program.
_FAILURES = (
    ArithmeticError,
    ImportError,
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
    tf.errors.OpError,
)


def run() -> None:
    """Run the program on the process's command line, and end the process."""
    logging.set_verbosity(logging.ERROR)  # TensorFlow tells much of tracing and of exports
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run the program.

    What is found goes to the standard output, all else to the standard error.

    Args:
        argv: the words and flags of the command line, without the program's name.

    Returns:
        The exit code: 0 done, 1 it failed, 2 the command line is wrong, 130 interrupted.

    Example:
    ```python
    from mtlzoo.command_line import main

    assert main(["list", "tasks"]) == 0
    ```
    """
    argv = list(argv)
    first = argv[0] if argv else "--help"
    if first in ("--help", "-h", "help"):
        if len(argv) < 2:
            return _say(help_text.of_program(COMMANDS.values()), DONE)
        first, argv = argv[1], [argv[1], "--help"]
    if first == "--version":
        if len(argv) > 1:
            return _wrong(f"It should be `mtlzoo --version`. Received: {shlex.join(argv)}")
        return _say(f"mtlzoo {mtlzoo.__version__}", DONE)
    if first.partition("=")[0] == "--completion":
        return _complete(argv)
    if first not in COMMANDS:
        return _wrong(f"There is no command {first!r}.{hint(first, COMMANDS)}")
    return _run(COMMANDS[first], argv[1:])


def _complete(argv: list[str]) -> int:
    shell = argv[0].partition("=")[2] or (argv[1] if len(argv) > 1 else "")
    if shell != "bash":
        return _wrong(f"`--completion` should be 'bash'. Received: {shell!r}")
    return _say(completion.bash(COMMANDS.values()), DONE)


def _wrong(message: str) -> int:
    _note(f"mtlzoo: {message}\nSee `mtlzoo --help`.")
    return WRONG


def _run(command: Command, argv: list[str]) -> int:
    """Parse the flags of a command and run it."""
    values = command.new_flags()
    flags_given = set(argv[: argv.index("--")] if "--" in argv else argv)
    as_json = bool(flags_given & {"--json", "--json=true"})  # so that a wrong flag has its document
    try:
        try:
            words = _parsed(values, argv)
            is_help = bool(values["help"].value)
        except UsageError:  # help has its form also where a flag is wrong
            if not flags_given & {"--help", "-h"}:
                raise
            is_help = True
        if is_help:
            return _say(help_text.of_command(command), DONE)
        as_json = bool(values["json"].value)
        _check_words(command, words)
        # What libraries print is no answer.
        with contextlib.redirect_stdout(sys.stderr):
            answer = command.run(_request(command, values, words, argv))
    except UsageError as error:
        _note(f"mtlzoo {command.name}: {error}\nSee `mtlzoo {command.name} --help`.")
        return _failed(WRONG, error, as_json)
    except _FAILURES as error:
        _note(f"mtlzoo {command.name}: {error}")
        return _failed(FAILED, error, as_json)
    except KeyboardInterrupt:
        _note(f"mtlzoo {command.name}: interrupted")
        return _failed(INTERRUPTED, KeyboardInterrupt("interrupted"), as_json)
    return _say(json.dumps(plain(answer.document), indent=2) if as_json else answer.text, DONE)


def _parsed(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """The words beside the flags."""
    try:
        return values(["mtlzoo", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        near = hint(error.flagname, help_text.own_flags(values))
        raise UsageError(f"There is no flag `--{error.flagname}`.{near}") from error
    except flags.Error as error:
        raise UsageError(str(error)) from error


def _check_words(command: Command, words: list[str]) -> None:
    least = sum(not word.startswith("[") for word in command.words)
    most = len(command.words)
    repeated = any("..." in word for word in command.words)
    if len(words) < least or (len(words) > most and not repeated):
        raise UsageError(
            f"It should be {help_text.usage(command).partition(': ')[2]}. "
            f"Received: {shlex.join(words) or 'no words'}"
        )


def _request(
    command: Command, values: flags.FlagValues, words: list[str], argv: list[str]
) -> Request:
    given = values.flag_values_dict()
    quiet = given["quiet"]

    def note(text: str) -> None:
        if not quiet:
            _note(text)

    verbose = 0 if quiet else 1 if sys.stderr.isatty() else 2
    line = shlex.join(["mtlzoo", command.name, *argv])
    return Request(given, words, note, verbose, line)


def _failed(code: int, error: BaseException, as_json: bool) -> int:
    return _say(json.dumps({"error": str(error), "exit_code": code}), code) if as_json else code


def _note(text: str) -> None:
    """Tell people something, if they still listen."""
    with contextlib.suppress(OSError):
        _print(text, sys.stderr)


def _say(text: str, code: int) -> int:
    """Print what was asked for.

    Returns:
        The exit code: `code`, or that of a failure if it cannot be written.
    """
    try:
        _print(text, sys.stdout)
    except BrokenPipeError:  # such as `mtlzoo list | head`
        pass
    except OSError as error:  # such as a full disk
        _note(f"mtlzoo: the answer could not be written: {error}")
        return code or FAILED
    return code


def _print(text: str, stream: TextIO) -> None:
    try:
        print(text, file=stream, flush=True)
    except OSError:
        # What is left in the stream would be written again, and fail again, at the end of Python.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        raise
