"""EfficientNet-Lite0: against NumPy in float64, its published size, its stages."""

import keras
import numpy as np
import pytest
from backbone_cases import inputs_of, randomize
from efficientnet_forward import forward
from numpy_forward import weights_of

from mtlzoo import HardSharing, Regression
from mtlzoo.backbones import EfficientNetLite0


def tensors_of(model):
    """The weights, layer after layer, as lists of arrays."""
    return [
        [np.asarray(v, "float64") for v in layer.weights] for layer in model.layers if layer.weights
    ]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("size", [(33, 32), (20, 14)])
def test_the_forward_pass_is_that_of_numpy(size):
    model = randomize(
        EfficientNetLite0(
            (*size, 3),
            (1, 2, 2, 1, 1, 2, 1),
            (3, 4, 5, 4, 5, 6, 7),
            stem_filters=3,
            head_filters=8,
            max_pixel=1.0,
            classes=4,
            dtype="float64",
        )
    )
    x = inputs_of(model)
    blocks = (1, 2, 2, 1, 1, 2, 1)
    found = model(x)
    maps, logits = forward((x.astype("float64") * 255 - 127) / 128, tensors_of(model), blocks)
    assert np.std(logits) > 1e-3
    np.testing.assert_allclose(found, logits, rtol=1e-9, atol=1e-9)
    features = keras.Model(model.input, model.get_layer("head").output)(x)
    np.testing.assert_allclose(features, maps, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_the_published_size_and_stages():
    model = EfficientNetLite0((None, None, 3), classes=1000)
    assert model.count_params() == 4_694_024
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 4_652_008
    strides = dict(zip(model.stage_names, (2, 2, 4, 8, 16, 16, 32, 32, 32), strict=False))
    x = np.zeros((1, 64, 96, 3), "float32")
    ends = keras.Model(model.input, [model.get_layer(name).output for name in strides])
    widths = (32, 16, 24, 40, 80, 112, 192, 320, 1280)
    for found, stride, width in zip(ends(x), strides.values(), widths, strict=True):
        assert found.shape == (1, 64 // stride, 96 // stride, width)
    assert model.stage_names[-2:] == ("pool", "logits")


def test_pixels_of_either_scale_give_the_same():
    model = randomize(EfficientNetLite0((8, 8, 3), (1,), (3,), stem_filters=2, head_filters=3))
    scaled = EfficientNetLite0(**{**model.get_config(), "max_pixel": 1.0})
    scaled.set_weights(model.get_weights())
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    np.testing.assert_allclose(model(x), scaled(x.astype("float32") / 255), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_frozen_stage_rests_with_its_statistics():
    trunk = EfficientNetLite0((16, 16, 3), (1, 1), (3, 4), stem_filters=2, head_filters=3)
    frozen = trunk.stage_names.index("stage_1")
    ends = [trunk.layers.index(trunk.get_layer(name)) for name in trunk.stage_names]
    for layer in trunk.layers[: ends[frozen] + 1]:
        layer.trainable = False
    model = HardSharing(trunk.input, [Regression("a")], backbone=trunk)
    model.compile("sgd")
    before = weights_of(trunk, "")
    x = inputs_of(trunk, rows=4)
    model.fit(x, {"a": np.arange(4.0)}, batch_size=4, verbose=0)
    moved = {k.split("/")[0] for k, v in weights_of(trunk, "").items() if (v != before[k]).any()}
    assert all(name.startswith(("stage_2", "head")) for name in moved) and len(moved) > 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": (1,) * 8, "widths": (2,) * 8}, r"`blocks` .* at most 7 entries. Received: "),
        ({"blocks": (1, 1), "widths": (2,)}, r"one entry for each stage. Received: blocks=\(1, 1"),
        ({"head_filters": 0}, r"`head_filters` should be an integer .* Received: head_filters=0"),
        ({"stem_filters": 1.5}, r"`stem_filters` should be .* Received: stem_filters=1.5"),
        ({"max_pixel": 0}, r"`max_pixel` should be a positive number. Received: max_pixel=0"),
        ({"max_pixel": True}, r"`max_pixel` should be a positive number. Received: max_pixel=True"),
        ({"classes": 0}, r"`classes` should be an integer of at least 1. Received: classes=0"),
        ({"classes": 3, "pooled": False}, r"`pooled` should be True .* pooled=False, classes=3"),
    ],
)
def test_unusable_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        EfficientNetLite0((8, 8, 3), **arguments)
