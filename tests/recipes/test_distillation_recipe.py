"""The recipe on a student's teacher, from end to end on a few generated pictures."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from mtlzoo import data
from recipes import distillation as recipe
from recipes.parts.fashion import Item

ROWS = 8


def some_pictures(seed=0, rows=None):
    rng = np.random.default_rng(seed)
    pictures = rng.random((ROWS, 36, 36, 1)).astype("float32")
    labels = {name: rng.integers(0, 10, ROWS).astype("int32") for name in ("left", "right")}
    weights = {name: np.ones(ROWS, "float32") for name in labels}
    part = tf.data.Dataset.from_tensor_slices((pictures, labels, weights)).batch(ROWS)
    tasks = [Item(name, 10, metrics=["accuracy"]) for name in labels]
    return data.Loaded(part, part, part, tasks, keras.Input((36, 36, 1)), None)


@pytest.mark.slow
def test_students_are_compared_with_their_teacher(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipe, "load", some_pictures)
    with flagsaver.flagsaver(out=str(tmp_path), epochs=1, teacher_epochs=1, seeds=2, labelled=0.5):
        recipe.main([])
    report = json.loads((tmp_path / "results.json").read_text())
    names = [recipe.TEACHER, recipe.ALONE, *recipe.TAUGHT, recipe.FEW, recipe.TAUGHT_FEW]
    assert list(report) == [*names, "served"]
    teacher = report[recipe.TEACHER]["parameters"]
    printed = capsys.readouterr().out
    for name in names[1:]:
        found = report[name]
        assert found["parameters"] <= teacher / 10
        values = found["metrics"]["left, accuracy"]["values"]
        assert len(values) == 2 and 0 <= min(values) <= max(values) <= 1
        line = next(text for text in printed.splitlines() if text.startswith(f"{name}  "))
        assert f"{np.mean(values):.4f}" in line
    large, small = report["served"].values()
    assert small["SavedModel, MB"] < large["SavedModel, MB"]
    assert (tmp_path / "distillation.png").stat().st_size > 10_000


@pytest.mark.slow
def test_few_labels_are_the_same_rows_in_every_epoch():
    few = recipe.hide_labels(some_pictures(), 0.5)
    kept = [next(iter(few.train))[1]["left"].numpy() for _ in range(2)]
    assert (kept[0] == kept[1]).all() and 0 < (kept[0] == -1).sum() < ROWS
    whole = next(iter(some_pictures().train))[1]["left"].numpy()
    assert (kept[0][kept[0] >= 0] == whole[kept[0] >= 0]).all()
