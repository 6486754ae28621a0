"""The recipe on all census rows, from end to end on a few of the embedded ones."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from mtlzoo import data
from mtlzoo.data.census_income.columns import INPUTS, LEAKS
from mtlzoo.metrics import delta_m
from recipes import census_income as recipe
from recipes.parts import balancers, boosted_trees, comparison

# Of tf.data, which is not meant to be eager here.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
MODELS = ["single tasks", "hard sharing"]
TASKS = ["income", "never_married"]


@pytest.fixture(scope="module")
def sample():
    """The embedded sample, loaded once for all tests: a batch of each split."""
    census = recipe.data.load("census_income", batch_size=256)
    parts = {split: getattr(census, split).take(1).cache() for split in ("train", "valid", "test")}
    return dataclasses.replace(census, **parts)


@pytest.fixture
def few_rows(monkeypatch, sample, eagerly):
    """The sample instead of what is loaded; returns what it was asked for."""
    asked = []

    def load(name, **options):
        asked.append({"name": name, **options})
        return sample

    monkeypatch.setattr(recipe.data, "load", load)
    return asked


@pytest.mark.slow
def test_the_table_and_the_file_tell_the_same(few_rows, sample, tmp_path, capsys, monkeypatch):
    """With one balancer, which is that of the multi-task models."""
    used = []
    train = comparison.train

    def watch(build, loaded, **arguments):
        model, result = train(build, loaded, **arguments)
        used.append((model.name, type(model.balancer).__name__))
        return model, result

    monkeypatch.setattr(comparison, "train", watch)
    given = {"batch_size": 256, "models": ["hard sharing"], "balancer": ["famo"]}
    with flagsaver.flagsaver(out=str(tmp_path), epochs=1, seeds=2, **given):
        recipe.main([])
    single = [(f"single_task_{task}", "Equal") for task in TASKS]
    assert used == [*single, ("HardSharing", "FAMO")] * 2
    printed, report = capsys.readouterr().out, json.loads((tmp_path / "results.json").read_text())
    assert few_rows == [
        dict(name="census_income", source="full", batch_size=256, num_bins=64, data_dir=None)
    ]
    assert list(report) == MODELS
    tasks = [task for task in sample.tasks if task.name in TASKS]
    columns = [f"{task}, auc" for task in TASKS]
    runs = {}
    for name, found in report.items():
        by_seed = zip(*(found["metrics"][column]["values"] for column in columns), strict=True)
        runs[name] = [dict(zip(TASKS, values, strict=True)) for values in by_seed]
    assert all(len(found) == 2 for found in runs.values())
    for name in MODELS:
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{name}  ")]
        for task in TASKS:
            spread = report[name]["metrics"][f"{task}, auc"]
            values = spread["values"]
            np.testing.assert_allclose(spread["mean"], np.mean(values))
            assert f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in line
    for name in MODELS[1:]:
        gains = [delta_m(*pair, tasks) for pair in zip(runs[name], runs[MODELS[0]], strict=True)]
        np.testing.assert_allclose(report[name]["metrics"]["delta_m, %"]["values"], gains)
    assert (tmp_path / "metrics.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("number", [2, 3])
def test_every_network_has_as_many_units_after_the_inputs(sample, number):
    after_inputs = []
    for build in recipe.networks(sample.inputs, sample.tasks[:number]).values():
        model = build()
        first = [
            v
            for v in model.trainable_variables
            if 462 in v.shape[-2:] and "gate" not in v.path and v.shape[-1] >= 32
        ]
        after_inputs.append(sum(np.prod(v.shape) // 462 for v in first))
    hard, mmoe, ple, stitch = after_inputs
    # PLE's first level has a bank for each task and a shared one; 128 has no third.
    assert hard == mmoe == ple == 128 and 126 <= stitch <= 128


@pytest.mark.slow
def test_balancers_are_compared_with_single_tasks_and_tuned_weights(
    few_rows, tmp_path, capsys, monkeypatch
):
    """With results that are made up: the other test trains."""

    def fit(model, loaded, *, seed, **_):
        rng = np.random.default_rng([seed, *model.name.encode()])
        test = {task: rng.uniform(0.6, 0.9) for task in model.task_names}
        seconds, valid = rng.uniform(1, 9, 2)
        return comparison.Result(test, 1, comparison.parameters(model), seconds, {}, valid)

    monkeypatch.setattr(comparison, "fit", fit)
    monkeypatch.setattr(balancers, "RATIOS", (1 / 4, 4))
    with flagsaver.flagsaver(
        out=str(tmp_path), epochs=1, seeds=2, batch_size=256, balancer=["famo", "equal"]
    ):
        recipe.main([])
    printed, report = capsys.readouterr().out, json.loads((tmp_path / "results.json").read_text())
    tuned = "fixed weights, tuned"
    assert list(report) == ["single tasks", "equal", "famo", tuned]
    (header,) = [line for line in printed.splitlines() if "delta_m, %  " in line]
    assert header.endswith("time, equal = 1")
    seconds = {name: np.median(found["seconds_of_seeds"]) for name, found in report.items()}
    for name, found in report.items():
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{name}  ")]
        assert line.endswith(f" {seconds[name] / seconds['equal']:.2f}")
        assert len(found["metrics"]["income, auc"]["values"]) == 2

    tried = report[tuned]["validation"]
    assert len(tried) == 3 and report[tuned]["trainings"] == 4
    best = max(tried, key=lambda choice: choice["score"]["mean"])
    assert report[tuned]["loss_weights"] == best["loss_weights"]
    weights = ", ".join(f"{task} {weight:.2f}" for task, weight in best["loss_weights"].items())
    assert f"{tuned}: {weights}; the best of 3 by the validation data, which took 4" in printed
    assert "delta_m beyond that of equal in the same 2 seeds" in printed
    assert (tmp_path / "balancers.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_models_are_chosen_by_name(sample):
    with flagsaver.flagsaver(models=["MMoE"]):
        assert list(recipe.networks(sample.inputs, sample.tasks)) == ["MMoE"]


def test_all_columns_are_those_that_tell_no_label_of_the_tasks(few_rows):
    with flagsaver.flagsaver(all_columns=True, source="sample"):
        recipe.load()
        with flagsaver.flagsaver(tasks=["education", "never_married"]):
            loaded = recipe.load()
    assert few_rows[0]["extra_columns"] == ["education", *LEAKS]
    assert few_rows[1]["extra_columns"] == [*LEAKS]
    assert "data_dir" not in few_rows[0]
    assert [task.name for task in loaded.tasks] == ["never_married", "education"]


@pytest.mark.slow
def test_trees_read_the_same_columns(monkeypatch):
    ensemble = pytest.importorskip("sklearn.ensemble")
    seen = []

    class Constant:
        def __init__(self, **options):
            seen.append(options["categorical_features"])

        def fit(self, x, y):
            assert x.shape == (512, len(INPUTS)) and y.shape == (512,)
            return self

        def predict_proba(self, x):
            return np.full((len(x), 2), 0.5)

    monkeypatch.setattr(ensemble, "HistGradientBoostingClassifier", Constant)
    raw = data.load("census_income", batch_size=256, preprocessed=False)
    raw = dataclasses.replace(
        raw, train=raw.train.take(2), test=raw.test.take(1), tasks=raw.tasks[:2]
    )
    assert boosted_trees.boosted_trees(raw) == {"income, auc": 0.5, "never_married, auc": 0.5}
    assert [sum(categories) for categories in seen] == [28, 28]


def test_trees_name_what_they_need(monkeypatch, sample):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ImportError, match="`--trees` needs scikit-learn: pip install"):
        boosted_trees.boosted_trees(sample)


def test_an_unknown_category_is_missing():
    train, test = boosted_trees.codes(
        np.array([b"b", b"a", b"b"], object), np.array([b"a", b"z", b"b", b"A"], object)
    )
    np.testing.assert_array_equal(train, [1, 0, 1])
    np.testing.assert_array_equal(test, [0, np.nan, 1, np.nan])
