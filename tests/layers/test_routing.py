"""Sub-network routing against NumPy; its random connections and their penalty."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.layers import SubNetworkRouting

BELOW, ABOVE, WIDTH = 3, 2, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def features(rows=5):
    return np.random.default_rng(0).normal(size=(rows, BELOW, WIDTH))


def routing(form="trans", **arguments):
    layer = SubNetworkRouting(ABOVE, form, dtype="float64", **arguments)
    layer.build((None, BELOW, WIDTH))
    # From surely absent to surely there.
    layer.log_alpha.assign([[-4.0, 0.5], [0.0, -1.0], [2.0, 5.0]])
    return layer


@pytest.mark.parametrize("form", ["trans", "aver"])
def test_it_is_the_paper_written_out_by_hand(form):
    layer = routing(form)
    z = np.clip(sigmoid(np.array(layer.log_alpha)) * 1.2 - 0.1, 0, 1)
    assert z[0, 0] == 0 and z[2, 1] == 1
    np.testing.assert_allclose(layer.connections(), z, rtol=1e-12)
    expected = np.zeros((5, ABOVE, WIDTH))
    for i in range(BELOW):
        for j in range(ABOVE):
            matrix = np.eye(WIDTH)
            if form == "trans":
                rows, columns = (slice(n * WIDTH, (n + 1) * WIDTH) for n in (i, j))
                matrix = np.array(layer.kernel)[rows, columns]
            expected[:, j] += z[i, j] * features()[:, i] @ matrix
    found = layer(features())
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert found.shape == layer.compute_output_shape((5, BELOW, WIDTH))
    assert len(layer.trainable_variables) == (2 if form == "trans" else 1)


def test_each_matrix_starts_with_the_scale_of_one_dense_layer():
    layer = SubNetworkRouting(3)
    layer.build((None, 5, 40))
    limit = np.sqrt(6 / (40 + 40))
    for block in np.array(layer.kernel).reshape(5, 40, 3, 40).transpose(0, 2, 1, 3).reshape(15, -1):
        assert 0.95 * limit < np.abs(block).max() <= limit


def test_drawn_connections_are_hard_concrete():
    """Their distribution has lumps at 0 and 1 of the size that the formula says."""
    layer = SubNetworkRouting(4000, "aver", seed=1, dtype="float64")
    layer.build((None, 3, 1))
    log_alpha = np.array([-2.0, 0.0, 1.0])
    layer.log_alpha.assign(np.tile(log_alpha[:, None], 4000))
    one_each = np.eye(3)[:, :, None]
    z = np.array(layer(one_each, training=True))[..., 0]
    present = sigmoid(log_alpha - 2 / 3 * np.log(0.1 / 1.1))
    np.testing.assert_allclose((z > 0).mean(1), present, atol=0.03)
    np.testing.assert_allclose((z < 1).mean(1), sigmoid(-log_alpha + 2 / 3 * np.log(11)), atol=0.03)
    np.testing.assert_allclose(np.array(layer.probabilities())[:, 0], present, rtol=1e-9)
    assert np.abs(np.array(layer(one_each, training=True))[..., 0] - z).max() > 0.5
    layer = SubNetworkRouting(4, "aver", sample=False)
    np.testing.assert_array_equal(layer(one_each, training=True), layer(one_each))


def test_the_expected_number_of_connections_is_added_in_training_only():
    layer = routing(l0_weight=0.5)
    layer(features())
    assert not layer.losses
    with tf.GradientTape() as tape:
        layer(features(), training=True)
        (loss,) = layer.losses
    present = sigmoid(np.array(layer.log_alpha) + 2 / 3 * np.log(11))
    np.testing.assert_allclose(loss, 0.5 * present.sum(), rtol=1e-9)
    expected = 0.5 * present * (1 - present)
    np.testing.assert_allclose(tape.gradient(loss, layer.log_alpha.value), expected, rtol=1e-6)


def test_half_precision():
    layer = SubNetworkRouting(2, l0_weight=1.0, dtype="mixed_float16")
    assert layer(features().astype("float32"), training=True).dtype == "float16"
    assert [loss.dtype for loss in layer.losses] == [tf.float32]
    assert {v.dtype for v in layer.trainable_variables} == {"float32"}


def test_the_config_gives_the_same_layer():
    layer = SubNetworkRouting(3, "aver", 0.1, False, 7, name="routes", dtype="float64")
    again = SubNetworkRouting.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.num_outputs, again.routing, again.l0_weight) == (3, "aver", 0.1)
    assert (again.sample, again.seed, again.name) == (False, 7, "routes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_outputs": 0}, "`num_outputs` should be a positive integer. Received: num_outputs=0"),
        ({"routing": "mean"}, "`routing` should be 'trans' or 'aver'. Received: routing='mean'"),
        ({"l0_weight": -1}, "`l0_weight` should be a finite number that is not negative. Received"),
        ({"sample": 1}, "`sample` should be a bool. Received: sample=1"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        SubNetworkRouting(**{"num_outputs": 2, **arguments})
    with pytest.raises(ValueError, match=r"features of `SubNetworkRouting` should have shape \(No"):
        SubNetworkRouting(2)(keras.Input((None, 3)))
