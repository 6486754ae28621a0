"""The program: which command, which flags, which exit code."""

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Sequence

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
from mtlzoo.command_line.command import Answer, Command, Request, UsageError
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
    if first in ("--help", "-h", "help") and len(argv) < 2:
        print(help_text.of_program(COMMANDS.values()))
        return DONE
    if first == "--version":
        print(f"mtlzoo {mtlzoo.__version__}")
        return DONE
    if first.startswith("--completion"):
        return _complete(argv)
    if first not in COMMANDS:
        return _wrong(f"There is no command {first!r}.{hint(first, COMMANDS)}", "mtlzoo --help")
    return _run(COMMANDS[first], argv[1:])


def _complete(argv: list[str]) -> int:
    shell = argv[0].partition("=")[2] or (argv[1] if len(argv) > 1 else "")
    if shell != "bash":
        return _wrong(f"`--completion` should be 'bash'. Received: {shell!r}", "mtlzoo --help")
    print(completion.bash(COMMANDS.values()))
    return DONE


def _wrong(message: str, see: str) -> int:
    print(f"mtlzoo: {message}\nSee `{see}`.", file=sys.stderr)
    return WRONG


def _run(command: Command, argv: list[str]) -> int:
    """Parse the flags of a command and run it."""
    values = command.new_flags()
    # Before parsing, so that help and errors have their form also where a flag is wrong.
    if {"--help", "-h"} & set(argv):
        print(help_text.of_command(command))
        return DONE
    as_json = "--json" in argv
    try:
        # What libraries print is no answer.
        with contextlib.redirect_stdout(sys.stderr):
            words = _words(command, values, argv)
            as_json = bool(values["json"].value)
            answer = command.run(_request(command, values, words, argv))
    except UsageError as error:
        print(
            f"mtlzoo {command.name}: {error}\nSee `mtlzoo {command.name} --help`.", file=sys.stderr
        )
        return _failed(WRONG, error, as_json)
    except (ValueError, ImportError, OSError) as error:
        print(f"mtlzoo {command.name}: {error}", file=sys.stderr)
        return _failed(FAILED, error, as_json)
    except KeyboardInterrupt as error:
        print(f"mtlzoo {command.name}: interrupted", file=sys.stderr)
        return _failed(INTERRUPTED, error, as_json)
    _print(answer, as_json)
    return DONE


def _words(command: Command, values: flags.FlagValues, argv: list[str]) -> list[str]:
    """The words beside the flags, checked."""
    try:
        words = values(["mtlzoo", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        near = hint(error.flagname, help_text.own_flags(values))
        raise UsageError(f"There is no flag `--{error.flagname}`.{near}") from error
    except flags.Error as error:
        raise UsageError(str(error)) from error
    least = sum(not word.startswith("[") for word in command.words)
    most = len(command.words)
    repeated = any("..." in word for word in command.words)
    if len(words) < least or (len(words) > most and not repeated):
        raise UsageError(
            f"It should be {help_text.usage(command).partition(': ')[2]}. "
            f"Received: {shlex.join(words) or 'no words'}"
        )
    return words


def _request(
    command: Command, values: flags.FlagValues, words: list[str], argv: list[str]
) -> Request:
    given = values.flag_values_dict()
    quiet = given["quiet"]

    def note(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    verbose = 0 if quiet else 1 if sys.stderr.isatty() else 2
    line = shlex.join(["mtlzoo", command.name, *argv])
    return Request(given, words, note, verbose, line)


def _failed(code: int, error: BaseException, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": str(error), "exit_code": code}))
    return code


def _print(answer: Answer, as_json: bool) -> None:
    text = json.dumps(plain(answer.document), indent=2) if as_json else answer.text
    try:
        print(text, flush=True)
    except BrokenPipeError:  # such as `mtlzoo list | head`
        sys.stdout = io.StringIO()
