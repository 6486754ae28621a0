"""Hard sharing: its graph against NumPy, its arguments, its config."""

import json

import keras
import numpy as np
import pytest
from model_cases import compiled, data, hard_sharing, tasks, train

from mtlzoo import Classification, HardSharing, MultiTaskModel, Regression


def test_it_is_a_trunk_with_a_tower_and_a_head_for_each_task():
    model = hard_sharing()
    x, _ = data()
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name):
        return features @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    trunk = np.tanh(dense(x, "shared_0"))
    found = model.predict(x, verbose=0)
    for name in ("a", "b"):
        expected = dense(np.tanh(dense(trunk, f"{name}_tower_0")), name)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)
    assert len(model.shared_variables) == 2
    assert len(model.task_variables("a")) == len(model.task_variables("b")) == 4


def test_heads_have_the_shapes_of_their_tasks():
    given = [Classification("kind", 5), Regression("place", dim=3)]
    model = hard_sharing(given)
    assert {n: t.shape for n, t in model.output.items()} == {"kind": (None, 5), "place": (None, 3)}


def backbones():
    inside = keras.Input((6, 6, 1))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(inside))
    return {
        "functional": keras.Model(inside, features),
        "sequential": keras.Sequential([keras.layers.Conv2D(3, 3), keras.layers.Flatten()]),
        "layer": keras.layers.Flatten(),
    }


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", ["functional", "sequential", "layer"])
def test_a_backbone_may_be_any_model_or_layer_and_is_saved(kind, tmp_path):
    backbone = backbones()[kind]
    model = HardSharing(keras.Input((6, 6, 1)), tasks(), backbone=backbone, shared_units=(4,))
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype("float32")
    train(compiled(model, "pcgrad"), x, data()[1])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded) is HardSharing
    expected = model.predict(x, verbose=0)
    for name, value in loaded.predict(x, verbose=0).items():
        np.testing.assert_array_equal(value, expected[name])
    assert len(loaded.shared_variables) == len(model.shared_variables)


@keras.saving.register_keras_serializable(package="mtlzoo_tests")
def sum_of_both(inputs):
    return keras.layers.Add(name="sum")([inputs["x"], inputs["z"]])


def test_a_backbone_may_be_a_function_of_several_inputs(tmp_path):
    inputs = {"x": keras.Input((4,), name="x"), "z": keras.Input((4,), name="z")}
    model = HardSharing(inputs, tasks(), backbone=sum_of_both, shared_units=(3,))
    rows = {"x": data()[0], "z": data(seed=1)[0]}
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    expected = model.predict(rows, verbose=0)
    for name, value in loaded.predict(rows, verbose=0).items():
        np.testing.assert_array_equal(value, expected[name])


def test_several_vectors_are_joined():
    inputs = [keras.Input((4,), name="x"), keras.Input((2,), name="z")]
    model = HardSharing(inputs, tasks(), shared_units=(3,))
    assert model.get_layer("shared_0").kernel.shape == (6, 3)


@pytest.mark.parametrize("form", ["single", "list", "dict"])
def test_the_config_rebuilds_the_graph(form):
    x = keras.Input((4,), name="x", dtype="float64")
    z = keras.Input((4,), name="z", batch_size=8)
    inputs = {"single": x, "list": [x, z], "dict": {"x": x, "z": z}}[form]
    arguments = {"shared_units": (5, 4), "tower_units": (3,), "activation": "gelu", "dropout": 0.1}
    model = HardSharing(inputs, tasks(), name="mine", **arguments)
    config = json.loads(json.dumps(model.get_config()))
    again = HardSharing.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    assert again.name == "mine" and type(again.input) is type(model.input)
    for one, other in zip(again.inputs, model.inputs, strict=True):
        assert (one.name, one.shape, one.dtype) == (other.name, other.shape, other.dtype)
    paths, expected = ([v.path for v in m.trainable_variables] for m in (again, model))
    assert paths == expected
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


def test_an_activation_may_be_a_function_or_a_layer(tmp_path):
    for activation in (keras.activations.gelu, keras.layers.LeakyReLU(0.3)):
        model = hard_sharing(activation=activation)
        model.save(tmp_path / "m.keras")
        loaded = keras.saving.load_model(tmp_path / "m.keras")
        x, _ = data()
        expected = model.predict(x, verbose=0)["a"]
        np.testing.assert_array_equal(loaded.predict(x, verbose=0)["a"], expected)


def test_the_dtype_policy_is_that_of_the_time_it_was_made(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    model = hard_sharing()
    keras.config.set_dtype_policy("float32")
    again = HardSharing.from_config(model.get_config())
    for each in (model, again):
        assert each.get_layer("shared_0").compute_dtype == "float16"
        assert each.get_layer("a_tower_0").compute_dtype == "float16"
        assert each.get_layer("a").compute_dtype == "float32"
    half = hard_sharing(dtype="mixed_bfloat16")
    assert half.get_layer("shared_0").compute_dtype == "bfloat16"


def test_dropout_stands_after_each_layer():
    names = [layer.name for layer in hard_sharing(dropout=0.5).layers]
    assert {"shared_0_dropout", "a_tower_0_dropout", "b_tower_0_dropout"} < set(names)
    assert isinstance(hard_sharing(), MultiTaskModel)
