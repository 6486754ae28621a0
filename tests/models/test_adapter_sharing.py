"""AdapterSharing: its graph against NumPy, who owns what, and the statistics of absent tasks."""

import keras
import numpy as np
import pytest
from model_cases import compiled, copies
from test_sharing_tree import data, three

from mtlzoo import AdapterSharing

NONE = {name: [] for name in "abc"}
SHARED = {f"shared_units_{i}/{kind}" for i in range(2) for kind in ("kernel", "bias")}


def adapted(seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    arguments = {"units": (5, 4), "activation": "tanh", "adapter_units": 2, **arguments}
    return AdapterSharing(keras.Input((4,), name="x"), three(), **arguments)


def test_a_bottleneck_stands_after_each_stage():
    model = adapted(tower_units=(3,))
    x, _ = data()
    weights = {v.path: np.array(v, "float64") for v in model.variables}

    def dense(features, name, kernel="kernel", bias="bias"):
        return features @ weights[f"{name}/{kernel}"] + weights[f"{name}/{bias}"]

    found = model.predict(x, verbose=0)
    for name in "abc":
        hidden = x
        for i in range(2):
            hidden = np.tanh(dense(hidden, f"shared_units_{i}"))
            adapter = f"{name}_units_{i}_adapter"
            inner = np.tanh(dense(hidden, adapter, "down_kernel", "down_bias"))
            hidden = hidden + dense(inner, adapter, "up_kernel", "up_bias")
        expected = dense(np.tanh(dense(hidden, f"{name}_tower_0")), name)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_low_rank_is_an_update_of_each_kernel(alpha):
    model = adapted(adapter="lora", rank=2, lora_alpha=alpha)
    rng = np.random.default_rng(0)
    for name in "abc":
        for i in range(2):
            layer = model.get_layer(f"{name}_units_{i}_update")
            layer.b.assign(rng.normal(size=layer.b.shape))
    weights = {v.path: np.array(v, "float64") for v in model.variables}
    x, _ = data()
    found = model.predict(x, verbose=0)
    for name in "abc":
        hidden = x
        for i in range(2):
            update = f"{name}_units_{i}_update"
            kernel = weights[f"shared_units_{i}/kernel"]
            kernel = kernel + alpha / 2 * weights[f"{update}/a"] @ weights[f"{update}/b"]
            hidden = np.tanh(hidden @ kernel + weights[f"shared_units_{i}/bias"])
        expected = hidden @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        # A bottleneck of 2 after 5 and after 4 features.
        ({}, (5 * 2 + 2 + 2 * 5 + 5) + (4 * 2 + 2 + 2 * 4 + 4)),
        # A and B of rank 3 for a kernel of 4 x 5 and one of 5 x 4.
        ({"adapter": "lora", "rank": 3}, 3 * (4 + 5) + 3 * (5 + 4)),
    ],
)
def test_adapters_are_the_tasks_and_the_rest_is_shared(arguments, count):
    model = adapted(**arguments)
    assert {v.path for v in model.shared_variables} == SHARED
    assert model.count_params() == (25 + 24) + 3 * (count + 5)
    own = sum(int(np.prod(v.shape)) for v in model.task_variables("b"))
    assert own == count + 5
    with pytest.raises(ValueError, match="is used after the shared part has ended"):
        _ = model.boundary


def test_after_a_single_stage_a_bottleneck_reads_the_boundary():
    model = adapted(units=(5,))
    (boundary,) = model.boundary
    assert boundary._keras_history.operation.name == "shared_units_0"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("adapter", ["bottleneck", "lora"])
def test_a_frozen_shared_part_stays(adapter, tmp_path):
    model = compiled(adapted(adapter=adapter, train_shared=False), "equal", metrics=NONE)
    assert not model.shared_variables
    of_layers = [v for v in model.variables if "/" in v.path]  # without the balancer's
    before = {v.path: np.array(v) for v in of_layers}
    x, y = data()
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    moved = {v.path for v in of_layers if np.abs(v - before[v.path]).max() > 0}
    assert moved == set(before) - SHARED
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert not loaded.shared_variables
    expected = model.predict(x, verbose=0)
    for name, value in loaded.predict(x, verbose=0).items():
        np.testing.assert_array_equal(value, expected[name])


def convolutional(adapter="batch_norm", **arguments):
    layers = keras.layers
    inside = keras.Input((6, 6, 1))
    hidden = layers.Conv2D(2, 3, name="conv")(inside)
    hidden = layers.BatchNormalization(synchronized=True, name="norm")(hidden)
    hidden = layers.ReLU(name="relu")(hidden)
    end = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(3, 3, name="conv2")(hidden))
    backbone = keras.Model(inside, end)
    backbone.get_layer("norm").gamma.assign([2.0, 3.0])
    inputs = keras.Input((6, 6, 1))
    return AdapterSharing(
        inputs, three(), backbone=backbone, stages=["relu"], adapter=adapter, **arguments
    )


