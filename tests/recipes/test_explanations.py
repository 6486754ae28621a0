"""The recipe on explanations, on random pictures, words and sounds."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

pytest.importorskip("matplotlib")
pytest.importorskip("tf_keras_vis")

from mtlzoo import BinaryClassification, Classification, data
from mtlzoo.data.pipeline import batches
from recipes import explanations
from recipes.parts import explanation_measures, explanation_report

ROWS = 10


def some_clothes():
    rng = np.random.default_rng(0)
    x = rng.random((ROWS, 36, 36, 1)).astype("float32")
    y = {name: rng.integers(0, 10, ROWS) for name in ("left", "right")}
    part = batches((x, y, dict.fromkeys(y, np.ones(ROWS, "float32"))), 5)
    tasks = [Classification(name, 10) for name in y]
    return data.Loaded(part, part, part, tasks, keras.Input((36, 36, 1), name="image"), None)


def some_stamps():
    rng = np.random.default_rng(0)
    x = {
        "caption": rng.integers(0, 9, (ROWS, 4)).astype("int32"),
        "image": rng.random((ROWS, 48, 48, 3)).astype("float32"),
        "speech": rng.normal(size=(ROWS, 800)).astype("float32"),
    }
    x |= {f"{name}_present": np.ones(ROWS, bool) for name in list(x)}
    y = {"has_sound": np.arange(ROWS) % 2}
    part = batches((x, y, dict.fromkeys(y, np.ones(ROWS, "float32"))), 10)
    inputs = {n: keras.Input(v.shape[1:], name=n, dtype=v.dtype.name) for n, v in x.items()}
    return data.Loaded(part, part, part, [BinaryClassification("has_sound")], inputs, None)


@pytest.mark.slow
def test_it_prints_and_writes_what_it_finds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(explanations.fashion, "load", lambda *args: some_clothes())
    monkeypatch.setattr(data, "load", lambda name, **options: some_stamps())
    monkeypatch.setattr(explanations, "METHODS", ("saliency", "layer_cam"))
    with flagsaver.flagsaver(out=str(tmp_path), epochs=1, stamp_epochs=1, explained=4):
        explanations.main([])
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "results.json").read_text())
    of_fashion, of_stamps = report["fashion"], report["stamps"]
    assert set(of_fashion["share_in_right_half"]) == {
        "the picture itself",
        "saliency",
        "layer_cam",
    }
    shares = [v["mean"] for v in of_stamps["share"]["has_sound"].values()]
    np.testing.assert_allclose(sum(shares), 1, rtol=1e-5)
    assert set(of_stamps["lost_without"]["has_sound"]) == set(explanations.MODALITIES)
    assert "share in the right half, %" in printed and "depends on the weights" in printed
    pictures = {path.stem for path in tmp_path.glob("*.png")}
    assert pictures == {
        *("fashion_grad_cam", "fashion_integrated_gradients", "fashion_layer_cam"),
        *("fashion_sanity", "fashion_shares"),
        *("stamps_has_sound", "stamps_has_sound_speech", "stamps_modalities"),
    }


def test_words_are_ranked_by_their_mean_attribution():
    words = [["red", "stamp"], ["red", "bird"], ["red", "stamp"], ["stamp", "bird"]]
    values = np.array([[1.0, -1.0], [2.0, 5.0], [3.0, -2.0], [0.0, 5.0]])
    found = explanation_report.ranked_words(words, values)
    # The bird is in two captions only, which is too few.
    assert found == [("red", 3, 2.0), ("stamp", 3, -1.0)]


def test_a_modality_that_says_all_is_missed():
    stamps = some_stamps()

    class Listener(keras.Model):
        """Scores 1 where there is speech, else 0."""

        tasks = {"has_sound": stamps.tasks[0]}

        def evaluate(self, part, **options):
            x, _, _ = next(iter(part))
            return {"has_sound_auc": float(tf.reduce_mean(tf.cast(x["speech_present"], "float32")))}

    found = explanation_measures.losses_without(Listener(), stamps.test, "has_sound")
    assert found == {"caption": 0.0, "image": 0.0, "speech": 1.0}
