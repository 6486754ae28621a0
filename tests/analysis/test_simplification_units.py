import random

import keras
import numpy as np
import pytest
from conformance.registry import ARCHITECTURES, make_tasks

from mtlzoo import (
    SNR,
    AdapterSharing,
    BinaryClassification,
    DynamicSharing,
    HardSharing,
    MMoE,
    MultiTaskModel,
    Regression,
)
from mtlzoo.analysis import (
    cuttable_units,
    factorize,
    prune_units,
    prune_weights,
    quantize,
    remove_idle_experts,
)
from mtlzoo.analysis.simplification.quantizing import quantized_layers
from mtlzoo.analysis.simplification.redrawing import redrawn
from mtlzoo.backbones import ConvNet

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 8)).astype("float32")


def tasks():
    return [BinaryClassification("click"), Regression("stay")]


def answers(model, x=X):
    return {name: np.array(output) for name, output in model(x, training=False).items()}


def assert_same(one, other, x=X, atol=1e-5):
    found, wanted = answers(one, x), answers(other, x)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=atol)


def shifted(model):
    """With biases and statistics that are not those of the start."""
    for variable in model.weights:
        if len(variable.shape) == 1:
            variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
    return model


def convolutional():
    """Everything that units may pass through, with a backbone inside and a raw input joined."""
    layers = keras.layers
    inside = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, name="conv")(inside)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Dropout(0.5)(x)
    trunk = keras.Model(inside, layers.Flatten()(x), name="trunk")
    image, extra = keras.Input((8, 8, 2), name="image"), keras.Input((3,), name="extra")
    joined = layers.Concatenate()([trunk(image), extra])
    shared = layers.Dense(8, "relu", name="shared")(joined)
    outputs = {task.name: task.head(shared) for task in tasks()}
    return shifted(MultiTaskModel([image, extra], outputs, tasks=tasks()))


def zero(flat, name, units):
    """Make units put out 0 behind their normalization, as if they were cut."""
    layer = flat.get_layer(name)
    kernel, bias = (np.array(v) for v in layer.get_weights())
    kernel[..., units], bias[units] = 0, 0
    layer.set_weights([kernel, bias])


def test_what_is_left_answers_as_if_the_others_put_out_zero():
    model = convolutional()
    flat, _ = redrawn(model)
    x = [RNG.normal(size=(4, 8, 8, 2)).astype("float32"), RNG.normal(size=(4, 3))]
    assert_same(flat, model, x)
    assert [name for name, why in cuttable_units(model).items() if not why] == ["conv", "shared"]
    small = prune_units(model, {"conv": 0.5, "shared": 0.25})
    norms = {name: np.abs(np.array(flat.get_layer(name).kernel)) for name in ("conv", "shared")}
    gone = np.argsort(norms["conv"].sum((0, 1, 2)))[:3]
    zero(flat, "conv", gone)
    zero(flat, "shared", np.argsort(norms["shared"].sum(0))[:2])
    norm, depthwise = flat.get_layer("norm"), flat.get_layer("depthwise")
    gamma, beta, mean, variance = (np.array(v) for v in norm.get_weights())
    mean[gone], beta[gone] = 0, 0
    norm.set_weights([gamma, beta, mean, variance])
    kernel, bias = (np.array(v) for v in depthwise.get_weights())
    bias[gone] = 0
    depthwise.set_weights([kernel, bias])
    assert_same(small, flat, x)
    assert small.get_layer("conv").kernel.shape == (3, 3, 2, 3)
    assert small.get_layer("norm").gamma.shape == (3,)
    assert small.get_layer("shared").kernel.shape == (3 * 3 * 3 + 3, 6)
    assert small.get_layer("click").kernel.shape == (6, 1)


def test_experts_lose_the_same_units():
    model = shifted(MMoE(keras.Input((8,)), tasks(), num_experts=3, expert_units=(5, 4)))
    small = prune_units(model, 0.5, layers=["experts"])
    experts = model.get_layer("experts")
    norms = np.abs(np.array(experts.kernels[1])).sum((0, 1))
    for variable in (experts.kernels[1], experts.biases[1]):
        values = np.array(variable)
        values[..., np.argsort(norms)[:2]] = 0
        variable.assign(values)
    assert_same(small, model)
    assert small.get_layer("experts").units == (5, 2)
    one = MMoE(keras.Input((8,)), tasks(), num_experts=3, expert_units=(6,))
    small = prune_units(one, 0.5, layers=["experts"])
    assert small.get_layer("experts").kernels[0].shape == (8, 9)


def test_units_that_put_out_nothing_go_first_by_activation():
    model = HardSharing(keras.Input((8,)), tasks(), shared_units=(10,), tower_units=())
    kernel, bias = (np.array(v) for v in model.get_layer("shared_0").get_weights())
    bias[[1, 4, 7]] = -1e3  # large weights, but the rectifier is never open
    kernel[:, [1, 4, 7]] *= 5
    model.get_layer("shared_0").set_weights([kernel, bias])
    small = prune_units(model, 0.3, by="activation", x=X)
    assert_same(small, model)
    by_norm = prune_units(model, 0.3)
    assert np.abs(answers(by_norm)["stay"] - answers(model)["stay"]).max() > 0.01