def test_each_task_has_its_own_normalization():
    model = convolutional()
    assert {v.path for v in model.shared_variables} == {
        f"shared_{layer}/{kind}" for layer in ("conv", "conv2") for kind in ("kernel", "bias")
    }
    assert {v.path for v in model.task_variables("a")} == {
        *("a_norm/gamma", "a_norm/beta", "a/kernel", "a/bias")
    }
    np.testing.assert_array_equal(model.get_layer("b_norm").gamma, [2.0, 3.0])
    assert "norm" not in {layer.name for layer in model.layers}


@pytest.mark.slow
def test_the_statistics_of_a_task_are_those_of_its_own_batches(tmp_path):
    model = compiled(convolutional(), "pcgrad", metrics=NONE)
    _, y = data()
    rng = np.random.default_rng(0)
    own = {name: model.get_layer(f"{name}_norm").non_trainable_variables for name in "abc"}
    start = {name: copies(variables) for name, variables in own.items()}
    for present, mean in (("a", 0.0), ("b", 5.0)):
        x = rng.normal(mean, size=(8, 6, 6, 1)).astype("float32")
        before = {name: copies(variables) for name, variables in own.items()}
        labels = {"a": np.full(8, -1), "b": np.full(8, np.nan), "c": np.full(8, np.nan)}
        model.fit(x, {**labels, present: y[present]}, batch_size=4, verbose=0)
        for name, variables in own.items():
            moved = [np.abs(v - o).max() > 0 for v, o in zip(variables, before[name], strict=True)]
            assert moved == [name == present] * 2
    assert all(np.array_equal(v, o) for v, o in zip(own["c"], start["c"], strict=True))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    expected = model.predict(x, verbose=0)
    for name, value in loaded.predict(x, verbose=0).items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.one_in(2)
@pytest.mark.parametrize("adapter", ["bottleneck", "lora"])
def test_convolutions_are_adapted(adapter):
    optimizer = keras.optimizers.SGD(0.01)
    model = compiled(convolutional(adapter), "pcgrad", optimizer, metrics=NONE)
    x = np.random.default_rng(0).normal(size=(8, 6, 6, 1)).astype("float32")
    before = copies(model.trainable_variables)
    model.fit(x, data()[1], batch_size=4, epochs=2, verbose=0)
    for v, old in zip(model.trainable_variables, before, strict=True):
        assert np.abs(v - old).max() > 0, v.path


def test_einsum_dense_gets_an_update_of_low_rank():
    inside = keras.Input((4,))
    heads = keras.layers.EinsumDense("bi,iho->bho", (3, 2), name="heads")(inside)
    end = keras.layers.Flatten(name="end")(heads)
    backbone = keras.Model(inside, end)
    model = adapted(units=(), backbone=backbone, adapter="lora", rank=2)
    update = model.get_layer("b_heads_update")
    assert update.a.shape == (4 * 3, 2) and update.b.shape == (2, 2)
    update.b.assign([[1.0, -2.0], [0.5, 3.0]])
    x, _ = data()
    weights = {v.path: np.array(v, "float64") for v in model.variables}
    product = weights["b_heads_update/a"] @ weights["b_heads_update/b"]
    kernel = weights["shared_heads/kernel"].reshape(4, 6) + product.reshape(4, 6) / 2
    expected = x @ kernel @ weights["b/kernel"] + weights["b/bias"]
    np.testing.assert_allclose(model.predict(x, verbose=0)["b"], expected, rtol=1e-4, atol=1e-5)


def test_a_student():
    model = adapted(units=(8, 6), adapter_units=4, lora_alpha=2.0).student(0.5)
    assert model.get_config()["lora_alpha"] == 2.0
    assert model.get_layer("a_units_1_adapter").units == 2
    assert model.get_layer("shared_units_1").units == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"adapter": "prefix"},
            r"`adapter` should be one of \['bottleneck', 'lora', 'batch_norm'\]",
        ),
        ({"adapter": "batch_norm"}, "there is no BatchNormalization layer in it"),
        ({"train_shared": "no"}, "`train_shared` should be True or False. Received: train_shared"),
        ({"adapter_units": 0}, "`units` should be a positive integer. Received: units=0"),
        ({"lora_alpha": -1}, "`lora_alpha` should be a number of at least 0. Received: lora_alpha"),
        ({"adapter": "lora", "rank": 0}, "`rank` should be a positive integer. Received: rank=0"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        adapted(**arguments)
