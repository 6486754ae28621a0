import keras
import numpy as np
import pytest

from mtlzoo import PLE, BinaryClassification, HardSharing, MMoE, OMoE, Regression
from mtlzoo.analysis import quantize, remove_idle_experts
from mtlzoo.layers import DSelectKGate, SoftmaxGate, TopKGate
from mtlzoo.training import remove_task

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
X[:, 0] = 1  # so that a gate's first row of weights is a bias


def tasks():
    return [BinaryClassification("click"), Regression("stay")]


def answers(model):
    return {name: np.array(output) for name, output in model(X, training=False).items()}


def decide(model, idle, value=-200.0):
    """Have all gates leave experts idle: `idle` are places among those of each gate."""
    for layer in model.layers:
        if layer.name.endswith("_gate"):
            values = [np.array(v) for v in layer.get_weights()]
            at = next(i for i, v in enumerate(layer.weights) if v.name == "kernel")
            values[at] *= 0.1
            values[at][0, idle] = value
            layer.set_weights(values)
    return model


NETWORK = [keras.layers.Dense, (5,), {"activation": "relu", "name": "inner"}]


def network():
    kind, arguments, options = NETWORK
    return keras.Sequential([keras.Input((6,)), kind(*arguments, **options)])


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        (MMoE, {"expert_units": (5, 4)}),
        (MMoE, {"gate": "top_k"}),
        (MMoE, {"gate": TopKGate(4, k=2), "expert_network": "a network"}),
        (OMoE, {"gate": SoftmaxGate(entropy_weight=0.1)}),
    ],
    ids=["two layers", "top k", "networks", "one gate"],
)
def test_answers_are_the_same_without_experts_of_no_weight(architecture, options, tmp_path):
    if "expert_network" in options:
        options = {**options, "expert_network": network()}
    model = decide(architecture(keras.Input((6,)), tasks(), num_experts=4, **options), [1])
    small = remove_idle_experts(model, X)
    assert type(small) is architecture
    assert small.get_config()["num_experts"] == 3
    assert small.count_params() < model.count_params()
    for name, wanted in answers(model).items():
        np.testing.assert_allclose(answers(small)[name], wanted, atol=1e-6)
    left, before = small.gate_weights(X)["stay"], model.gate_weights(X)["stay"]
    np.testing.assert_allclose(left, before[:, [0, 2, 3]], atol=1e-6)
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(answers(loaded)["stay"], answers(small)["stay"])


@pytest.mark.slow
def test_ple_loses_experts_of_the_bank_they_are_in():
    model = PLE(
        keras.Input((6,)), tasks(), num_levels=2, num_shared_experts=3, num_task_experts=[2, 1]
    )
    # Of the first level: a task's gate has its 2 own experts, then the 3 shared ones.
    for gate, columns in {
        "level_0_click_gate": [1, 3],
        "level_0_stay_gate": [3],
        "level_0_shared_gate": [1, 5],  # click's second and the shared second
    }.items():
        layer = model.get_layer(gate)
        kernel = np.array(layer.kernel) * 0.1
        kernel[0, columns] = -200
        layer.kernel.assign(kernel)
    small = remove_idle_experts(model, X)
    config = small.get_config()
    assert config["num_shared_experts"] == [2, 3]
    assert config["num_task_experts"] == [{"click": 1, "stay": 2}, {"click": 1, "stay": 1}]
    for name, wanted in answers(model).items():
        np.testing.assert_allclose(answers(small)[name], wanted, atol=1e-6)


@pytest.mark.slow
def test_below_the_threshold_answers_are_close_and_one_expert_stays():
    model = decide(MMoE(keras.Input((6,)), tasks(), num_experts=4), [2], -4.0)
    usage = max(weights.mean(0)[2] for weights in model.gate_weights(X).values())
    assert 0.002 < usage < 0.02
    assert remove_idle_experts(model, X, 0.5 * usage).count_params() == model.count_params()
    small = remove_idle_experts(model, X, 2 * usage)
    assert small.get_config()["num_experts"] == 3
    for name, wanted in answers(model).items():
        error = np.abs(answers(small)[name] - wanted).max()
        assert 0 < error < 0.1
    assert remove_idle_experts(model, X, 0.99).get_config()["num_experts"] == 1


def test_frozen_layers_stay_frozen():
    model = decide(MMoE(keras.Input((6,)), tasks(), num_experts=3), [0])
    model.get_layer("stay_tower_0").trainable = False
    small = remove_idle_experts(model, X)
    assert not small.get_layer("stay_tower_0").trainable
    assert small.get_layer("click_tower_0").trainable


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("build", "threshold", "message"),
    [
        (lambda: HardSharing(keras.Input((6,)), tasks()), 0.1, r"should be an MMoE.* HardSharing"),
        (
            lambda: MMoE(keras.Input((6,)), tasks(), num_experts=2, gate=DSelectKGate()),
            0.1,
            r"should have gates .*`click_gate`, a DSelectKGate",
        ),
        (
            lambda: decide(MMoE(keras.Input((6,)), tasks(), num_experts=3, gate="top_k"), [0, 1]),
            0.95,
            r"`threshold` should be lower: `click_gate` chooses 2 experts",
        ),
        (lambda: MMoE(keras.Input((6,)), tasks(), num_experts=2), 1, r"from 0 to below 1"),
        (lambda: MMoE(keras.Input((6,)), tasks(), num_experts=2), -1, r"from 0 to below 1"),
    ],
)
def test_what_cannot_lose_experts(build, threshold, message):
    with pytest.raises(ValueError, match=message):
        remove_idle_experts(build(), X, threshold)


def test_without_a_task_the_others_answer_the_same_to_the_bit(tmp_path):
    model = MMoE(keras.Input((6,)), tasks(), num_experts=3)
    small = remove_task(model, "click")
    np.testing.assert_array_equal(answers(small)["stay"], answers(model)["stay"])
    assert small.count_params() < model.count_params()


# -- eight bits ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_kernels_are_integers_in_a_copy(tmp_path):
    model = HardSharing(keras.Input((6,)), tasks(), shared_units=(16, 16), tower_units=())
    before = answers(model)
    small = quantize(model)
    assert small.get_layer("shared_0")._kernel.dtype == "int8"
    np.testing.assert_array_equal(answers(model)["stay"], before["stay"])
    for name, wanted in before.items():
        error = np.abs(answers(small)[name] - wanted).max()
        assert 0 < error < 0.05 * np.abs(wanted).max()
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_array_equal(answers(loaded)["stay"], answers(small)["stay"])
    small.compile("sgd", jit_compile=False, run_eagerly=True)
    labels = {"click": np.ones((40, 1)), "stay": np.ones((40, 1))}
    assert np.isfinite(small.evaluate(X, labels, verbose=0, return_dict=True)["loss"])
    with pytest.raises(ValueError, match=r"should not be quantized.*`shared_0` is"):
        quantize(small)


def test_modes_and_models_that_cannot_be():
    model = HardSharing(keras.Input((6,)), tasks(), shared_units=(4,))
    with pytest.raises(ValueError, match=r"`mode` should be one of \['int8', 'int4'\]"):
        quantize(model, "int2")
