"""The recipe on the strength of sharing, from end to end on a few rows."""

import dataclasses
import json

import numpy as np
import pytest
from absl.testing import flagsaver

from mtlzoo.tasks import Task
from recipes import dynamic_sharing as recipe

# Of tf.data, which is not meant to be eager here.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
FIXED = {"0": 0.0, "0.5": 0.5, "1": 1.0}


@pytest.fixture
def few_rows(monkeypatch, eagerly):
    """Two batches of each split instead of the whole sample."""
    whole = recipe.data.load("census_income", batch_size=256)
    parts = {split: getattr(whole, split).take(2).cache() for split in ("train", "valid", "test")}
    sample = dataclasses.replace(whole, **parts)
    monkeypatch.setattr(recipe.data, "load", lambda name, **options: sample)
    return sample


@pytest.mark.slow
def test_every_kind_of_sharing_is_compared(few_rows, tmp_path, capsys):
    with flagsaver.flagsaver(out=str(tmp_path), epochs=1, seeds=2):
        recipe.main([])
    report = json.loads((tmp_path / "results.json").read_text())
    assert list(report) == [*FIXED, "from 1 to 0", "learned", "conflict"]
    printed = capsys.readouterr().out
    tasks: list[Task] = list(few_rows.tasks)
    for name, found in report.items():
        line = next(text for text in printed.splitlines() if text.startswith(f"{name}  "))
        for task in tasks:
            values = found["metrics"][f"{task.name}, {task.monitor}"]["values"]
            assert len(values) == 2
            assert np.isfinite(values).all()
            assert f"{np.mean(values):.4f}" in line
    strengths = {name: found["metrics"]["strength"]["values"] for name, found in report.items()}
    for name, strength in FIXED.items():
        assert strengths[name] == [strength, strength]
    # After its last step an annealed strength has come to its end.
    assert strengths["from 1 to 0"] == pytest.approx([0, 0], abs=1e-6)
    assert all(0 < value < 1 for value in [*strengths["learned"], *strengths["conflict"]])
