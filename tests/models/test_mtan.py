"""MTAN: its graph against NumPy, its masks, what is shared."""

import keras
import numpy as np
import pytest
from model_cases import assert_all_moved, assert_same, compiled, copies, data, tasks, train
from stage_cases import (
    assert_predicts,
    assert_rebuilt,
    batch_norm,
    conv_backbone,
    conv_data,
    conv_model,
    randomized,
    values,
)

from mtlzoo import MTAN, PCGrad
from mtlzoo.backbones import ResNet


def mtan(given=None, **arguments):
    keras.utils.set_random_seed(1)
    arguments = {"units": (5, 3), "activation": "tanh", **arguments}
    return MTAN(keras.Input((4,), name="x"), given or tasks(), **arguments)


def attention(z, found, layer):
    """The mask, at each position."""
    hidden = batch_norm(z @ found[f"{layer}/first/kernel"], found, f"{layer}/first_norm")
    scores = np.maximum(hidden, 0) @ found[f"{layer}/second/kernel"]
    return 1 / (1 + np.exp(-batch_norm(scores, found, f"{layer}/second_norm")))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("shared_lead", [False, True])
def test_it_is_the_equations_written_out_by_hand(shared_lead):
    model = randomized(mtan(shared_lead=shared_lead))
    x, _ = data()
    found = values(model)
    p, shared = x.astype("float64"), []
    for i in range(2):
        layer = f"shared_units_{i}"
        p = np.tanh(p @ found[f"{layer}/kernel"] + found[f"{layer}/bias"])
        shared.append(p)
    expected, masks = {}, {}
    for name in "ab":
        masks[name] = {"units_0": attention(shared[0], found, f"{name}_units_0_attention")}
        attended = masks[name]["units_0"] * shared[0]
        owner = "shared" if shared_lead else name
        led = attended @ found[f"{owner}_units_1_lead/kernel"]
        led = np.maximum(batch_norm(led, found, f"{name}_units_1_lead_norm"), 0)
        z = np.concatenate([shared[1], led], axis=1)
        masks[name]["units_1"] = attention(z, found, f"{name}_units_1_attention")
        attended = masks[name]["units_1"] * shared[1]
        expected[name] = attended @ found[f"{name}/kernel"] + found[f"{name}/bias"]
    assert_predicts(model, x, expected)
    for name, by_stage in model.attention_masks(x).items():
        assert list(by_stage) == ["units_0", "units_1"]
        for stage, mask in by_stage.items():
            np.testing.assert_allclose(mask, masks[name][stage], rtol=1e-4, atol=1e-6)


def maximum_of_four(x):
    """Maxima over windows of 2 x 2."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


def convolved(x, kernel):
    """A convolution 3 x 3 with zeros around."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1:3]
    return sum(padded[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3))


def test_maps_are_led_to_the_next_stage_by_convolution_and_pooling():
    model = randomized(conv_model(MTAN, stages=[("one", "two"), "three"]))
    x, _ = conv_data()
    inside = {n: model.get_layer(f"shared_{n}").output for n in ("one", "two", "three")}
    ends = keras.Model(model.input, inside).predict(x, verbose=0)
    u, p, last = (ends[n].astype("float64") for n in ("one", "two", "three"))
    found = values(model)
    masks = model.attention_masks(x)
    for name in ("parts", "size"):
        first = attention(u, found, f"{name}_two_attention")
        np.testing.assert_allclose(masks[name]["two"], first, rtol=1e-4, atol=1e-6)
        lead = f"{name}_three_lead"
        led = convolved(first * p, found[f"{lead}/kernel"])
        led = maximum_of_four(np.maximum(batch_norm(led, found, f"{lead}_norm"), 0))
        z = np.concatenate([last, led], axis=-1)
        second = attention(z, found, f"{name}_three_attention")
        np.testing.assert_allclose(masks[name]["three"], second, rtol=1e-4, atol=1e-5)


def test_parameters():
    shared = 4 * 5 + 5 + 5 * 3 + 3
    first = 5 * 5 + 5 * 5 + 8 * 5  # two products; two normalizations of four vectors each
    second = (3 + 3) * 3 + 3 * 3 + 8 * 3
    lead = 5 * 3 + 4 * 3
    own = shared + 2 * (first + second + lead) + 2 * (3 + 1)
    assert mtan().count_params() == own
    assert mtan(shared_lead=True).count_params() == own - 5 * 3


