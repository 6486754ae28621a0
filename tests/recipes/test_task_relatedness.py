"""The recipe on relatedness: where the truth is known, and from end to end on a few rows."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from recipes import task_relatedness as recipe
from recipes.parts import relatedness_data

FEW = {"seeds": 2, "epochs": 1, "synthetic_epochs": 1, "synthetic_rows": 64}


@pytest.mark.slow
def test_measures_rise_with_the_relatedness():
    with flagsaver.flagsaver(seeds=2):
        low, high = (recipe.measures_of(p) for p in (0.0, 1.0))
    for measure, values in low.items():
        assert np.mean(high[measure]) > np.mean(values), measure


@pytest.mark.slow
def test_each_part_is_printed_written_and_drawn(tmp_path, capsys):
    with flagsaver.flagsaver(
        out=str(tmp_path), source="sample", rows=128, labels=[64], correlation=[0.0, 1.0], **FEW
    ):
        recipe.main([])
    printed = capsys.readouterr().out
    planted = json.loads((tmp_path / "planted.json").read_text())
    for p, found in planted.items():
        line = next(text for text in printed.splitlines() if text.startswith(f"{p} "))
        assert all(f"{np.mean(values):.4f} ± " in line for values in found.values())
    census = json.loads((tmp_path / "census.json").read_text())
    assert census["words"] in printed
    assert len(census["groups"]) == len(census["matrices"]) == 4
    for name in ("planted", "matrices", "groups", "labels"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_fourth_task_is_about_nothing():
    tasks, (x, y), _ = relatedness_data.census_with_nothing("sample", None, rows=2048)
    nothing = relatedness_data.NOTHING
    assert len(x) == 2048 and [task.name for task in tasks] == [*list(y)[:3], nothing]
    labels = y[nothing]
    assert abs(labels.mean() - 0.5) < 0.01
    # A linear model of the inputs tells it, where its labels tell of no other task.
    weights = np.linalg.lstsq(x, labels - 0.5, rcond=None)[0]
    assert np.corrcoef(x @ weights, labels)[0, 1] > 0.7
    assert abs(np.corrcoef(labels, y["income"])[0, 1]) < 0.2


def test_the_table_and_the_picture_have_all_that_was_measured(tmp_path, capsys):
    measured = {
        0.0: {"cosine": [0.1, 0.3], "gain": [1.0, 2.0]},
        1.0: {"cosine": [0.5, 0.7], "gain": [4.0, 4.0]},
    }
    recipe.print_planted(measured)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["1.0", "0.6000", "±", "0.1000", "4.0000", "±", "0.0000"]
    recipe.over_relatedness(tmp_path / "planted.png", measured)
    assert (tmp_path / "planted.png").stat().st_size > 10_000
    samples = np.array([[[0, 1.0], [3.0, 0]], [[0, 2.0], [2.0, 0]]])
    assert recipe.mean_of_pair(samples) == [2.0, 2.0]
