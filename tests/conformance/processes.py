"""Cases that run in a process of their own, several in one, and print one line of JSON each."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def lines_of(module: str, arguments: Sequence[str], folders: Sequence[str] = ()) -> list[dict]:
    """What `python -m MODULE ARGUMENT ...` prints, its lines of JSON.

    Args:
        module: what is run.
        arguments: its arguments.
        folders: those of the tests that it imports from.
    """
    paths = [str(TESTS.parent), str(TESTS), *(str(TESTS / folder) for folder in folders)]
    path = os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def in_parts(names: Sequence[str], at_once: int) -> list[list[str]]:
    """Names in lists of `at_once`, the last one shorter."""
    return [list(names[i : i + at_once]) for i in range(0, len(names), at_once)]


class Cases:
    """Cases of a test whose parameter `case` is a name; each part is run by one process.

    Args:
        module: what runs them, given their names.
        quick: the parts of the default run.
        slow: the others.
    """

    def __init__(self, module: str, quick: list[list[str]], slow: list[list[str]]) -> None:
        self.module = module
        self._quick = len(quick)
        self.parts = [*quick, *slow]
        self._found: dict[str, dict] = {}

    def parameters(self) -> list:
        """The names, each in the same process as the others of its part."""
        found = []
        for i, part in enumerate(self.parts):
            marks = [pytest.mark.xdist_group(f"{self.module} {i}")]
            marks += [pytest.mark.slow] if i >= self._quick else []
            found += [pytest.param(name, marks=marks) for name in part]
        return found

    def result(self, case: str, request: pytest.FixtureRequest) -> dict:
        """What a case has found; the first of a part runs all of it that this session has."""
        if case not in self._found:
            items = [item for item in request.session.items if item.path == request.path]
            chosen = {item.callspec.params["case"] for item in items if hasattr(item, "callspec")}
            (part,) = (each for each in self.parts if case in each)
            names = [name for name in part if name in chosen]
            found = lines_of(self.module, names)
            assert [each["case"] for each in found] == names
            self._found |= {each.pop("case"): each for each in found}
        result = self._found[case]
        assert "error" not in result, result["error"]
        return result
