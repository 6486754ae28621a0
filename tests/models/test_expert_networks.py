"""Mixtures whose experts are copies of a network: NumPy, starts, files, students, refusals."""

import json

import keras
import numpy as np
import pytest
from model_cases import assert_same, compiled, copies, tasks, train
from stage_cases import values

from mtlzoo import PLE, MMoE, OMoE, SemanticSegmentation
from mtlzoo.backbones import ConvNet
from mtlzoo.layers import SoftmaxGate

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(6, 5, 5, 2)).astype("float32")
LABELS = {"a": RNG.integers(0, 2, 6), "b": RNG.normal(size=6).astype("float32")}
MIXTURES = {
    "MMoE": (MMoE, {"num_experts": 3}),
    "OMoE": (OMoE, {"num_experts": 3}),
    "PLE": (PLE, {"num_shared_experts": 1, "num_task_experts": 1, "expert_units": (4,)}),
}


def convolution(seed=None):
    """From images to vectors."""
    glorot = keras.initializers.GlorotUniform(seed=seed)
    image = keras.Input((5, 5, 2), name="image")
    maps = layers.Conv2D(3, 3, activation="tanh", kernel_initializer=glorot, name="conv")(image)
    maps = layers.Flatten(name="flat")(maps)
    out = layers.Dense(4, "tanh", kernel_initializer=glorot, name="out")(maps)
    return keras.Model(image, out, name="network")


def mixture(name="MMoE", network=None, shape=(5, 5, 2), given=None, **arguments):
    keras.utils.set_random_seed(1)
    architecture, usual = MIXTURES[name]
    arguments = {"expert_network": network or convolution(), "tower_units": (), **arguments}
    inputs = keras.Input(shape, name="image")
    return architecture(inputs, given or tasks(), **{**usual, **arguments})


def convolved(x, kernel, bias):
    """The 3x3 windows of images, each as a product."""
    height, width = x.shape[1] - 2, x.shape[2] - 2
    maps = np.zeros((len(x), height, width, kernel.shape[-1]))
    for i in range(3):
        for j in range(3):
            maps += x[:, i : i + height, j : j + width] @ kernel[i, j]
    return maps + bias


def softmax(logits):
    scores = np.exp(logits)
    return scores / scores.sum(-1, keepdims=True)


def experts_by_hand(found, prefix, count):
    experts = []
    for k in range(count):
        one = f"{prefix}_{k}"
        maps = np.tanh(convolved(IMAGES, found[f"{one}_conv/kernel"], found[f"{one}_conv/bias"]))
        hidden = maps.reshape(len(maps), -1) @ found[f"{one}_out/kernel"]
        experts.append(np.tanh(hidden + found[f"{one}_out/bias"]))
    return np.stack(experts, 1)


def test_experts_may_be_convolutional():
    model = mixture()
    found = values(model)
    experts = experts_by_hand(found, "experts", 3)
    flat = IMAGES.reshape(6, -1)
    gates = model.gate_weights(IMAGES)
    for name, outputs in model.predict(IMAGES, verbose=0).items():
        gate = softmax(flat @ found[f"{name}_gate/kernel"])
        np.testing.assert_allclose(gates[name], gate, rtol=1e-4)
        mixed = (gate[:, :, None] * experts).sum(1)
        expected = mixed @ found[f"{name}/kernel"] + found[f"{name}/bias"]
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    network = 9 * 2 * 3 + 3 + 27 * 4 + 4
    assert model.count_params() == 3 * network + 2 * (50 * 3) + 2 * (4 + 1)
    shared = {v.path.split("/")[0] for v in model.shared_variables}
    assert shared == {f"experts_{k}_{layer}" for k in range(3) for layer in ("conv", "out")}
    (boundary,) = model.boundary  # what the gates read are the images, before any variable
    assert boundary.shape == (None, 3, 4)


