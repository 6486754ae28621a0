"""Atrous spatial pyramid pooling against its definition."""

import keras
import numpy as np
import pytest
from backbones.numpy_forward import NORMS, convolve, relu, weights_of

from mtlzoo.layers import ASPP


def made(filters=4, channels=3, **arguments):
    layer = ASPP(filters, **arguments)
    layer.build((None, None, None, channels))
    rng = np.random.default_rng(1)
    for variable in layer.variables:
        values = rng.normal(scale=0.5, size=variable.shape)
        is_scale = variable.name in ("gamma", "moving_variance")
        variable.assign(1 + np.abs(values) if is_scale else values)
    return layer


def maps(size=(5, 6), channels=3):
    return np.random.default_rng(0).normal(size=(2, *size, channels))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_it_is_its_definition(norm):
    layer, x = made(rates=(1, 2, 7), norm=norm, dtype="float64"), maps()
    w = weights_of(layer, "")

    def unit(x, name, rate=1):
        return relu(
            NORMS[norm](convolve(x, w[f"{name}_conv/kernel"], rate=rate), w, f"{name}_norm")
        )

    branches = [unit(x, "point"), *(unit(x, f"rate_{i}", r) for i, r in enumerate((1, 2, 7)))]
    mean = unit(x.mean((1, 2), keepdims=True), "mean")
    joined = np.concatenate([*branches, np.broadcast_to(mean, branches[0].shape)], -1)
    expected = unit(joined, "join")
    assert (expected > 0).mean() > 0.2
    np.testing.assert_allclose(layer(x), expected, rtol=1e-9, atol=1e-9)
    assert layer.compute_output_shape(x.shape) == expected.shape


def test_every_branch_has_a_part_and_trains():
    layer, x = made(rates=(1, 2)), maps().astype("float32")
    outputs = np.asarray(layer(x))
    kernels = [v for v in layer.trainable_variables if v.name == "kernel"]
    assert len(kernels) == 5  # point, two rates, mean, join
    for kernel in kernels:
        before = np.asarray(kernel)
        kernel.assign(-before)
        assert np.abs(np.asarray(layer(x)) - outputs).max() > 1e-3
        kernel.assign(before)
    # Moving statistics are what training moves and inference does not.
    means = [v for v in layer.variables if v.name == "moving_mean"]
    old = [np.asarray(v) for v in means]
    layer(x, training=False)
    assert all(np.array_equal(v, o) for v, o in zip(means, old, strict=True))
    layer(x, training=True)
    assert not any(np.array_equal(v, o) for v, o in zip(means, old, strict=True))


def test_sizes_that_are_not_known():
    layer, inputs = made(rates=(1, 2)), keras.Input((None, None, 3))
    model = keras.Model(inputs, layer(inputs))
    assert model.output.shape == (None, None, None, 4)
    assert layer.compute_output_shape((None, 7, None, 3)) == (None, 7, None, 4)
    for size in ((3, 4), (1, 1)):
        x = maps(size).astype("float32")
        np.testing.assert_allclose(model(x), layer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(dtype):
    x = maps().astype("float32")
    found, expected = made(rates=(1, 2), dtype=dtype)(x), np.asarray(made(rates=(1, 2))(x))
    assert keras.backend.standardize_dtype(found.dtype) == dtype.removeprefix("mixed_")
    found = keras.ops.convert_to_numpy(keras.ops.cast(found, "float32"))
    tolerance = {"mixed_bfloat16": 0.05, "mixed_float16": 0.01}[dtype]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * expected.max())


def test_config():
    layer = ASPP(5, rates=[2, 3], norm="group", name="pyramid", dtype="mixed_bfloat16")
    again = ASPP.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.filters, again.rates, again.norm) == (5, (2, 3), "group")
    assert again.name == "pyramid" and again.compute_dtype == "bfloat16"
    assert ASPP().get_config()["rates"] == [6, 12, 18] and ASPP().filters == 256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "`filters` should be a positive integer. Received: filters=0"),
        ({"filters": True}, "`filters` should be a positive integer. Received: filters=True"),
        (
            {"rates": (2, 0)},
            "`rates` should be a tuple of positive integers. Received: rates=(2, 0)",
        ),
        ({"rates": 6}, "`rates` should be a tuple of positive integers. Received: rates=6"),
        ({"norm": "layer"}, "`norm` should be one of 'batch', 'group'. Received: norm='layer'"),
        ({"norm": None}, "`norm` should be one of 'batch', 'group'. Received: norm=None"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError) as error:
        ASPP(**arguments)
    assert str(error.value) == message
