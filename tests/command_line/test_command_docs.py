"""The guide of the command line: every command in it runs."""

import pathlib
import re
import shlex

import pytest

from mtlzoo.command_line import main
from mtlzoo.command_line.program import COMMANDS

PAGE = pathlib.Path(__file__).parents[2] / "docs/command_line.md"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.S | re.M)


def commands():
    text = "".join(BLOCK.findall(PAGE.read_text())).replace("\\\n", "")
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


def test_the_guide_has_every_command():
    assert {shlex.split(line)[1] for line in commands()} >= set(COMMANDS)


@pytest.mark.slow
def test_the_commands_of_the_guide_run_one_after_the_other(eagerly, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in commands():
        program, *words = shlex.split(line)
        assert program == "mtlzoo"
        assert main(words) == 0, (line, capsys.readouterr().err)
