"""The recipe on a classifier that teaches a detector, from end to end on generated scenes."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver
from dense_cases import ROWS, loaded

pytest.importorskip("matplotlib")

from mtlzoo import Classification, ObjectDetection, data
from mtlzoo.backbones import EfficientNetLite0
from recipes import detection_transfer as recipe


def some_scenes():
    rng = np.random.default_rng(1)
    boxes = np.full((ROWS, 4, 5), -1, np.float32)
    boxes[:, 0] = [0.25, 0.25, 0.75, 0.75, 2]
    labels = {"boxes": boxes, "category": rng.integers(0, 6, ROWS).astype(np.int32)}
    return loaded([ObjectDetection("boxes", 6, 4), Classification("category", 6)], labels)


def some_network(scenes):
    """A tiny stand-in for ImageNet's."""
    return EfficientNetLite0(
        scenes.inputs.shape[1:],
        (1, 1, 1),
        (2, 3, 4),
        stem_filters=2,
        head_filters=4,
        max_pixel=1.0,
        name="imagenet",
    )


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
def test_a_detector_is_taught_by_classifiers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda name, **o: some_scenes())
    monkeypatch.setattr(recipe, "imagenet", some_network)
    with flagsaver.flagsaver(out=str(tmp_path), epochs=1, seeds=2, widths=["4", "4", "8"]):
        recipe.main([])
    report = json.loads((tmp_path / "results.json").read_text())
    assert list(report) == [recipe.ALONE, recipe.CATEGORY, recipe.IMAGENET, "classifier"]
    printed = capsys.readouterr().out
    for name in list(report)[:3]:
        values = report[name]["metrics"]["boxes, map_50"]["values"]
        assert len(values) == 2 and np.isfinite(values).all()
        assert any(line.startswith(f"{name}  ") for line in printed.splitlines())
        assert report[name]["parameters"] == report[recipe.ALONE]["parameters"]
    assert (tmp_path / "detection_transfer.png").stat().st_size > 10_000
