"""The bank of experts against separate networks."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import Experts


def dense_networks(experts, features):
    """The same networks one by one, as Keras builds them."""
    outputs = []
    for k in range(experts.num_experts):
        hidden = features
        for i, units in enumerate(experts.units):
            kernel = np.array(experts.kernels[i])
            kernel = kernel[k] if i else kernel[:, k * units : (k + 1) * units]
            layer = keras.layers.Dense(units, experts.activation)
            layer.build(hidden.shape)
            layer.set_weights([kernel, np.array(experts.biases[i])[k]])
            hidden = layer(hidden)
        outputs.append(np.array(hidden))
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("units", [(3,), (6, 3), (5, 4, 3)])
@pytest.mark.parametrize("activation", ["relu", "tanh", None])
def test_experts_are_separate_dense_networks(units, activation):
    x = np.random.default_rng(0).normal(size=(7, 4)).astype("float32")
    experts = Experts(3, units, activation=activation)
    experts.build((None, 4))
    for i, bias in enumerate(experts.biases):
        bias.assign(np.random.default_rng(i).normal(size=bias.shape))
    found = experts(x)
    assert found.shape == (7, 3, 3) == experts.compute_output_shape((7, 4))
    np.testing.assert_allclose(found, dense_networks(experts, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", [None, 7])
def test_each_expert_starts_differently_with_the_scale_of_one_dense_layer(seed):
    initializer = keras.initializers.GlorotUniform(seed=seed)
    experts = Experts(4, (50, 60), kernel_initializer=initializer)
    experts.build((None, 40))
    first = np.array(experts.kernels[0]).reshape(40, 4, 50).transpose(1, 0, 2)
    for kernels, fans in ((first, 40 + 50), (np.array(experts.kernels[1]), 50 + 60)):
        limit = np.sqrt(6 / fans)
        for k in range(4):
            assert 0.95 * limit < np.abs(kernels[k]).max() <= limit
            for other in range(k):
                assert np.abs(kernels[k] - kernels[other]).max() > limit
    assert not np.array(experts.biases[0]).any()


def test_a_seed_makes_two_banks_the_same_and_a_global_seed_too():
    def kernels(**arguments):
        experts = Experts(2, (3, 3), **arguments)
        experts.build((None, 4))
        return [np.array(kernel) for kernel in experts.kernels]

    seeded = {"kernel_initializer": keras.initializers.HeNormal(seed=3)}
    one, other = kernels(**seeded), kernels(**seeded)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    keras.utils.set_random_seed(1)
    one = kernels()
    keras.utils.set_random_seed(1)
    other, third = kernels(), kernels()
    for a, b, c in zip(one, other, third, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 0


def test_layers_of_a_seeded_bank_are_not_copies_of_each_other():
    experts = Experts(3, (4, 4), kernel_initializer=keras.initializers.GlorotUniform(seed=1))
    experts.build((None, 4))
    first = np.array(experts.kernels[0]).reshape(4, 3, 4).transpose(1, 0, 2)
    for k, kernel in enumerate(np.array(experts.kernels[1])):
        for other in first:
            assert np.abs(kernel - other).max() > 0, k


def test_dropout_works_in_training_only():
    x = np.ones((5, 4), "float32")
    experts = Experts(3, (64,), activation=None, dropout=0.5, kernel_initializer="ones")
    np.testing.assert_array_equal(experts(x), np.full((5, 3, 64), 4.0))
    dropped = np.array(experts(x, training=True))
    assert set(np.unique(dropped)) == {0.0, 8.0}
    assert 0.35 < (dropped == 0).mean() < 0.65


def test_the_config_gives_the_same_layer():
    experts = Experts(
        3, [5, 4], "gelu", keras.initializers.HeNormal(seed=2), 0.1, name="bank", dtype="float64"
    )
    config = experts.get_config()
    again = Experts.from_config(config)
    assert again.get_config() == config
    assert (again.num_experts, again.units, again.dropout) == (3, (5, 4), 0.1)
    assert (again.name, again.compute_dtype) == ("bank", "float64")
    again.build((None, 4))
    experts.build((None, 4))
    np.testing.assert_array_equal(again.kernels[1], experts.kernels[1])


def test_it_computes_in_half_precision_and_keeps_its_variables_in_full():
    experts = Experts(2, (3, 3), dropout=0.5, dtype="mixed_float16")
    for training in (False, True):
        assert experts(np.ones((2, 4), "float32"), training=training).dtype == "float16"
    assert {v.dtype for v in experts.trainable_variables} == {"float32"}


@pytest.mark.parametrize("count", [0, -2, 1.5, "2", None, True])
def test_the_number_of_experts_is_checked(count):
    message = f"`num_experts` should be a positive integer. Received: num_experts={count!r}"
    with pytest.raises(ValueError, match=message):
        Experts(count, (3,))


@pytest.mark.parametrize("units", [3, (0,), (2.0,), (4, -1), "ab", None, (True,)])
def test_the_widths_are_checked(units):
    with pytest.raises(ValueError, match="`units` should be a tuple of positive integers"):
        Experts(2, units)
    with pytest.raises(ValueError, match="`units` should have at least one layer"):
        Experts(2, ())
