"""The recipe on task scheduling: its data, and from end to end on a few steps."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from recipes import task_scheduling as recipe
from recipes.parts import four_tasks

# Of tf.data, which is not meant to be eager here.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")


def test_labels_are_related_in_pairs():
    x, y = four_tasks.labels(4000, [0, 1], 0)
    assert x.shape == (4000, 100) and list(y) == list(recipe.ROWS)

    def agree(first, second):
        return float(np.mean(y[first] == y[second]))

    assert min(agree("large", "small"), agree("noisy", "tiny")) > 0.6
    assert abs(agree("large", "noisy") - 0.5) < 0.1


def test_of_the_noisy_task_three_in_ten_labels_are_wrong():
    x, y = four_tasks.labels(recipe.ROWS["noisy"], [0, 1, 1], 0)
    right = dict(zip(map(bytes, x), y["noisy"], strict=True))
    wrong = [
        float(label) != right[bytes(row)]
        for rows, labels in four_tasks.batches("noisy", 0, 64).as_numpy_iterator()
        for row, label in zip(rows, labels["noisy"], strict=True)
    ]
    assert abs(np.mean(wrong) - four_tasks.WRONG_LABELS) < 0.02


@pytest.mark.slow
def test_every_policy_is_compared(eagerly, tmp_path, capsys):
    few = {"epochs": 1, "steps": 20, "long": 2, "patience": 1, "seeds": 2}
    with flagsaver.flagsaver(out=str(tmp_path), **few):
        recipe.main([])
    report = json.loads((tmp_path / "results.json").read_text())
    printed = capsys.readouterr().out
    assert len(report["policies"]) == 10
    assert list(report["early stopping"]) == [recipe.WITHOUT, recipe.STOPPED, recipe.BEST]
    for found in (report["policies"], report["early stopping"]):
        for name, row in found.items():
            line = next(text for text in printed.splitlines() if text.startswith(f"{name}  "))
            assert f"{row['mean']['mean']:.4f}" in line
            assert row["mean"]["mean"] == pytest.approx(
                np.mean([row["auc"][task]["mean"] for task in recipe.ROWS])
            )
    for row in report["policies"].values():
        assert sum(row["steps"].values()) == 20
    for name in ("shares.png", "curves.png"):
        assert (tmp_path / name).stat().st_size > 10_000