def test_the_network_is_shared_and_attention_is_the_tasks():
    model = mtan()
    assert {v.path.split("/")[0] for v in model.shared_variables} == {
        "shared_units_0",
        "shared_units_1",
    }
    for name in ("a", "b"):
        layers = {v.path.split("/")[0] for v in model.task_variables(name)}
        assert all(layer == name or layer.startswith(f"{name}_units") for layer in layers)
    assert [t.shape for t in model.boundary] == [(None, 5), (None, 3)]


@pytest.mark.slow
def test_a_shared_lead_is_shared_and_refused_at_features_level():
    model = mtan(shared_lead=True)
    assert "shared_units_1_lead/kernel" in {v.path for v in model.shared_variables}
    assert_rebuilt(model, data()[0])
    with pytest.raises(ValueError, match="`wrt` should be 'parameters' for this model"):
        compiled(model, PCGrad(wrt="features"))
    compiled(model, "pcgrad")
    before = copies(model.shared_variables)
    train(model, *data())
    assert_all_moved(model.shared_variables, before)
    with pytest.raises(ValueError, match=r"`shared_lead` should be True or False.*'yes'"):
        mtan(shared_lead="yes")


@pytest.mark.slow
def test_masks_by_task_name():
    x, _ = data()
    found = mtan().attention_masks(x, batch_size=3)
    again = mtan(tasks()[::-1]).attention_masks(x)
    for name in ("a", "b"):
        mask = found[name]["units_0"]
        assert mask.shape == (8, 5) and (mask > 0).all() and (mask < 1).all()
        np.testing.assert_allclose(again[name]["units_0"], mask, rtol=1e-5)


@pytest.mark.slow
def test_nothing_of_an_absent_tasks_attention_moves():
    model = compiled(mtan(), "pcgrad")
    x, y = data()
    own = [v for layer in model.layers if layer.name.startswith("b") for v in layer.variables]
    others = [v for layer in model.layers if layer.name.startswith("a_") for v in layer.variables]
    before, of_others = copies(own), copies(others)
    train(model, x, {**y, "b": np.full_like(y["b"], np.nan)})
    assert_same(own, before)
    assert_all_moved(others, of_others)


@pytest.mark.slow
def test_it_trains_on_maps_with_tasks_of_pixels_and_of_rows():
    model = conv_model(MTAN)
    x, y = conv_data()
    assert_rebuilt(model, x)
    compiled(model, "pcgrad", metrics={"parts": [], "size": []})
    before = copies(model.shared_variables)
    train(model, x, y)
    assert_all_moved(model.shared_variables, before)


def test_vectors_may_follow_maps():
    image = keras.Input((8, 8, 3), name="image")
    backbone = conv_backbone(pooled=True)
    model = MTAN(image, tasks(), backbone=backbone, stages=["two", "mean"], units=(3,))
    assert type(model.get_layer("a_mean_lead_pool")) is keras.layers.GlobalMaxPooling2D
    masks = model.attention_masks(conv_data()[0])["a"]
    shapes = {stage: mask.shape[1:] for stage, mask in masks.items()}
    assert shapes == {"two": (8, 8, 4), "mean": (4,), "units_0": (3,)}


@pytest.mark.slow
def test_of_a_residual_network_the_first_block_is_read():
    backbone = ResNet((8, 8, 3), blocks=(2, 1), widths=(2, 4))
    model = MTAN(keras.Input((8, 8, 3), name="image"), tasks(), backbone=backbone)
    kernel = model.get_layer("a_stage_1_attention")
    masks = model.attention_masks(np.ones((2, 8, 8, 3), "float32"))["a"]
    assert list(masks) == ["stem", "stage_1", "stage_2", "pool"]
    assert masks["stage_1"].shape == (2, 8, 8, 2) and masks["stage_2"].shape == (2, 4, 4, 4)
    reads = kernel._inbound_nodes[0].input_tensors[0]
    assert reads is model.get_layer("shared_stage_1_block_0").output


@pytest.mark.slow
def test_config_and_student():
    model = mtan(dropout=0.1, name="mine")
    x, _ = data()
    assert_rebuilt(model, x)
    assert model.student(0.4).attention_masks(x)["a"]["units_0"].shape == (8, 2)
    model = conv_model(MTAN, stages=[("one", "two"), "three"])
    assert_rebuilt(model, conv_data()[0])


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("one", r"`stages` should be a list of names and pairs. Received: stages='one'"),
        ([("one",)], "`stages` should be names of layers and pairs of them"),
        ([("two", "three")], "The two tensors of a stage should have the same positions"),
        ([("none", "two")], "`stages` should be names of layers of the backbone"),
    ],
)
def test_stages_are_checked(stages, message):
    with pytest.raises(ValueError, match=message):
        conv_model(MTAN, stages=stages)
