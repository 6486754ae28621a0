"""What docstrings say of arguments is what the signatures say; all public signatures have types."""

import ast
import inspect
import pathlib
import re

import pytest
from public_things import THINGS

import mtlzoo
from mtlzoo import backbones, balancing, data, export, layers, metrics, models, tasks

PACKAGE = pathlib.Path(mtlzoo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def public_functions(tree: ast.Module):
    """Every public function and method of a file, and every `__init__` of a public class."""
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    for owner in [None, *classes]:
        for node in tree.body if owner is None else owner.body:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and (node.name[0] != "_" or node.name == "__init__"):
                yield owner, node


def without_types(owner: ast.ClassDef | None, node: ast.FunctionDef) -> list[str]:
    arguments = [*node.args.posonlyargs, *node.args.args]
    is_static = any(getattr(d, "id", None) == "staticmethod" for d in node.decorator_list)
    if owner is not None and not is_static:
        arguments = arguments[1:]  # self or cls
    arguments += [*node.args.kwonlyargs, *filter(None, [node.args.vararg, node.args.kwarg])]
    found = [argument.arg for argument in arguments if argument.annotation is None]
    return found if node.returns is not None else [*found, "return"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_functions_have_types(path):
    found = {}
    for owner, node in public_functions(ast.parse(path.read_text())):
        name = node.name if owner is None else f"{owner.name}.{node.name}"
        if missing := without_types(owner, node):
            found[name] = missing
    assert not found


# -- arguments --------------------------------------------------------------------------------


def documented(thing) -> dict[str, str] | None:
    """The entries of the section `Args:`; `None` where there is no such section."""
    section = re.search(r"^Args:\n((?:(?: +.*)?\n)+)", f"{inspect.getdoc(thing)}\n", re.M)
    if section is None:
        return None
    found: dict[str, str] = {}
    for entry in re.split(r"^ {4}(?=\S)", section[1], flags=re.M)[1:]:
        names, _, text = entry.partition(":")
        for name in names.split(", "):
            found[name.lstrip("*")] = " ".join(text.split())
    return found


def parameters(thing) -> dict[str, inspect.Parameter]:
    function = thing.__init__ if inspect.isclass(thing) else thing
    found = inspect.signature(function).parameters
    return {name: each for name, each in found.items() if name not in ("self", "cls")}


def stated_default(text: str) -> str | None:
    """What follows "Defaults to" in an entry: code or a number as it stands, else the words."""
    stated = re.search(r"Defaults to (?:`([^`]+)`|(-?\d[\d.]*\d|-?\d)(?!\w)|([^.;]*))", text)
    return None if stated is None else next(filter(None, stated.groups()))


def agrees(stated: str, default, home) -> bool:
    constants = {name: value for name, value in vars(home).items() if name.isupper()}
    try:
        value = eval(stated, {**constants, "__builtins__": {"float": float}})
    except (SyntaxError, NameError):
        # Words, or code that is run when the argument is not given.
        return default is None or (default == () and stated == "none")
    both_bool = isinstance(value, bool) == isinstance(default, bool)
    return repr(value) == repr(default) or (value == default and both_bool)  # NaN; 0 and 0.0


def offered() -> dict:
    """What the rooms offer to users."""
    rooms = [backbones, balancing, data, layers, metrics, models, tasks]
    things = [getattr(room, name) for room in rooms for name in room.__all__]
    return {f"{thing.__module__}.{thing.__name__}": thing for thing in [*things, export.save]}


OFFERED = offered()
EXPLAINED = {name: thing for name, thing in THINGS.items() if documented(thing) is not None}


@pytest.mark.parametrize("name", OFFERED)
def test_what_users_call_explains_its_arguments(name):
    thing = OFFERED[name]
    inherited = inspect.isclass(thing) and "__init__" not in vars(thing)
    is_record = hasattr(thing, "__dataclass_fields__") or hasattr(thing, "_fields")
    if not inherited and not is_record and parameters(thing):
        assert name in EXPLAINED


@pytest.mark.parametrize("name", EXPLAINED)
def test_the_arguments_explained_are_those_of_the_signature(name):
    explained, actual = documented(THINGS[name]), parameters(THINGS[name])
    # What goes to Keras as it is need not be explained.
    required = [k for k, v in actual.items() if k in explained or v.kind is not v.VAR_KEYWORD]
    assert list(explained) == required


@pytest.mark.parametrize("name", EXPLAINED)
def test_defaults_are_stated_and_are_those_of_the_signature(name):
    actual, home = parameters(THINGS[name]), inspect.getmodule(THINGS[name])
    for argument, text in documented(THINGS[name]).items():
        default, stated = actual[argument].default, stated_default(text)
        if stated is not None:
            assert agrees(stated, default, home), f"{argument}: {text}"
        elif name in OFFERED or name.rpartition(".")[0] in OFFERED:
            assert default in (None, inspect.Parameter.empty), f"{argument}={default!r}"