def test_the_smaller_model_is_trained_and_saved(tmp_path):
    network = ConvNet((16, 16, 1), (4, 6), dense_units=(10,), kernel_size=3)
    model = HardSharing(keras.Input((16, 16, 1)), tasks(), backbone=network, tower_units=(5,))
    small = prune_units(model, 0.5)
    assert small.count_params() < 0.4 * model.count_params()
    small.compile("sgd", balancer="pcgrad", jit_compile=False, run_eagerly=True)
    x = RNG.normal(size=(4, 16, 16, 1)).astype("float32")
    small.fit(x, {"click": np.ones((4, 1)), "stay": np.ones((4, 1))}, verbose=0)
    small.save(tmp_path / "small.keras")
    assert_same(keras.saving.load_model(tmp_path / "small.keras"), small, x, 0)


def residual():
    inputs = keras.Input((8,))
    first = keras.layers.Dense(8, name="first")(inputs)
    second = keras.layers.Dense(8, name="second")(first)
    added = keras.layers.Add(name="sum")([first, second])
    outputs = {task.name: task.head(added) for task in tasks()}
    return MultiTaskModel(inputs, outputs, tasks=tasks())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 1.0}, r"`fraction` should be a number from 0 to below 1"),
        ({"fraction": {"first": -1}}, r"`fraction\['first'\]` should be a number"),
        ({"fraction": 0.5}, r"should have a layer whose units can be cut.*`sum` \(Add\) reads it"),
        (
            {"fraction": 0.5, "layers": ["second"]},
            r"Received: 'second', but `sum` \(Add\) reads it, which cannot be cut",
        ),
        ({"fraction": {"stay": 0.5}}, r"'stay', but it puts out the answer of the task `stay`"),
        ({"fraction": 0.5, "layers": ["third"]}, r"should name layers with units.*'third'"),
        ({"fraction": {"first": 0.5}, "layers": []}, r"`layers` should be None where `fraction`"),
        ({"fraction": 0.5, "layers": "first"}, r"`layers` should be a list of names"),
    ],
)
def test_what_cannot_be_cut_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        prune_units(residual(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "size"}, r"`by` should be 'norm' or 'activation'"),
        ({"by": "activation"}, r"`x` should be inputs where"),
        ({"x": X}, r"`x` should be None where"),
    ],
)
def test_scores_need_what_they_are_made_of(arguments, message):
    model = HardSharing(keras.Input((8,)), tasks(), shared_units=(4,))
    with pytest.raises(ValueError, match=message):
        prune_units(model, 0.5, **arguments)


def test_models_that_are_none():
    with pytest.raises(ValueError, match=r"`model` should be a `MultiTaskModel`"):
        prune_units(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), 0.5)
    inputs = keras.Input((8,))
    head = keras.layers.Dense(1, name="stay")(inputs)
    with pytest.raises(ValueError, match=r"`model` should have tasks"):
        prune_units(MultiTaskModel(inputs, {"stay": head}), 0.5)
    for architecture in (DynamicSharing, AdapterSharing):
        options = {"adapter": "lora"} if architecture is AdapterSharing else {}
        model = architecture(keras.Input((8,)), tasks(), units=(4,), **options)
        with pytest.raises(ValueError, match=r"no variable inside two layers"):
            prune_units(model, 0.5)


def test_softmax_units_and_routed_ones_stay():
    model = MMoE(keras.Input((8,)), tasks(), num_experts=3, expert_units=(4,))
    reasons = cuttable_units(model)
    assert reasons["click_gate"] == "its activation `softmax` mixes its units"
    assert reasons["experts"] == ""
    routed = SNR(keras.Input((8,)), tasks(), subnetwork_units=(4, 4))
    assert "(SubNetworkRouting) reads it" in cuttable_units(routed)["subnetworks_0"]


# -- low rank ------------------------------------------------------------------------------------


def product(model, name):
    """What the two layers multiply to, as one matrix."""
    down, up = (np.array(model.get_layer(n).kernel) for n in (f"{name}_down", name))
    return down.reshape(-1, down.shape[-1]) @ up.reshape(up.shape[-2:])


def test_the_error_is_that_of_eckart_and_young():
    model = HardSharing(keras.Input((40,)), tasks(), shared_units=(30,), tower_units=())
    kernel = np.array(model.get_layer("shared_0").kernel, "float64")
    singular = np.linalg.svd(kernel, compute_uv=False)
    for rank in (1, 5, 12):
        error = np.linalg.norm(kernel - product(factorize(model, rank), "shared_0"))
        np.testing.assert_allclose(error, np.sqrt((singular[rank:] ** 2).sum()), rtol=1e-5)
    small = factorize(model, energy=0.5)
    rank = small.get_layer("shared_0_down").units
    parts = np.cumsum(singular**2) / (singular**2).sum()
    assert parts[rank - 1] >= 0.5 > parts[rank - 2]


