"""`name=value` and `name(argument=value)` as Python has them: literals, nothing that is run."""

import ast
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

from mtlzoo.command_line.command import UsageError
from mtlzoo.command_line.spelling import hint


def read(
    flag: str, given: Sequence[str], function: Callable, reserved: Collection[str] = ()
) -> dict[str, Any]:
    """Arguments of a function, from words such as `"num_experts=8"`.

    A value is a Python literal; what is none is text. `64,32` is a tuple, and one number is a tuple
    of it where the function wants a sequence.

    Args:
        flag: the name of the flag, for errors.
        given: the words.
        function: what takes the arguments.
        reserved: arguments that are given otherwise. Defaults to none.

    Raises:
        UsageError: for a word that is no assignment, and an argument that the function does not
            have, or that is given twice.
    """
    taken = {
        name: each
        for name, each in inspect.signature(function).parameters.items()
        if name not in reserved and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }
    found: dict[str, Any] = {}
    for word in given:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise UsageError(f"`--{flag}` should be NAME=VALUE. Received: {word!r}")
        if name not in taken:
            raise UsageError(
                f"`--{flag}` should name an argument of `{_called(function)}`."
                f"{hint(name, taken)} Received: {name!r}; it has {', '.join(taken) or 'none'}"
            )
        if name in found:
            raise UsageError(f"`--{flag}` should give {name!r} once. Received: {word!r} again")
        value = literal(text)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        wants_several = str(taken[name].annotation).startswith("collections.abc.Sequence")
        found[name] = (value,) if is_number and wants_several else value
    return found


def literal(text: str) -> Any:
    """A Python literal, or else the text itself."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text


def call(flag: str, text: str) -> tuple[str, list[str]]:
    """A name and its arguments, from `"cagrad"` or `"cagrad(c=0.4)"`.

    Args:
        flag: the name of the flag, for errors.
        text: the word.

    Returns:
        The name, and assignments for `read`.

    Raises:
        UsageError: it has not this form.
    """
    wrong = UsageError(
        f"`--{flag}` should be NAME or NAME(argument=value, ...). Received: {text!r}"
    )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise wrong from error
    if isinstance(tree, ast.Name):
        return tree.id, []
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.args:
        raise wrong
    if any(keyword.arg is None for keyword in tree.keywords):
        raise wrong
    return tree.func.id, [f"{each.arg}={ast.unparse(each.value)}" for each in tree.keywords]


def by_task(flag: str, given: Sequence[str] | None, tasks: Sequence[str]) -> dict | None:
    """Numbers by task, from words such as `"income=2"`.

    Raises:
        UsageError: for another form, an unknown task, or what is no number.
    """
    if not given:
        return None
    found = {}
    for word in given:
        name, equals, text = word.partition("=")
        value = literal(text)
        if not equals or isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"`--{flag}` should be TASK=NUMBER,... Received: {word!r}")
        if name not in tasks:
            raise UsageError(
                f"`--{flag}` should name tasks among {list(tasks)}.{hint(name, tasks)} "
                f"Received: {name!r}"
            )
        found[name] = float(value)
    return found


def _called(function: Callable) -> str:
    return function.__name__ if inspect.isclass(function) else function.__qualname__
