import contextlib
import dataclasses
import importlib
import io
import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from mtlzoo import BinaryClassification, Regression, data
from mtlzoo.training import BestEpoch

pytest.importorskip("matplotlib")

from recipes import quickstart
from recipes.parts.quickstart_report import EDUCATION_GROUPS, in_words
from recipes.parts.training import Progress

# Of tf.data, which is not meant to be eager here.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
MODELS = ["single-task", "hard sharing", "MMoE"]
TASKS = ["income", "never_married", "education"]


@pytest.fixture(scope="module")
def census():
    """A few batches of the sample."""
    whole = data.load("census_income", batch_size=512, seed=0)
    parts = {split: getattr(whole, split).take(2).cache() for split in ("train", "valid", "test")}
    return dataclasses.replace(whole, **parts)


@pytest.fixture(scope="module")
def job(tmp_path_factory, census):
    """The recipe for two epochs; its trainings, which are not traced, are given no test data."""
    out = tmp_path_factory.mktemp("quickstart")
    (out / "served").mkdir()
    (out / "served" / "saved_model.pb").write_text("of an earlier run")
    asked = []

    def load(name, **options):
        asked.append((name, options))
        return census

    def without_test_data(census, train_all=quickstart.train_all):
        tf.config.run_functions_eagerly(True)
        return train_all(dataclasses.replace(census, test=None))

    def compare(*arguments, compare=quickstart.compare):
        found = compare(*arguments)
        tf.config.run_functions_eagerly(False)
        return found

    printed = io.StringIO()
    flags.FLAGS.mark_as_parsed()
    with (
        pytest.MonkeyPatch.context() as patch,
        flagsaver.flagsaver(out=str(out), epochs=2, batch_size=512),
        contextlib.redirect_stdout(printed),
    ):
        patch.setattr(quickstart.data, "load", load)
        patch.setattr(quickstart, "train_all", without_test_data)
        patch.setattr(quickstart, "compare", compare)
        quickstart.main([])
    assert asked == [("census_income", {"batch_size": 512, "seed": 0})]
    report = json.loads((out / "results.json").read_text())
    return out, printed.getvalue(), report


@pytest.fixture(scope="module")
def reloaded(job):
    return keras.saving.load_model(job[0] / "mmoe.keras")


def line_of(printed: str, start: str) -> list[str]:
    (line,) = [line for line in printed.splitlines() if line.startswith(start)]
    return line.removeprefix(start).split()


@pytest.mark.slow
def test_the_table_shows_the_reported_numbers(job):
    _, printed, report = job
    assert list(report) == MODELS
    for task, metric in zip(TASKS, ["auc", "auc", "macro_f1"], strict=True):
        numbers = [f"{report[m]['test'][task]:.4f}" for m in MODELS]
        assert line_of(printed, f"{task}, {metric} ") == numbers
    assert line_of(printed, "parameters ") == [f"{report[m]['parameters']:,}" for m in MODELS]
    gains = [f"{report[m]['delta_m']:+.2f}" for m in MODELS[1:]]
    assert line_of(printed, "delta_m, % ") == ["-", *gains]
    times = line_of(printed, "training time, s ")
    assert times == [f"{report[m]['seconds']:.1f}" for m in MODELS]


@pytest.mark.slow
def test_delta_m_is_against_the_single_task_models(job):
    *_, report = job
    baselines = report["single-task"]["test"]
    for model in MODELS[1:]:
        test = report[model]["test"]
        gains = [(test[t] - baselines[t]) / baselines[t] for t in TASKS]
        np.testing.assert_allclose(report[model]["delta_m"], 100 * np.mean(gains), rtol=1e-9)


@pytest.mark.slow
def test_the_kept_epoch_is_the_best_on_validation_data(job):
    *_, report = job
    for model in MODELS:
        curves = [report[model]["curves"][t] for t in TASKS]
        assert np.shape(curves) == (3, 2)
        if model != "single-task":
            curves = [np.mean(curves, axis=0)] * 3
        expected = [int(np.argmax(c)) + 1 for c in curves]
        assert [report[model]["best_epoch"][t] for t in TASKS] == expected


@pytest.mark.slow
def test_the_saved_model_has_the_reported_test_and_validation_metrics(job, reloaded, census):
    *_, report = job
    test = reloaded.evaluate(census.test, return_dict=True, verbose=0)
    valid = reloaded.evaluate(census.valid, return_dict=True, verbose=0)
    for task in TASKS:
        key = f"{task}_{reloaded.tasks[task].monitor}"
        kept = report["MMoE"]["best_epoch"][task] - 1
        assert test[key] == pytest.approx(report["MMoE"]["test"][task], abs=1e-6)
        assert valid[key] == pytest.approx(report["MMoE"]["curves"][task][kept], abs=1e-6)


