"""Mixtures, routing and transfer on sequences and maps: at each position as on its vector."""

import keras
import numpy as np
import pytest
from model_cases import compiled

from mtlzoo import AITM, PLE, SNR, BinaryClassification, MMoE, OMoE, SemanticSegmentation
from mtlzoo.layers import DSelectKGate, Experts, InformationTransfer, SubNetworkRouting, TopKGate
from mtlzoo.layers.gates import SoftmaxGate

RNG = np.random.default_rng(0)
MODELS = {
    "MMoE": (MMoE, {"num_experts": 3, "expert_units": (5,)}),
    "MMoE, top-k": (MMoE, {"num_experts": 3, "expert_units": (5, 4), "gate": "top_k"}),
    "MMoE, DSelect-k": (MMoE, {"num_experts": 3, "expert_units": (5,), "gate": "dselect_k"}),
    "OMoE": (OMoE, {"num_experts": 3, "expert_units": (5,)}),
    "PLE": (PLE, {"num_levels": 2, "expert_units": (5,)}),
    "SNR": (SNR, {"num_subnetworks": 2, "subnetwork_units": (5, 4)}),
    "SNR, aver": (SNR, {"num_subnetworks": 2, "subnetwork_units": (5, 5), "routing": "aver"}),
    "AITM": (AITM, {"sequence": ("indoors", "parts"), "tower_units": (5,)}),
}


def randomized(layer):
    for variable in layer.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape))
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: Experts(3, (5, 4)),
        lambda: SoftmaxGate(4),
        lambda: TopKGate(4, k=2),
        lambda: DSelectKGate(4),
        lambda: DSelectKGate(4, per_example=False),
    ],
)
@pytest.mark.parametrize("shape", [(2, 7), (2, 3, 4)])
def test_a_layer_at_each_position_is_the_layer_on_its_vector(make, shape):
    layer = make()
    x = RNG.normal(size=(*shape, 6)).astype("float32")
    layer.build((None, 6))
    randomized(layer)
    found = layer(x)
    expected = np.array(layer(x.reshape(-1, 6)))
    assert found.shape == (*shape, *expected.shape[1:]) == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-5)


@pytest.mark.parametrize("routing", ["trans", "aver"])
def test_routing_at_each_position(routing):
    layer = SubNetworkRouting(2, routing=routing, sample=False)
    x = RNG.normal(size=(2, 5, 3, 4)).astype("float32")
    expected = np.array(layer(x.reshape(-1, 3, 4)))
    assert layer.compute_output_shape(x.shape) == (2, 5, 2, 4)
    np.testing.assert_allclose(layer(x), expected.reshape(2, 5, 2, 4), rtol=1e-5)


def test_transfer_at_each_position():
    layer = InformationTransfer(3)
    p, q = RNG.normal(size=(2, 2, 5, 4)).astype("float32")
    expected = layer([p.reshape(-1, 4), q.reshape(-1, 4)])
    found = layer([p, q])
    assert [t.shape for t in found] == [(2, 5, 3), (2, 5, 2)]
    assert layer.compute_output_shape([p.shape, q.shape]) == ((2, 5, 3), (2, 5, 2))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, np.reshape(other, one.shape), rtol=1e-5)


def of_maps(name):
    keras.utils.set_random_seed(0)
    architecture, arguments = MODELS[name]
    image = keras.Input((8, 8, 3), name="image")
    backbone = keras.Sequential([keras.layers.Conv2D(4, 3, 2, padding="same", activation="tanh")])
    tasks = [SemanticSegmentation("parts", 3), BinaryClassification("indoors")]
    return architecture(image, tasks, backbone=backbone, **arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_tasks_of_pixels_and_of_rows_are_trained_and_saved(name, tmp_path):
    model = compiled(of_maps(name), "pcgrad", metrics={"parts": [], "indoors": []})
    x = RNG.normal(size=(4, 8, 8, 3)).astype("float32")
    y = {"parts": RNG.integers(0, 3, (4, 4, 4)), "indoors": RNG.integers(0, 2, 4)}
    before = [np.array(v) for v in model.trainable_variables]
    model.fit(x, y, epochs=3, verbose=0)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        assert np.isfinite(variable).all()
        assert np.abs(np.array(variable) - old).max() > 0 or "noise" in variable.path, variable.path
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    expected = model.predict(x, verbose=0)
    assert expected["parts"].shape == (4, 4, 4, 3)
    for task, outputs in loaded.predict(x, verbose=0).items():
        np.testing.assert_array_equal(outputs, expected[task])


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", MODELS)
def test_padding_does_not_show(name):
    """Tokens of different lengths, of which a task of rows takes the mean."""

    def model(length):
        keras.utils.set_random_seed(0)
        architecture, arguments = MODELS[name]
        ids = keras.Input((length,), dtype="int32", name="ids")
        backbone = keras.Sequential(
            [keras.layers.Embedding(9, 4, mask_zero=True), keras.layers.Dense(4)]
        )
        tasks = [BinaryClassification("indoors"), BinaryClassification("parts")]
        return architecture(ids, tasks, backbone=backbone, **arguments)

    short, long = model(3), model(7)
    for one in (short, long):
        for i, variable in enumerate(one.trainable_variables):
            variable.assign(np.random.default_rng(i).normal(size=variable.shape))
    ids = np.array([[3, 4, 5], [6, 7, 0]])
    padded = np.pad(ids, ((0, 0), (0, 4)))
    expected = short(ids)
    for task, outputs in long(padded).items():
        np.testing.assert_allclose(outputs, expected[task], rtol=1e-4, atol=1e-5)
    assert long.predict(padded, verbose=0)["parts"] == pytest.approx(
        np.array(expected["parts"]), rel=1e-4, abs=1e-5
    )