def low_rank_convolution():
    inputs = keras.Input((9, 9, 4))
    x = keras.layers.Conv2D(
        12, 3, strides=2, padding="same", activation="relu", name="conv", bias_initializer="ones"
    )(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = {task.name: task.head(x) for task in tasks()}
    model = MultiTaskModel(inputs, outputs, tasks=tasks())
    kernel = RNG.normal(size=(36, 3)) @ RNG.normal(size=(3, 12))
    model.get_layer("conv").kernel.assign(kernel.reshape(3, 3, 4, 12))
    return model


def test_a_kernel_of_low_rank_loses_nothing(tmp_path):
    model = low_rank_convolution()
    small = factorize(model, energy=1.0)
    x = RNG.normal(size=(3, 9, 9, 4)).astype("float32")
    assert_same(small, model, x, 1e-4)
    assert small.get_layer("conv_down").kernel.shape == (3, 3, 4, 3)
    assert small.get_layer("conv").kernel.shape == (1, 1, 3, 12)
    small.save(tmp_path / "small.keras")
    assert_same(keras.saving.load_model(tmp_path / "small.keras"), small, x, 0)
    gated = MMoE(keras.Input((20,)), tasks(), num_experts=4, expert_units=(10,), tower_units=())
    kernel = RNG.normal(size=(20, 2)) @ RNG.normal(size=(2, 40))
    gated.get_layer("experts").kernels[0].assign(kernel)
    small = factorize(gated, 2, layers=["experts"])
    assert small.get_layer("experts").kernels[0].shape == (2, 40)
    assert_same(small, gated, RNG.normal(size=(3, 20)).astype("float32"), 1e-4)


def test_a_factored_model_is_factored_again():
    model = HardSharing(keras.Input((40,)), tasks(), shared_units=(30,), tower_units=())
    once = factorize(model, 10)
    twice = factorize(once, 4)
    names = [layer.name for layer in twice.layers]
    at = names.index("shared_0_down_down")
    assert names[at : at + 4] == [
        *("shared_0_down_down", "shared_0_down", "shared_0_down_again", "shared_0")
    ]
    for name in ("shared_0_down", "shared_0"):
        down = "shared_0_down_down" if name == "shared_0_down" else "shared_0_down_again"
        parts = [np.array(twice.get_layer(n).kernel) for n in (down, name)]
        left, singular, right = np.linalg.svd(np.array(once.get_layer(name).kernel))
        wanted = left[:, :4] * singular[:4] @ right[:4]
        np.testing.assert_allclose(parts[0] @ parts[1], wanted, atol=1e-5)


# -- others --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kernels_that_keras_cannot_quantize_stay():
    model = SNR(keras.Input((8,)), tasks(), subnetwork_units=(4, 4))
    small = quantize(model)
    names = quantized_layers(small)
    assert {"click", "stay"} <= set(names)
    assert not any(isinstance(small.get_layer(n), keras.layers.EinsumDense) for n in names)
    assert_same(small, model, atol=0.1)


@pytest.mark.slow
def test_each_architecture_is_quantized_or_says_why_not():
    for name, make in ARCHITECTURES.items():
        model = make(make_tasks(name))
        try:
            assert quantized_layers(quantize(model)), name
        except ValueError as error:
            assert "no variable inside two layers" in str(error), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "smaller",
    [
        lambda m: prune_weights(m, 0.5),
        lambda m: prune_units(m, 0.5),
        lambda m: factorize(m, 1),
        quantize,
        lambda m: remove_idle_experts(m, X),
    ],
)
def test_what_is_made_takes_no_random_numbers_of_others(smaller):
    model = MMoE(keras.Input((8,)), tasks(), num_experts=2, expert_units=(4,))
    before = random.getstate()
    smaller(model)
    assert random.getstate() == before


# -- low rank, errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"`rank` or `energy` should be given, and not both"),
        ({"rank": 2, "energy": 0.5}, r"and not both"),
        ({"rank": 0}, r"`rank` should be a positive integer"),
        ({"energy": 1.5}, r"`energy` should be above 0 and at most 1"),
        ({"rank": 30}, r"`rank` should be lower: no kernel of .* would get smaller"),
        ({"rank": {"shared_0": 4}}, r"'shared_0', but its 8 x 8 numbers would be 4 x \(8 \+ 8\)"),
        ({"rank": 1, "layers": ["shared_9"]}, r"'shared_9', but the model has no such layer"),
        ({"rank": 1, "layers": "shared_0"}, r"`layers` should be a list of names"),
        ({"rank": {"shared_0": 1}, "layers": ["stay"]}, r"`layers` should be None where `rank`"),
    ],
)
def test_ranks_that_cannot_be(arguments, message):
    model = HardSharing(keras.Input((8,)), tasks(), shared_units=(8,), tower_units=())
    with pytest.raises(ValueError, match=message):
        factorize(model, **arguments)
