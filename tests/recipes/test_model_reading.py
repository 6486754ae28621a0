"""The recipe that reads trained models, from end to end on few rows."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from mtlzoo import data
from mtlzoo.data.census_income.columns import INPUTS
from recipes import model_reading
from recipes.parts.fashion import Item

ROWS = 12


def some_fashion(seed, batch_size, rows, data_dir):
    rng = np.random.default_rng(seed)
    pictures = rng.random((ROWS, *model_reading.SHAPE)).astype("float32")
    labels = {name: rng.integers(0, 10, ROWS).astype("int32") for name in ("left", "right")}
    weights = {name: np.ones(ROWS, "float32") for name in labels}
    part = tf.data.Dataset.from_tensor_slices((pictures, labels, weights)).batch(batch_size)
    tasks = [Item(name, 10, metrics=["accuracy"]) for name in labels]
    return data.Loaded(part, part, part, tasks, keras.Input(model_reading.SHAPE), None)


def test_every_raw_column_is_in_one_group():
    grouped = [column for columns in model_reading.GROUPS.values() for column in columns]
    assert sorted(grouped) == sorted(INPUTS)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys, eagerly):
    """What runs the recipe on few rows, and returns what it prints and writes."""
    load = data.load

    def few(name, batch_size, **options):
        census = load(name, batch_size=64, **options)
        parts = {part: getattr(census, part).take(1) for part in ("train", "test")}
        return dataclasses.replace(census, **parts)

    def run(groups, **chosen):
        monkeypatch.setattr(model_reading, "GROUPS", groups)
        few_rows = {"source": "sample", "epochs": 1, "rows": 16, "repeats": 3}
        with flagsaver.flagsaver(out=str(tmp_path), **few_rows, **chosen):
            model_reading.main([])
        report = json.loads((tmp_path / "results.json").read_text())
        assert {path.stem for path in tmp_path.glob("*.png")} == set(report)
        return capsys.readouterr().out, report

    monkeypatch.setattr(data, "load", few)
    monkeypatch.setattr(model_reading.fashion_data, "load", some_fashion)
    return run


@pytest.mark.slow
def test_it_prints_draws_and_writes_what_it_reads(run):
    printed, report = run({"age": ["age"]}, parts=["census"], explained=0)
    assert list(report) == ["mmoe_gates", "ple_level_0", "ple_level_1", "importance"]
    assert [row[0] for row in report["importance"]["rows"]] == ["feature", "age"]
    assert report["ple_level_1"]["words"] in printed
    assert "MMoE: likeness" in printed and "PLE: likeness" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("gates ")]
    assert len(line.split()) == 5  # three pairs and how far they agree with gradients


@pytest.mark.slow
def test_it_also_explains_rows_and_reads_networks_of_pictures(run):
    pytest.importorskip("shap")
    printed, report = run({"age": ["age"], "sex": ["sex"]}, explained=4)
    explained = [row[0] for row in report["shap_income"]["rows"]]
    assert explained == ["feature", "age", "sex", "all else"]
    assert {"mtan_stages", "mtan_conv_0", "cross_stitch_dense_0"} <= set(report)
    assert "MTAN: likeness" in printed and "CrossStitch: likeness" in printed
