"""The recipe on stamp scenes, from end to end on generated pictures."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver
from dense_cases import PNG, ROWS, SIZE, loaded

pytest.importorskip("matplotlib")

from mtlzoo import (
    Classification,
    HardSharing,
    ObjectDetection,
    Regression,
    SemanticSegmentation,
    data,
)
from recipes import stamp_scenes

pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    # Of tf.data, which is not meant to be eager here.
    pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning"),
]


def some_scenes():
    rng = np.random.default_rng(1)
    boxes = np.full((ROWS, 4, 5), -1, np.float32)
    boxes[:, 0] = [0.25, 0.25, 0.75, 0.75, 2]
    mask = np.zeros((ROWS, SIZE, SIZE), np.uint8)
    mask[:, 8:24, 8:24] = 3
    mask[:, 8] = 255
    labels = {
        "boxes": boxes,
        "category": rng.integers(0, 6, ROWS).astype(np.int32),
        "count": np.ones(ROWS, np.float32),
        "mask": mask,
    }
    tasks = [
        ObjectDetection("boxes", 6, 4),
        Classification("category", 6),
        Regression("count"),
        SemanticSegmentation("mask", 7, (SIZE, SIZE)),
    ]
    return loaded(tasks, labels)


@pytest.mark.slow
def test_stamp_scenes(tmp_path, monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr(data, "load", lambda name, **o: asked.update(o) or some_scenes())
    monkeypatch.setattr(stamp_scenes, "ARCHITECTURES", {stamp_scenes.HARD: HardSharing})
    with flagsaver.flagsaver(
        out=str(tmp_path), epochs=1, scenes=12, seeds=1, widths=["4", "4", "8"], batch_size=8
    ):
        stamp_scenes.main([])
    assert asked["scenes"] == 12 and asked["batch_size"] == 8
    report = json.loads((tmp_path / "results.json").read_text())
    assert list(report) == ["single tasks", "hard sharing"]
    metrics = ["boxes, map_50", "category, macro_f1", "count, rmse", "mask, mean_iou"]
    assert list(report["single tasks"]["metrics"]) == metrics
    assert list(report["hard sharing"]["metrics"]) == [*metrics, "delta_m, %"]
    assert report["hard sharing"]["parameters"] < report["single tasks"]["parameters"]
    printed = capsys.readouterr().out
    (line,) = [row for row in printed.splitlines() if row.startswith("hard sharing ")]
    assert f"{report['hard sharing']['metrics']['mask, mean_iou']['mean']:.4f}" in line
    for name in ("single_tasks.png", "hard_sharing.png"):
        assert (tmp_path / name).read_bytes()[:8] == PNG and name in printed
