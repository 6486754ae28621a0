"""The recipe that does one job on one device, two, and in two processes, on a few rows."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver

from recipes import distribution as recipe
from recipes.parts import local_workers, strategies

ROOT = Path(__file__).parents[2]
STRATEGIES = {"one": "none", "two": "Mirrored", "processes": "MultiWorkerMirrored"}


@pytest.mark.slow
def test_a_job_ends_with_the_same_weights(tmp_path, capsys, monkeypatch):
    """`--devices` are for those processes that train on several."""
    monkeypatch.chdir(ROOT)
    given = {"epochs": 1, "steps": 3, "batch_size": 101, "jobs": ["two"]}
    with flagsaver.flagsaver(out=str(tmp_path), devices=["CPU:0", "CPU:1"], **given):
        recipe.main([])
    check("two", tmp_path, capsys.readouterr().out)


@pytest.mark.slow
def test_two_processes_by_the_command(tmp_path):
    flags = ["--epochs=1", "--steps=3", "--batch_size=101", "--jobs=processes"]
    done = subprocess.run(
        [sys.executable, "-m", "recipes.distribution", f"--out={tmp_path}", *flags],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    check("processes", tmp_path, done.stdout)


def check(job, out, printed):
    """What a job and the one on one device have written and printed."""
    report = json.loads((out / "results.json").read_text())
    assert list(report) == ["one device", recipe.NAMES[job]]
    one, other = report.values()
    assert (one["strategy"], one["replicas"]) == ("none", 1)
    assert (other["strategy"], other["replicas"]) == (STRATEGIES[job], 2)
    assert one["difference of weights"] == 0
    assert 0 <= other["difference of weights"] < 1e-5
    assert 0 <= other["difference of losses"] < 1e-4
    (line,) = [row for row in printed.splitlines() if row.startswith(recipe.NAMES[job])]
    assert line.split()[2:] == [
        STRATEGIES[job],
        "2",
        f"{other['loss']:.6f}",
        f"{other['difference of weights']:.1e}",
        f"{other['difference of losses']:.1e}",
        f"{other['step, ms']:.1f}",
    ]


def test_differences_are_the_largest_ones():
    def job(weights, losses):
        settings = {"strategy": "none", "replicas": 1, "step, ms": 1.0}
        return {**settings, "weights": [np.array(weights)], "losses": {"loss": losses}}

    found = {"one": job([1.0, 2.0], [3.0, 2.0]), "two": job([1.5, 1.0], [3.0, 1.75])}
    other = recipe.compare(found)["two"]
    assert other["difference of weights"] == 1.0 and other["difference of losses"] == 0.25
    assert other["loss"] == 1.75


def test_a_job_that_fails_says_why(tmp_path):
    command = [sys.executable, "-c", "raise ValueError('there is no GPU:9')"]
    with pytest.raises(RuntimeError, match=r"failed, see .*process_0\.log[^~]*no GPU:9"):
        local_workers.run(command, tmp_path, 1)


def test_a_process_that_was_ended_is_named_and_not_the_one_that_we_end(tmp_path, monkeypatch):
    codes = ["import time; time.sleep(600)", "import os; os.kill(os.getpid(), 9)"]
    start = subprocess.Popen
    monkeypatch.setattr(
        local_workers.subprocess,
        "Popen",
        lambda command, **given: start([sys.executable, "-c", codes.pop(0)], **given),
    )
    with pytest.raises(RuntimeError, match=r"was ended by SIGKILL, see .*process_1\.log"):
        local_workers.run(["the command"], tmp_path, 2)


def test_an_unknown_job_is_an_error():
    with pytest.raises(ValueError, match=r"`--jobs` should be among.*Received: 'three'"):
        recipe.arguments("three")


def test_only_the_first_worker_prints_and_writes(tmp_path, monkeypatch, capsys):
    seen = []

    def main(_):
        seen.append(recipe.FLAGS.out)
        print("a table")

    monkeypatch.setattr(strategies.app, "run", lambda function: function([]))
    monkeypatch.setattr(strategies, "_chosen", [])
    for chief in (True, False):
        monkeypatch.setattr(strategies.distribution, "is_chief", lambda _, chief=chief: chief)
        with flagsaver.flagsaver(out=str(tmp_path), strategy="one"):
            strategies.run(main)
            assert capsys.readouterr().out == ("a table\n" if chief else "")
    assert strategies.replicas() == 1
    with strategies.scope() or contextlib.nullcontext():
        pass
    first, other = seen
    assert first == str(tmp_path) != other and not os.path.exists(other)