def test_they_are_the_first_level_of_ple():
    model = mixture("PLE", expert_units=[(3,)])
    found = values(model)
    banks = {o: experts_by_hand(found, f"level_0_{o}_experts", 1) for o in ("a", "b", "shared")}
    flat, mixes = IMAGES.reshape(6, -1), {"shared": ["a", "b", "shared"]}
    mixes |= {name: [name, "shared"] for name in "ab"}
    read = {}
    for owner, mixed in mixes.items():
        gate = softmax(flat @ found[f"level_0_{owner}_gate/kernel"])
        experts = np.concatenate([banks[o] for o in mixed], 1)
        read[owner] = (gate[:, :, None] * experts).sum(1)
    prefix = "level_1_{}_experts"
    for owner, features in read.items():
        hidden = features @ found[prefix.format(owner) + "/kernel_0"]
        banks[owner] = np.maximum(hidden + found[prefix.format(owner) + "/bias_0"], 0)
    for name, outputs in model.predict(IMAGES, verbose=0).items():
        gate = softmax(read[name] @ found[f"level_1_{name}_gate/kernel"])
        mixed = gate[:, :1] * banks[name] + gate[:, 1:] * banks["shared"]
        expected = mixed @ found[f"{name}/kernel"] + found[f"{name}/bias"]
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


def test_with_one_level_of_ple_a_tasks_experts_are_its_own():
    model = mixture("PLE", num_levels=1, expert_units=None)
    owned = {v.path.split("/")[0] for v in model.task_variables("a")}
    assert owned == {*(f"level_0_a_experts_0_{n}" for n in ("conv", "out")), "level_0_a_gate", "a"}


@pytest.mark.parametrize("seed", [None, 3])
def test_experts_differ_at_the_start(seed):
    network = convolution(seed)
    model = mixture(network=network)
    kernels = [network.get_layer("conv").kernel]
    kernels += [model.get_layer(f"experts_{k}_conv").kernel for k in range(3)]
    for i, one in enumerate(kernels):
        for other in kernels[:i]:
            assert np.abs(np.array(one) - np.array(other)).max() > 0.05
    if seed is not None:  # and a seed still makes the model the same again
        again = mixture(network=convolution(seed))
        assert_same([again.get_layer("experts_2_conv").kernel], [kernels[-1]])


def test_what_is_frozen_or_has_adapted_is_kept():
    norm = layers.Normalization(name="norm")
    norm.adapt(3 + 2 * IMAGES)
    frozen = layers.Conv2D(3, 3, trainable=False, name="frozen")
    network = keras.Sequential([norm, frozen, layers.Flatten(), layers.Dense(2, name="out")])
    network.build((None, 5, 5, 2))
    frozen.kernel.assign(RNG.normal(size=frozen.kernel.shape))
    model = mixture(network=network)
    for k in range(3):
        assert_same(model.get_layer(f"experts_{k}_frozen").weights, frozen.weights)
        np.testing.assert_array_equal(model.get_layer(f"experts_{k}_norm")(IMAGES), norm(IMAGES))
    assert all("frozen" not in v.path for v in model.trainable_variables)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", MIXTURES)
def test_it_is_trained_saved_and_rebuilt(name, tmp_path):
    model = mixture(name, gate=SoftmaxGate(hidden_units=(3,)))
    again = type(model).from_config(json.loads(json.dumps(model.get_config())))
    again.set_weights(model.get_weights())
    assert_same(list(again(IMAGES).values()), list(model(IMAGES).values()))
    before = copies(model.shared_variables)
    train(compiled(model, "mgda"), IMAGES, LABELS)
    for variable, old in zip(model.shared_variables, before, strict=True):
        assert np.abs(np.array(variable) - old).max() > 0, variable.path
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert_same(list(loaded(IMAGES).values()), list(model(IMAGES).values()))


def test_a_student_is_narrower():
    network = ConvNet((5, 5, 2), (4,), kernel_size=3, pool_size=1, dense_units=(6,))
    student = mixture("PLE", network, gate=SoftmaxGate(hidden_units=(8,))).student(0.5)
    assert student.get_layer("level_0_a_experts_0_conv_0_conv").filters == 2
    assert student.get_layer("level_0_a_experts").output.shape == (None, 1, 3)
    assert student.get_layer("level_1_a_experts").units == (2,)
    assert student.get_layer("level_0_a_gate").hidden_units == (4,)
    with pytest.raises(ValueError, match="`expert_network` of this model has no method `scaled`"):
        mixture().student()
    assert mixture().student(expert_network=convolution()).get_config()["expert_units"] is None


