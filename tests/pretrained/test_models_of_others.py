"""Networks of Keras and of KerasHub as trunks: trained, frozen, saved, loaded and exported."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import Classification, HardSharing, Regression, training

ROWS = 4


def moved(variables, before):
    """The paths of the variables that are not as they were; dropout goes on in what is frozen."""
    pairs = zip(variables, before, strict=True)
    paths = {v.path for v, old in pairs if (v.numpy() != old).any()}
    return {path for path in paths if "seed_generator" not in path}


def trains_freezes_saves_and_exports(model, trunk, x, last, tmp_path):
    """What is asked of every trunk.

    Args:
        model: a model of the tasks `kind` and `size`.
        trunk: its trunk.
        x: inputs.
        last: names of the layers that are trained again.
        tmp_path: a folder.
    """
    for variable in trunk.variables:
        if variable.name == "gamma":  # or an untrained network gives nearly the same for all rows
            variable.assign(3 * variable)
    y = {"kind": np.arange(ROWS) % 3, "size": np.arange(ROWS) / ROWS}

    def train():
        before = [v.numpy() for v in trunk.variables]
        logs = model.fit(x, y, batch_size=ROWS, verbose=0).history
        assert np.isfinite([logs["kind_loss"], logs["size_loss"]]).all()
        return moved(trunk.variables, before)

    # Eagerly: tracing these networks is most of the time, and `mtlzoo`'s step is the same.
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    assert len(train()) > len(trunk.trainable_variables) / 2
    training.freeze(model)
    assert not train()
    training.unfreeze(model, last)
    trained = train()
    names = [layer.name for layer in trunk.layers if layer.trainable and layer.weights]
    assert trained and all(any(f"{name}/" in path for name in names) for path in trained)
    assert len(trained) < len(trunk.variables) / 2

    expected = model.predict(x, verbose=0)
    model.compile("adam")  # whose slots are those of what is trained now
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    paths = [v.path for v in model.trainable_variables]
    assert [v.path for v in loaded.trainable_variables] == paths
    model.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures["size"]
    columns = x if isinstance(x, dict) else {"image": x}
    answers = served(**{name: tf.constant(values) for name, values in columns.items()})
    for name, values in loaded.predict(x, verbose=0).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-5)
    assert np.std(expected["size"]) > 1e-3
    np.testing.assert_allclose(answers["size"], expected["size"], rtol=1e-4, atol=1e-4)


def tasks():
    return [Classification("kind", num_classes=3), Regression("size")]


@pytest.mark.slow
def test_a_network_of_keras_applications(tmp_path):
    inputs = keras.Input((32, 32, 3), name="image")
    trunk = keras.applications.MobileNetV2(
        input_tensor=inputs, alpha=0.35, include_top=False, weights=None
    )
    model = HardSharing(inputs, tasks(), backbone=trunk)
    assert {name: tensor.shape for name, tensor in model.output.items()} == {
        "kind": (None, 3),
        "size": (None, 1),
    }
    x = np.random.default_rng(0).normal(size=(ROWS, 32, 32, 3)).astype("float32")
    trains_freezes_saves_and_exports(model, trunk, x, "Conv_1*", tmp_path)


def test_a_backbone_of_keras_hub(tmp_path):
    keras_hub = pytest.importorskip("keras_hub", reason="KerasHub is not installed")
    bert = keras_hub.models.BertBackbone(
        vocabulary_size=20,
        num_layers=2,
        num_heads=2,
        hidden_dim=4,
        intermediate_dim=8,
        max_sequence_length=6,
    )
    trunk = keras.Model(bert.input, bert.output["pooled_output"])
    model = HardSharing(trunk.input, tasks(), backbone=trunk)
    ids = np.random.default_rng(0).integers(1, 20, (ROWS, 6)).astype("int32")
    x = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": np.ones_like(ids),
    }
    trains_freezes_saves_and_exports(model, trunk, x, "pooled_dense", tmp_path)
