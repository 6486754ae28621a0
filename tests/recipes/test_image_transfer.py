"""The recipe on transfer to pictures, from end to end on random ones, with a small trunk."""

import json

import keras
import numpy as np
import pytest
from absl.testing import flagsaver

pytest.importorskip("matplotlib")

from mtlzoo import BinaryClassification, Classification, data, training
from mtlzoo.backbones import EfficientNetLite0
from mtlzoo.data.pipeline import batches
from recipes import image_transfer
from recipes.parts.training import Progress

ROWS = 12


def some_pictures(batch_size=64, data_seed=0):
    rng = np.random.default_rng(data_seed)
    x = {"image": rng.random((ROWS, 16, 16, 3)).astype("float32")}
    y = {"category": np.arange(ROWS) % 3, "has_sound": np.arange(ROWS) % 2}
    part = batches((x, y, dict.fromkeys(y, np.ones(ROWS, "float32"))), batch_size)
    tasks = [  # with the deciding metrics alone, since others only take time here
        Classification("category", num_classes=3, metrics=["macro_f1"]),
        BinaryClassification("has_sound", metrics=["auc"]),
    ]
    return data.Loaded(part, part, part, tasks, keras.Input((16, 16, 3), name="image"), None)


@pytest.fixture
def stages():
    """How many the trunk has."""
    return 1


@pytest.fixture
def small(monkeypatch, stages):
    """The recipe on random pictures; what `load` and `trunk` were asked for."""
    asked = []

    def load(name, *, data_dir, **options):
        asked.append((name, options["data_seed"]))
        return some_pictures(**options)

    def trunk(shape, random=False):
        asked.append(("random" if random else "trained", tuple(shape)))
        return EfficientNetLite0(
            shape, (1,) * stages, (3,) * stages, stem_filters=3, head_filters=4, max_pixel=1.0
        )

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(image_transfer, "trunk", trunk)
    return asked


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_it_prints_and_writes_what_it_finds(small, tmp_path, capsys):
    methods = ["frozen", "scratch"]  # the third is trained below
    few = {"seeds": 1, "rows": ["4", "all"], "steps": 4, "batch_size": 4, "methods": methods}
    with flagsaver.flagsaver(out=str(tmp_path), **few):
        image_transfer.main([])
    assert [found for found in small if found[0] == "stamps"] == [("stamps", 0)]
    kinds = [found[0] for found in small if found[0] != "stamps"]
    assert kinds == ["trained", "random", "random"]
    report = json.loads((tmp_path / "results.json").read_text())
    assert list(report) == ["category", "has_sound", image_transfer.MEAN]
    for by_method in report.values():
        assert list(by_method) == methods
        for found in by_method.values():
            assert list(found) == ["4", "all"]
            assert all(len(f["values"]) == 1 for f in found.values())
    mean = report[image_transfer.MEAN]["scratch"]["all"]["values"]
    of_tasks = [report[task]["scratch"]["all"]["values"] for task in ("category", "has_sound")]
    np.testing.assert_allclose(mean, np.mean(of_tasks, axis=0))
    assert "scratch, 12 rows, seed 0: category" in capsys.readouterr().out
    assert (tmp_path / "labels.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_heads_on_features_are_those_of_a_frozen_trunk(small):
    """The same heads give the same answers, on features as on pictures."""
    with flagsaver.flagsaver(steps=4, batch_size=4):
        tasks, stamps = image_transfer.load(0)
        whole = image_transfer.build("gradual", tasks, stamps, 0)
        trunk = next(layer for layer in whole.layers if isinstance(layer, EfficientNetLite0))
        images, _ = stamps["train"]
        features = {name: (trunk.predict(x, verbose=0), y) for name, (x, y) in stamps.items()}
        heads = image_transfer.build("frozen", tasks, features, 0)
    for task in heads.task_names:
        heads.get_layer(task).set_weights(whole.get_layer(task).get_weights())
    expected = whole.predict(images, verbose=0)
    for task, found in heads.predict(features["train"][0], verbose=0).items():
        np.testing.assert_allclose(found, expected[task], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("stages", [7])
def test_stages_are_trained_one_after_the_other(small):
    with flagsaver.flagsaver(steps=4, batch_size=4):
        tasks, stamps = image_transfer.load(0)
        model = image_transfer.build("gradual", tasks, stamps, 0)
        known = training.trunk_stages(model)
        trained = []

        class Watch(Progress):
            def on_epoch_end(self, epoch, logs=None):
                layers = {name: [la for la in of if la.weights] for name, of in known.items()}
                trained.append([n for n, of in layers.items() if of and of[0].trainable])

        rows = np.arange(ROWS)
        image_transfer.fit(model, "gradual", stamps, rows, 0, Watch(1, image_transfer.PHASES))
    everything = [name for name, of in known.items() if any(la.weights for la in of)]
    assert everything == ["stem", *(f"stage_{i}" for i in range(1, 8)), "head"]
    assert trained == [[], everything[-3:], everything, everything]
