"""What recipes share: flags, files, tables, and the loop over seeds and models."""

import json
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import app, flags
from absl.testing import flagsaver

from mtlzoo import BinaryClassification, HardSharing, Regression
from recipes.parts import comparison, job, served, strategies, tables
from recipes.parts.comparison import Result
from recipes.parts.training import Restart


@pytest.fixture
def defined():
    """Some usual flags."""
    yield job.define_flags(out="runs/parts", steps=3, seeds=(2, "Repetitions."))
    for name in ("out", "steps", "seeds"):
        delattr(flags.FLAGS, name)


def test_flags_are_those_of_the_recipe_that_asks_for_them(defined):
    assert defined.find_module_defining_flag("steps") == __name__
    assert (defined.steps, defined.seeds) == (3, 2)
    assert defined["seeds"].help == "Repetitions." and "Steps" in defined["steps"].help
    with pytest.raises(flags.IllegalFlagValueError, match="positive integer"):
        defined.seeds = 0


def test_a_job_writes_its_report_and_says_so(defined, tmp_path, capsys):
    with flagsaver.flagsaver(out=str(tmp_path / "new")):
        out = job.begin()
        job.end(out, {"a": 1}, "picture.png")
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == {"a": 1}
    assert capsys.readouterr().out == f"\nWritten to {out}: picture.png, results.json\n"


def test_spreads_are_printed_as_mean_and_standard_deviation(capsys):
    assert tables.text(tables.spread([1.0, 2.0])) == "1.5000 ± 0.7071"
    assert tables.text(tables.spread([2.0]), 1, "+") == "+2.0"
    assert tables.text(None) == "-"
    tables.print_spreads("%", {"few": {"share": [0.1, 0.2]}}, digits=1, factor=100)
    assert [line.split() for line in capsys.readouterr().out.splitlines()[::2]] == [
        ["%", "share"],
        ["few", "15.0", "±", "7.1"],
    ]


def test_every_model_is_trained_with_every_seed(monkeypatch):
    trained, seen = [], []

    def train(build, loaded, *, seed, progress, balancer="equal", **settings):
        model = SimpleNamespace(task_names=["a", "b"], named=build())
        trained.append((model.named, loaded.seed, seed, balancer, settings))
        found = {task: float(len(model.named) + seed) for task in model.named.split("+")}
        return model, Result(found, 1, 10, 1.0)

    monkeypatch.setattr(comparison, "train", train)
    tasks = [BinaryClassification("a"), BinaryClassification("b")]
    report = comparison.over_seeds(
        lambda seed: SimpleNamespace(seed=seed, tasks=tasks),
        {"both": lambda loaded: "a+b"},
        single=lambda loaded, task: task.name,
        seeds=[3, 4],
        epochs=5,
        learning_rate=0.1,
        balancer="famo",
        after=lambda run: seen.append((run.name, run.seed, run.model.named, list(run.models))),
    )
    settings = {"epochs": 5, "learning_rate": 0.1}
    assert trained == [
        (name, seed, seed, balancer, settings)
        for seed in (3, 4)
        for name, balancer in (("a", "equal"), ("b", "equal"), ("a+b", "famo"))
    ]
    assert seen == [
        (name, seed, first, ["a", "b"])
        for seed in (3, 4)
        for name, first in ((tables.SINGLE, "a"), ("both", "a+b"))
    ]
    assert list(report) == [tables.SINGLE, "both"]
    assert report["both"]["metrics"]["a, auc"]["values"] == [6.0, 7.0]
    gains = [100 * (6 / 4 - 1), 100 * (7 / 5 - 1)]
    np.testing.assert_allclose(report["both"]["metrics"]["delta_m, %"]["values"], gains)
    assert math.isclose(report[tables.SINGLE]["parameters"], 20)


def test_a_model_that_begins_again_is_as_new():
    def build():
        tasks = [BinaryClassification("a"), BinaryClassification("b")]
        return HardSharing(keras.Input((2,)), tasks, shared_units=(3,))

    model, other = build(), build()
    model.compile(keras.optimizers.Adam(0.1))
    restart = Restart(model)
    model.optimizer.apply([keras.ops.ones_like(v) for v in model.trained_variables])
    assert int(model.optimizer.iterations) == 1
    restart.begin(other)
    for variable, value in zip(model.trained_variables, other.trained_variables, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert not any(np.any(v) for v in model.optimizer.variables[2:])  # after step and rate
    assert int(model.optimizer.iterations) == 0


def test_a_recipe_for_one_device_refuses_others():
    called = []
    with flagsaver.flagsaver(strategy="mirrored"), pytest.raises(app.UsageError, match="mirrored"):
        strategies.on_one(called.append, [])
    with flagsaver.flagsaver(strategy="one"):
        strategies.on_one(called.append, [])
    assert called == [[]]


@pytest.mark.slow
def test_what_an_earlier_run_served_is_replaced(tmp_path):
    rows = np.zeros((4, 3), "float32")
    part = tf.data.Dataset.from_tensor_slices((rows, {"a": np.zeros(4, "float32")})).batch(4)
    sizes = []
    for units in (4, 4000):
        model = HardSharing(keras.Input((3,)), [Regression("a")], shared_units=(units,))
        sizes.append(served.compare(tmp_path, {"one": model}, part, 2)["one"]["SavedModel, MB"])
    assert sizes[1] > sizes[0] + 0.05
