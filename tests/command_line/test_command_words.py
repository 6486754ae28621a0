"""The program's words: help, exit codes, spelling, JSON, completion."""

import dataclasses
import io
import json
import shlex
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf

import mtlzoo
from mtlzoo.command_line import help_text, main, program
from mtlzoo.command_line.assignments import by_task, call, read
from mtlzoo.command_line.command import UsageError

COMMANDS = list(program.COMMANDS.values())


def test_the_program_runs_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mtlzoo", "list", "tasks", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(program.__file__).partition("/mtlzoo/")[0], "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "Regression" in json.loads(done.stdout)["tasks"]


def test_help_lists_the_commands_and_the_exit_codes(capsys):
    assert main(["--help"]) == main([]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  {command.name} " in shown
        assert command.summary in shown
    assert help_text.EXIT_CODES in shown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_help_of_a_command_has_its_flags_and_no_others(command, capsys):
    assert main([command.name, "--help"]) == 0
    shown = capsys.readouterr().out
    values = command.new_flags()
    listed = {
        line.split()[0].lstrip("-").removeprefix("[no]").partition("=")[0].rstrip(",")
        for line in shown.splitlines()
        if line.startswith("  --")
    }
    assert listed == set(help_text.own_flags(values))
    for name in listed:
        assert values[name].help.strip()
    assert all(f"mtlzoo {example}" in shown for example in command.examples)
    assert help_text.usage(command) in shown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_flags_of_the_examples_exist(command):
    for example in command.examples:
        name, *words = shlex.split(example)
        assert name == command.name
        program._check_words(command, program._parsed(command.new_flags(), words))


def test_help_is_shown_beside_wrong_flags_and_by_its_word(capsys):
    shown = []
    for line in ("list --help", "list -h --nope", "help list", "list --help a b c"):
        assert main(line.split()) == 0
        shown.append(capsys.readouterr().out)
    assert len(set(shown)) == 1 and shown[0].startswith("Usage: mtlzoo list")
    assert main(["list", "tasks", "--help=false"]) == 0
    assert capsys.readouterr().out.startswith("Tasks")


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mtlzoo {mtlzoo.__version__}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("trian x", "There is no command 'trian'. Did you mean 'train'?"),
        ("list model", "Did you mean 'models'?"),
        ("list --jsn", "There is no flag `--jsn`. Did you mean 'json'?"),
        ("list models data", "It should be mtlzoo list [KIND]"),
        ("describe", "Received: no words"),
        ("describe hard_sharin", "Did you mean 'HardSharing'"),
        ("train MMoEE yeast", "Did you mean 'MMoE'"),
        ("train MMoE yeest", "Did you mean 'yeast'"),
        ("train MMoE yeast --epochs=0", "epochs"),
        ("train MMoE yeast --keep=worst", "keep"),
        ("train MMoE yeast --learning_rate=nan", "should be a finite number"),
        ("--version x", "It should be `mtlzoo --version`"),
        ("--completions=bash", "There is no command '--completions=bash'"),
        ("help trian", "Did you mean 'train'?"),
        ("list -- --help", "Received: '--help'"),
        ("evaluate mtan_nyuv2", "is a configuration without weights"),
        ("evaluate mmoe_census_income yeest", "Did you mean 'yeast'"),
        ("train MMoE synthetic_relatedness --balancer=pcgrd", "Did you mean 'pcgrad'"),
        ("train MMoE synthetic_relatedness --balancer=cagrad(d=1)", "it has c, rescale"),
        ("train MMoE synthetic_relatedness --balancer=cagrad(1)", "NAME(argument=value, ...)"),
        ("train MMoE synthetic_relatedness --data row=9", "Did you mean 'rows'"),
        ("train MMoE scene_folders", "needs `folder`"),
        ("evaluate no.keras yeast", "There is no file 'no.keras'"),
        ("evaluate HardSharing yeast", "`HardSharing` is a class"),
        ("report .", "should be the folder of a run"),
        ("report . --out=.", "`--out` should be a file. Received: '.', a folder"),
        ("explain .", "should be that of a run"),
    ],
)
def test_wrong_words_have_exit_code_two_and_say_what_is_meant(line, said, capsys, tmp_path):
    options = ["--data", "rows=64", "--data", "held_out_rows=64"] * ("synthetic" in line)
    assert main([*line.split(), *options * ("row=9" not in line)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "See `mtlzoo" in captured.err
    assert captured.out == ""


def test_what_fails_has_exit_code_one(capsys, tmp_path):
    options = ["--data", f"data_dir={tmp_path}", "--json"]
    assert main(["train", "MMoE", "yeast", *options]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": captured.err[14:-1], "exit_code": 1}
    assert captured.err.startswith("mtlzoo train: `data_dir` should hold the prepared data")


@pytest.mark.parametrize(
    "error",
    [
        FloatingPointError("the loss is not finite"),
        RuntimeError("no"),
        MemoryError("no room"),
        tf.errors.ResourceExhaustedError(None, None, "no room"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_failure_has_exit_code_one_and_a_document(error, capsys, monkeypatch):
    def failing(request):
        raise error

    command = dataclasses.replace(program.COMMANDS["list"], run=failing)
    monkeypatch.setitem(program.COMMANDS, "list", command)
    assert main(["list", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": str(error), "exit_code": 1}
    assert captured.err == f"mtlzoo list: {error}\n"


def test_a_wrong_flag_has_a_document_too(capsys):
    for flag in ("--json", "--json=true"):
        assert main(["list", flag, "--nope"]) == 2
        assert json.loads(capsys.readouterr().out)["exit_code"] == 2


class _Closed(io.StringIO):
    """Where nobody reads, or the disk is full."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def flush(self):
        raise self.error


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("train --help", 0),
        ("list tasks", 0),
        ("list nope --json", 2),
        ("nope", 2),
    ],
)
def test_it_does_not_matter_that_nobody_reads(line, code, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, _Closed(BrokenPipeError()))
    assert main(line.split()) == code


def test_an_answer_that_cannot_be_written_is_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", _Closed(OSError(28, "No space left on device")))
    assert main(["list", "tasks"]) == 1
    assert "could not be written: [Errno 28] No space" in capsys.readouterr().err


def test_a_file_that_is_no_model_is_told(tmp_path, capsys):
    for name in ("notes.md", "broken.keras"):
        (tmp_path / name).write_text("no model")
        assert main(["export", str(tmp_path / name), str(tmp_path / "out")]) == 1
        assert "should be a `.keras` file. Received: another kind" in capsys.readouterr().err


def test_an_interrupt_has_exit_code_130(capsys, monkeypatch):
    def interrupted(request):
        raise KeyboardInterrupt

    command = dataclasses.replace(program.COMMANDS["list"], run=interrupted)
    monkeypatch.setitem(program.COMMANDS, "list", command)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "mtlzoo list: interrupted\n"
    assert main(["list", "--json"]) == 130
    assert json.loads(capsys.readouterr().out) == {"error": "interrupted", "exit_code": 130}


def test_every_kind_is_listed_and_every_name_described(capsys):
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["models", "balancers", "data", "presets", "backbones", "tasks"]
    assert found["models"]["MMoE"].startswith("Shared experts")
    assert set(found["data"]) == set(mtlzoo.data.names())
    assert set(mtlzoo.balancing.names()) <= set(found["balancers"])
    for kind, entries in found.items():
        for name, line in entries.items():
            assert line.strip(), name
            assert main(["describe", name, "--json"]) == 0
            described = json.loads(capsys.readouterr().out)
            assert [kind, name] in [[each["kind"], each["name"]] for each in described]
            assert all(each["text"] for each in described)


@pytest.mark.parametrize("word", ["hard_sharing", "HARDSHARING", "HardSharing"])
def test_cases_and_underscores_of_names_do_not_matter(word, capsys):
    assert main(["describe", word]) == 0
    assert capsys.readouterr().out.startswith("HardSharing (models)\n\nHardSharing(inputs, tasks,")


def test_a_balancer_is_called_by_its_name_and_by_its_class(capsys):
    assert main(["describe", "PCGrad"]) == main(["describe", "pcgrad"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("pcgrad (balancers)\n\nPCGrad(") == 2


def test_a_data_set_points_to_where_it_is_prepared(capsys):
    assert main(["describe", "yeast"]) == 0
    assert "python -m mtlzoo.data yeast --download" in capsys.readouterr().out


# -- values ---------------------------------------------------------------------------------------


def test_assignments_are_literals_of_arguments():
    def given(*words):
        return read("set", words, mtlzoo.MMoE, ["tasks"])

    assert given("num_experts=8", "expert_units=64,32", "gate=top_k") == {
        "num_experts": 8,
        "expert_units": (64, 32),
        "gate": "top_k",
    }
    assert given("tower_units=8") == {"tower_units": (8,)}
    assert given("dropout=0.5") == {"dropout": 0.5}
    with pytest.raises(UsageError, match=r"`--set` should name .*`MMoE`. Did you mean 'num_exp"):
        given("num_expert=8")
    with pytest.raises(UsageError, match=r"`--set` should be NAME=VALUE. Received: 'dropout'"):
        given("dropout")
    with pytest.raises(UsageError, match=r"should give 'dropout' once. Received: 'dropout=1'"):
        given("dropout=0", "dropout=1")
    with pytest.raises(UsageError, match=r"Received: 'tasks'"):
        given("tasks=3")


def test_calls_are_names_with_arguments():
    assert call("balancer", "pcgrad") == ("pcgrad", [])
    assert call("balancer", "cagrad(c=0.4)") == ("cagrad", ["c=0.4"])
    assert call("balancer", "EMA(balancer='mgda')") == ("EMA", ["balancer='mgda'"])
    for wrong in ("cagrad(", "cagrad(0.4)", "a.b(c=1)", "f(**x)", "1"):
        with pytest.raises(UsageError, match=r"`--balancer` should be NAME or NAME\("):
            call("balancer", wrong)


def test_numbers_by_task():
    assert by_task("loss_weights", ["a=2", "b=0.5"], ["a", "b"]) == {"a": 2.0, "b": 0.5}
    assert by_task("loss_weights", None, ["a"]) is None
    with pytest.raises(UsageError, match=r"TASK=NUMBER,... Received: 'a=x'"):
        by_task("loss_weights", ["a=x"], ["a"])
    with pytest.raises(UsageError, match=r"among \['income'\]. Did you mean 'income'\?"):
        by_task("loss_weights", ["incom=1"], ["income"])


# -- completion -----------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tr", "train"),
        ("train MM", "MMoE"),
        ("train MMoE --learn", "--learning_rate="),
        ("train --epochs=3 MMoE census_i", "census_income"),
        ("describe pcg", "pcgrad"),
        ("list back", "backbones"),
    ],
)
def test_a_shell_completes(script, typed, offered):
    words = " ".join(repr(word) for word in ["mtlzoo", *typed.split()])
    asked = f"{script}\nCOMP_WORDS=({words}); COMP_CWORD={len(typed.split())}; _mtlzoo\n"
    shown = subprocess.run(
        ["bash", "-c", f"{asked}printf '%s\\n' \"${{COMPREPLY[@]}}\""],
        capture_output=True,
        text=True,
        check=True,
    )
    assert offered in shown.stdout.split()
    assert shown.stderr == ""


@pytest.fixture(scope="module")
def script():
    return program.completion.bash(COMMANDS)


def test_another_shell_is_refused(capsys, script):
    assert main(["--completion=bash"]) == 0
    assert capsys.readouterr().out == f"{script}\n"
    assert main(["--completion=fish"]) == 2
    assert "should be 'bash'. Received: 'fish'" in capsys.readouterr().err
