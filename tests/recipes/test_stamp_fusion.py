"""The recipe on fusion, from end to end on random pictures, words and sounds."""

import json

import keras
import numpy as np
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from mtlzoo import BinaryClassification, Classification, data
from mtlzoo.data.pipeline import batches
from recipes import stamp_fusion
from recipes.parts import stamps

pytestmark = pytest.mark.usefixtures("eagerly")
ROWS = 10
SHAPES = {"caption": (4,), "image": (48, 48, 3), "speech": (1600,)}


def some_stamps(batch_size=64, data_seed=0):
    rng = np.random.default_rng(data_seed)
    x = {name: rng.random((ROWS, *shape)).astype("float32") for name, shape in SHAPES.items()}
    x["caption"] = rng.integers(0, 9, (ROWS, 4)).astype("int32")
    x |= {f"{name}_present": np.ones(ROWS, bool) for name in SHAPES}
    x["speech_present"][:2] = False
    y = {"category": np.arange(ROWS) % 3, "has_sound": np.arange(ROWS) % 2}
    part = batches((x, y, dict.fromkeys(y, np.ones(ROWS, "float32"))), batch_size)
    inputs = {
        name: keras.Input(value.shape[1:], name=name, dtype=value.dtype.name)
        for name, value in x.items()
    }
    tasks = [Classification("category", num_classes=3), BinaryClassification("has_sound")]
    return data.Loaded(part, part, part, tasks, inputs, None)


@pytest.mark.slow
def test_it_prints_and_writes_what_it_finds(tmp_path, monkeypatch, capsys):
    seen = []

    def load(name, *, data_dir, **options):
        seen.append((name, options["data_seed"]))
        return some_stamps(**options)

    monkeypatch.setattr(data, "load", load)
    with flagsaver.flagsaver(
        out=str(tmp_path),
        seeds=2,
        epochs=1,
        fusions=["gated"],
        dropped=[],
        aligned=["gated"],
    ):
        stamp_fusion.main([])
    printed = capsys.readouterr().out
    assert seen == [("stamps", 0), ("stamps", 1)]
    report = json.loads((tmp_path / "results.json").read_text())
    models = [f"{name} alone" for name in SHAPES] + ["gated", "gated, alignment"]
    assert list(report["models"]) == models
    missing = ["with all", *(f"without {name}" for name in SHAPES)]
    assert {name: list(found) for name, found in report["without"].items()} == dict.fromkeys(
        models[3:], missing
    )
    for name in models[3:]:
        metrics = report["models"][name]["metrics"]
        all_there = np.mean([found["values"] for found in metrics.values()], axis=0)
        np.testing.assert_allclose(report["without"][name]["with all"], all_there, rtol=1e-6)
    assert list(report["retrieval"]) == ["gated", "gated, alignment"]
    (chance,) = [line for line in printed.splitlines() if line.startswith("by chance")]
    assert chance.split() == ["by", "chance", "50.0"]
    assert (tmp_path / "missing.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_every_fusion_has_a_model_and_some_a_second():
    with flagsaver.flagsaver(fusions=["gated", "low_rank"], dropped=["low_rank"], aligned=[]):
        found = stamp_fusion.settings()
    assert list(found)[3:] == ["gated", "low_rank", "low_rank, dropout"]
    assert found["low_rank, dropout"].modality_dropout > 0 == found["low_rank"].modality_dropout
    assert found["image alone"].modalities == ["image"]


class Joint:
    """A model whose captions are nearest to the image of the next row."""

    def joint_representation(self, x):
        images = np.eye(8)
        return {"caption": np.roll(images, 1, axis=1), "image": images}


def test_a_caption_finds_its_image_among_the_nearest(monkeypatch):
    division = some_stamps()
    monkeypatch.setattr(stamp_fusion, "NEAREST", 1)
    assert stamp_fusion.share_found(Joint(), division) == 0
    monkeypatch.setattr(stamp_fusion, "NEAREST", 2)
    # Behind the wrong one all others are equally near, and equals count for the caption.
    assert stamp_fusion.share_found(Joint(), division) == 1


def test_a_removed_modality_is_declared_missing():
    division = some_stamps()
    x, _, _ = next(iter(stamps.without_modality("image", division.test)))
    assert not x["image_present"].numpy().any() and x["caption_present"].numpy().all()
    x, _, _ = next(iter(stamps.without_modality(None, division.test)))
    assert x["image_present"].numpy().all()