@pytest.mark.slow
def test_parameters_are_those_of_the_models(job, reloaded):
    *_, report = job
    trained = sum(np.prod(v.shape) for v in reloaded.trainable_variables)
    assert report["MMoE"]["parameters"] == trained
    # Three networks of 462 inputs, 256 and 32 units, and heads of 1, 1 and 5 outputs.
    body = 463 * 256 + 257 * 32
    assert report["single-task"]["parameters"] == 3 * body + 33 * (1 + 1 + 5)


@pytest.mark.slow
def test_the_served_model_answers_as_the_saved_one(job, reloaded, census):
    out, printed, _ = job
    assert (out / "served" / "saved_model.pb").stat().st_size > 10_000
    x, y, _ = next(iter(census.test))
    outputs = reloaded.predict_on_batch(x[:6])
    lines = printed[printed.index("The SavedModel answers") :].splitlines()[3:9]
    for i, line in enumerate(lines):
        words = line.split()
        for task, column in (("income", 1), ("never_married", 3)):
            expected = 1 / (1 + np.exp(-outputs[task][i, 0]))
            assert float(words[column]) == pytest.approx(expected, abs=6e-4)
            assert words[column + 1] == ("yes" if y[task][i] else "no")
        groups = list(EDUCATION_GROUPS)
        chosen, true = groups[outputs["education"][i].argmax()], groups[y["education"][i]]
        assert " ".join(words[5:]) == f"{chosen} {true}"


@pytest.mark.slow
def test_the_pictures_are_there(job):
    out, printed, *_ = job
    for name in ("learning_curves.png", "gates.png"):
        assert (out / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert f"  {name}\n" in printed


@pytest.mark.slow
def test_a_foreign_folder_is_not_replaced(reloaded, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="`path` should be a new or an empty directory"):
        quickstart.export(reloaded, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_words_say_when_sharing_does_not_help():
    single = {"test": {"a": 0.5, "b": 0.5}, "parameters": 200}
    worse = {"test": {"a": 0.6, "b": 0.3}, "parameters": 50, "delta_m": -10.0}
    better = {"test": {"a": 0.6, "b": 0.5}, "parameters": 50, "delta_m": 10.0}
    assert in_words("MMoE", worse, single) == (
        "MMoE does not beat the single-task models: -10.00 % on average, better on 1 of 2 "
        "tasks (a), with 25% of their parameters."
    )
    assert in_words("MMoE", better, single).startswith("MMoE beats the single-task")
    assert "0 of 2 tasks (none)" in in_words("MMoE", single | {"delta_m": 0.0}, single)


class Recorder:
    """A model whose weights are the number of the epoch."""

    name = "recorder"
    tasks = {"up": BinaryClassification("up"), "down": Regression("down")}

    def get_weights(self):
        return self.epoch

    def set_weights(self, weights):
        self.restored = weights


def test_best_epoch_counts_each_task_in_its_direction():
    model = Recorder()
    callback = BestEpoch(model.tasks)
    callback.set_model(model)
    # (auc - rmse) / 2: -0.05, 0.2, 0.2, 0.15. Training metrics would choose the last.
    for model.epoch, (auc, rmse) in enumerate([(0.9, 1.0), (0.8, 0.4), (0.9, 0.5), (0.7, 0.4)], 1):
        callback.on_epoch_end(
            model.epoch - 1,
            {"val_up_auc": auc, "val_down_rmse": rmse, "up_auc": model.epoch, "down_rmse": 0.0},
        )
    callback.on_train_end()
    assert (callback.epoch, model.restored) == (2, 2)
    assert callback.score == pytest.approx(0.2)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_the_bar_moves_on_terminals_only(stream):
    progress = Progress(trainings=2, epochs=3, stream=stream)
    progress.set_model(Recorder())
    for line in ("first done", "second done"):
        progress.on_train_begin()
        for epoch in range(3):
            progress.on_epoch_end(epoch)
        progress.finish(line)
    written = stream.getvalue()
    if stream.isatty():
        assert "[############............] 3/6 epochs" in written
        assert "[########################] 6/6 epochs" in written
        assert written.endswith("\r\x1b[Ksecond done\n")
    else:
        assert written == "first done\nsecond done\n"


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "recipes.parts.plots")
    with pytest.raises(ImportError, match=r"pip install 'mtlzoo\[recipes\]'"):
        importlib.import_module("recipes.parts.plots")
