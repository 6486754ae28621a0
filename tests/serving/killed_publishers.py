"""Publishers that are killed, each in a fork of this process: `python killed_publishers.py FOLDER`.

Each does one thing, is killed at one of its calls to the operating system, the first, the second
and so on, and the next one goes on. Prints a line of JSON for each kill: what was done, after how
many calls, which versions were there before, after the kill and after the next publisher, whether
any of them lacked a file, which numbers were given, and what is left in the hidden folder.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from mtlzoo import export
from mtlzoo.serving import Versions

FILES = ("saved_model.pb", "variables/variables.data")
# What changes a folder. What a killed process has written is there for others without `fsync`.
CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir")


def save(model, path, tasks, *, preprocessor):
    """In place of the export of a model: some files."""
    for name in FILES:
        file = Path(path, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("whole")


class Model:
    """As far as `publish` looks at it."""

    tasks = {"a": None}


def whole(folder: Path) -> bool:
    """Whether a version has all its files."""
    return all((folder / name).read_text() == "whole" for name in FILES)


def begin(folder: Path) -> None:
    """Versions 1, 2 and 4, and 3 that is withdrawn."""
    versions = Versions(folder)
    for _ in range(3):
        versions.publish(Model())
    versions.roll_back()
    versions.publish(Model())


def kill_at(call: int) -> None:
    """Kill this process instead of the call to the operating system of that number."""
    made = 0

    def counted(function):
        def wrapper(*args, **kwargs):
            nonlocal made
            made += 1
            if made == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapper

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


ACTIONS = {
    "publish": lambda versions: versions.publish(Model()),
    "roll_back": lambda versions: versions.roll_back(),
    "prune": lambda versions: versions.prune(),
}


def main(folder: str) -> None:
    """Kill at each call of each action, until one ends before it."""
    export.save, os.fsync = save, lambda file: None
    first = Path(folder, "first")
    begin(first)
    for action, do in ACTIONS.items():
        call, killed = 0, True
        while killed:
            call += 1
            place = Path(folder, f"{action}_{call}")
            shutil.copytree(first, place)
            versions = Versions(place, keep=1)
            before = versions.numbers()
            child = os.fork()
            if not child:
                kill_at(call)
                do(versions)
                os._exit(0)
            killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
            after = versions.numbers()
            lacking = [n for n in after if not whole(versions.folder / str(n))]
            lacking += [n for n in versions.withdrawn() if not whole(Path(versions.path(n)))]
            again = Versions(place, keep=1)
            hidden = sorted(os.listdir(place / ".versions"))
            number = again.publish(Model())
            lacking += [n for n in again.numbers() if not whole(again.folder / str(n))]
            result = {
                "action": action,
                "call": call,
                "killed": killed,
                "before": before,
                "after": after,
                "hidden": hidden,
                "lacking": lacking,
                "next": number,
                "numbers": again.numbers(),
            }
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
