"""What of the package is public, found by walking through its modules."""

import importlib
import inspect
import pkgutil
import re

import mtlzoo


def modules():
    """Every module of the package but programs and the data builder, which needs TFDS."""
    found = [mtlzoo]
    for info in pkgutil.walk_packages(mtlzoo.__path__, "mtlzoo."):
        if not re.search(r"\.(__main__|make_sample|builder)$", info.name):
            found.append(importlib.import_module(info.name))
    return found


def public_things():
    """Every public class, function and method that is defined here, by its full name."""
    found = {}
    for module in modules():
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
                continue
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            found[f"{module.__name__}.{name}"] = thing
            if inspect.isclass(thing):
                for key, member in vars(thing).items():
                    member = getattr(member, "fget", None) or getattr(member, "__func__", member)
                    if inspect.isfunction(member) and not key.startswith("_"):
                        found[f"{module.__name__}.{name}.{key}"] = member
    return found


THINGS = public_things()
