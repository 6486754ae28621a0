"""The recipe on co-training, from end to end on random pictures and words."""

import json

import keras
import numpy as np
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from mtlzoo import BinaryClassification, Classification, data, pretrained
from mtlzoo.data.pipeline import batches
from recipes import co_training
from recipes.parts import co_training_report, co_training_stamps

ROWS = 24


def some_stamps(batch_size=64, data_seed=0, **_):
    rng = np.random.default_rng(data_seed)
    pictures = np.random.default_rng(1).random((3 * ROWS, 4, 4, 3)).astype("float32")
    pictures = pictures[rng.permutation(3 * ROWS)]

    def part(i):
        rows = slice(i * ROWS, (i + 1) * ROWS)
        x = {"image": pictures[rows], "caption": rng.integers(1, 9, (ROWS, 5)).astype("int32")}
        y = {"category": np.arange(ROWS) % 3, "upright": np.arange(ROWS) % 2}
        return batches((x, y, dict.fromkeys(y, np.ones(ROWS, "float32"))), batch_size)

    tasks = [Classification("category", num_classes=3), BinaryClassification("upright")]
    return data.Loaded(*(part(i) for i in range(3)), tasks, {}, None)


def some_trunk(name, *, input_shape, **_):
    """A network of two features."""
    pixels = keras.Input(input_shape)
    pooled = keras.layers.GlobalAveragePooling2D()(pixels)
    return keras.Model(pixels, keras.layers.Dense(2)(pooled))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(data, "load", lambda name, **options: some_stamps(**options))
    monkeypatch.setattr(pretrained, "load", some_trunk)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly", "small")
def test_it_prints_and_writes_what_it_finds(tmp_path, capsys):
    chosen = ["wrong labels"]
    with flagsaver.flagsaver(
        out=str(tmp_path),
        seeds=1,
        rounds=1,
        epochs=1,
        labelled=12,
        threshold=0.3,
        conditions=chosen,
    ):
        co_training.main([])
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "results.json").read_text())
    assert list(report["scores"]) == list(report["rounds"]) == chosen
    ways = co_training_report.order(report["scores"]["wrong labels"])
    assert set(ways) == set(report["scores"]["wrong labels"])
    assert len(ways) == 3 * 4 + 1
    for by_way in report["scores"].values():
        for seeds in by_way.values():
            (found,) = seeds
            assert all(0 <= value <= 1 for value in found.values())
        (alone,), (own,) = by_way["image, alone"], by_way["image, co-trained"]
        gain = np.mean(list(own.values())) - np.mean(list(alone.values()))
        assert f"{gain:+.3f}" in printed
    assert "category, macro_f1" in printed and "caption: labels got" in printed
    assert (tmp_path / "co_training.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.usefixtures("small")
def test_conditions_change_what_they_say():
    division = co_training_stamps.load(0, None)
    features = {False: np.zeros((3 * ROWS, 2)), True: np.ones((3 * ROWS, 2))}
    found = {
        condition: co_training_stamps.arranged(division, features, condition, 20, 0)
        for condition in co_training_stamps.CONDITIONS
    }
    clean, wrong = found["clean"], found["wrong labels"]
    assert len(clean.x["image"]) == ROWS and len(clean.test_x["image"]) == 2 * ROWS
    there = clean.given["category"] >= 0
    assert there.sum() == 20
    np.testing.assert_array_equal(clean.given["category"][there], clean.truth["category"][there])
    np.testing.assert_array_equal(wrong.given["category"] >= 0, there)
    changed = wrong.given["category"] != clean.given["category"]
    assert changed.sum() == 8 and wrong.given["category"].max() < 3
    np.testing.assert_array_equal(wrong.given["upright"], clean.given["upright"])
    assert found["noisy pictures"].test_x["image"].all() and not clean.x["image"].any()
    words = found["dropped words"].x["caption"]
    assert 0.3 < np.mean(words == 0) < 0.7
    kept = words != 0
    np.testing.assert_array_equal(words[kept], clean.x["caption"][kept])


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_picture_has_its_features_in_every_division():
    divisions = [co_training_stamps.load(seed, None)[0]["image"] for seed in (0, 1)]
    first, second = co_training_stamps.pixels_to_features(divisions, co_training.trunk())
    for noisy in (False, True):
        for row, picture in enumerate(divisions[1][:5]):
            (other,) = [i for i, p in enumerate(divisions[0]) if np.array_equal(p, picture)]
            np.testing.assert_array_equal(second[noisy][row], first[noisy][other])
    assert not np.array_equal(first[False], first[True])