def test_in_half_precision_the_bank_has_the_models_dtype():
    model = mixture(dtype="mixed_float16")
    assert model.get_layer("experts").output.dtype == "float16"
    assert all(np.isfinite(v).all() for v in model.predict(IMAGES, verbose=0).values())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", MIXTURES)
def test_gates_of_rows_serve_all_positions_of_smaller_maps(name):
    given = [SemanticSegmentation("a", 3), SemanticSegmentation("b", 2)]
    model = mixture(name, layers.Conv2D(4, 3, name="conv"), given=given)
    gates = keras.tree.flatten(model.gate_weights(IMAGES)[{"PLE": "level_0"}.get(name, "a")])
    assert gates[0].shape == (6, {"PLE": 2}.get(name, 3))
    assert model.predict(IMAGES, verbose=0)["a"].shape == (6, 3, 3, 3)
    if name == "OMoE":
        found = values(model)
        maps = [
            convolved(IMAGES, *(found[f"experts_{k}_conv/{part}"] for part in ("kernel", "bias")))
            for k in range(3)
        ]
        expected = sum(gates[0][:, k, None, None, None] * maps[k] for k in range(3))
        mixed = keras.Model(model.input, model.boundary[0])
        np.testing.assert_allclose(mixed(IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_gates_read_sequences_without_their_padding():
    words = layers.Embedding(9, 4, mask_zero=True, name="words")
    keras.utils.set_random_seed(1)
    ids = keras.Input((5,), dtype="int32", name="ids")
    backbone = keras.Sequential([words], name="backbone")
    model = MMoE(ids, tasks(), backbone=backbone, num_experts=2, expert_network=layers.LSTM(3))
    rows = np.array([[1, 2, 0, 0, 0], [3, 0, 0, 0, 0]])
    read = np.array(words.embeddings)[rows] * (rows > 0)[..., None]
    kernel = model.get_layer("a_gate").kernel
    expected = softmax(read.reshape(2, -1) @ np.array(kernel))
    np.testing.assert_allclose(model.gate_weights(rows)["a"], expected, rtol=1e-5)


def test_inputs_may_be_several():
    inputs = {"image": keras.Input((5, 5, 2), name="image"), "age": keras.Input((1,), name="age")}
    joined = layers.Concatenate()([layers.Flatten()(inputs["image"]), inputs["age"]])
    network = keras.Model(inputs, layers.Dense(3, name="out")(joined))
    model = MMoE(inputs, tasks(), num_experts=2, expert_network=network)
    assert model.get_layer("a_gate").kernel.shape == (51, 2)
    x = {"image": IMAGES, "age": np.ones((6, 1), "float32")}
    assert model.predict(x, verbose=0)["a"].shape == (6, 1)


def refused(message, **arguments):
    with pytest.raises(ValueError, match=message):
        mixture(**arguments)


def test_networks_that_cannot_be_experts_are_refused():
    same = layers.Dense(2, kernel_initializer="ones")
    several = layers.LSTM(2, return_state=True)
    refused("`expert_network` should have weights whose initializers draw", network=same)
    refused("should have weights .* copy `level_0_b_experts_0` st", name="PLE", network=same)
    refused("should be a functional Keras model, a Sequential or a la", network=lambda x: x)
    refused("should take what experts read, of shape .*`lstm", network=layers.LSTM(2, name="lstm"))
    refused("should return one tensor of features", network=several, shape=(5, 2))


def test_units_beside_a_network_are_refused():
    message = r"`expert_units` should be None where an `expert_network` is given.*Received: expert_"
    refused(message, expert_units=(4,))
    refused(message, name="PLE", num_levels=1)
    refused(
        "`expert_units` should have an entry for each of 1 levels",
        name="PLE",
        expert_units=[(2,)] * 2,
    )


def test_what_gates_cannot_read_is_refused():
    words = keras.Sequential([layers.Embedding(9, 4), layers.LSTM(2)])
    ids = keras.Input((5,), dtype="int32", name="ids")
    message = "Gates should read floats; a `backbone` makes features of other inputs. Received: `i"
    with pytest.raises(ValueError, match=message):
        MMoE(ids, tasks(), expert_network=words)
    message = "Features that gates read should have a known number of positions"
    with pytest.raises(ValueError, match=message):
        MMoE(keras.Input((None, 2)), tasks(), expert_network=layers.LSTM(2))
