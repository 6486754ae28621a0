"""Fusion by discriminative dimensionality reduction against NumPy."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import NDDRUnit


def features(shape=(6, 3), count=3):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for _ in range(count)]


@pytest.mark.parametrize("shape", [(6, 3), (2, 5, 3), (2, 4, 4, 3)])
def test_it_reduces_all_channels_to_those_of_one(shape):
    xs = features(shape)
    unit = NDDRUnit(1, activation="tanh")
    assert unit(xs).shape == shape == unit.compute_output_shape([shape] * 3)
    rng = np.random.default_rng(1)
    for variable in unit.variables:
        variable.assign(rng.uniform(0.5, 1.5, size=variable.shape))
    kernel = np.array(unit.kernel, "float64")
    assert kernel.shape == (9, 3)
    norm = {v.name: np.array(v, "float64") for v in unit.variables}
    joined = np.concatenate(xs, axis=-1).astype("float64") @ kernel
    scaled = (joined - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-5)
    expected = np.tanh(scaled * norm["gamma"] + norm["beta"])
    np.testing.assert_allclose(unit(xs), expected, rtol=1e-4, atol=1e-5)


def test_training_normalizes_over_rows_and_positions():
    xs = features((8, 4, 4, 3))
    found = np.array(NDDRUnit(0, activation=None)(xs, training=True))
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_it_begins_with_diagonal_blocks():
    unit = NDDRUnit(1)
    unit.build([(None, 2)] * 3)
    one = np.eye(2)
    expected = np.concatenate([0.05 * one, 0.9 * one, 0.05 * one])
    np.testing.assert_allclose(unit.kernel, expected, rtol=1e-6)
    unit = NDDRUnit(0, within=1.0, between=0.0)
    unit.build([(None, 2)] * 2)
    np.testing.assert_array_equal(unit.kernel, np.concatenate([one, 0 * one]))


def test_weight_decay_is_a_loss():
    unit = NDDRUnit(0, weight_decay=0.5)
    unit.build([(None, 2)] * 2)
    (loss,) = unit.losses
    np.testing.assert_allclose(loss, 0.5 * 2 * (0.9**2 + 0.1**2), rtol=1e-6)
    assert not NDDRUnit(0).losses


def test_the_config_gives_the_same_layer():
    unit = NDDRUnit(1, 0.8, 0.3, "gelu", 0.1, name="unit", dtype="float64")
    config = unit.get_config()
    again = NDDRUnit.from_config(config)
    assert again.get_config() == config
    again.build([(None, 2)] * 2)
    np.testing.assert_allclose(again.kernel, [[0.3, 0], [0, 0.3], [0.8, 0], [0, 0.8]], rtol=1e-6)


def test_the_mask_is_that_of_the_receiver():
    a, b = (keras.layers.Embedding(5, 2, mask_zero=True) for _ in range(2))
    ids = np.array([[1, 2, 0]]), np.array([[0, 2, 1]])
    np.testing.assert_array_equal(NDDRUnit(0)([a(ids[0]), b(ids[1])])._keras_mask, ids[0] != 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"receiver": True}, "`receiver` should be an integer of at least 0"),
        ({"within": None}, "`within` should be a number. Received: within=None"),
        ({"between": "x"}, "`between` should be a number. Received: between='x'"),
        (
            {"weight_decay": -1},
            "`weight_decay` should be a number of at least 0. .*weight_decay=-1",
        ),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        NDDRUnit(**{"receiver": 0, **arguments})


def test_inputs_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="The inputs of `unit` should be a list of tensors of one"):
        NDDRUnit(0, name="unit").build([(None, 2), (None, 3)])
