"""The mask of a task's attention against NumPy."""

import numpy as np
import pytest

from mtlzoo.layers import TaskAttention


def normalized(x, layer):
    values = {v.name: np.array(v, "float64") for v in layer.variables}
    scaled = (x - values["moving_mean"]) / np.sqrt(values["moving_variance"] + 1e-5)
    return scaled * values["gamma"] + values["beta"]


@pytest.mark.parametrize("positions", [(), (5,), (3, 4)])
def test_it_is_two_products_normalized_and_squashed(positions):
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(6, *positions, width)).astype("float32") for width in (3, 2)]
    layer = TaskAttention(4)
    assert layer(xs).shape == (6, *positions, 4)
    for variable in layer.variables:
        variable.assign(rng.uniform(0.5, 1.5, size=variable.shape))
    hidden = np.concatenate(xs, axis=-1).astype("float64") @ np.array(layer._first.kernel)
    hidden = np.maximum(normalized(hidden, layer._first_norm), 0)
    scores = normalized(hidden @ np.array(layer._second.kernel), layer._second_norm)
    np.testing.assert_allclose(layer(xs), 1 / (1 + np.exp(-scores)), rtol=1e-4, atol=1e-6)
    assert layer.compute_output_shape([x.shape for x in xs]) == (6, *positions, 4)


def test_one_input_needs_no_list_and_parameters_are_those_of_two_products_and_norms():
    x = np.ones((2, 3), "float32")
    layer = TaskAttention(4)
    np.testing.assert_array_equal(layer(x), layer([x]))
    assert layer.compute_output_shape((2, 3)) == (2, 4)
    assert sum(np.prod(v.shape) for v in layer.trainable_variables) == 3 * 4 + 4 * 4 + 4 * 4


def test_statistics_move_in_training_only():
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    layer = TaskAttention(4)
    layer(x)
    before = [np.array(v) for v in layer.non_trainable_variables]
    layer(x, training=False)
    assert all(
        (np.array(v) == b).all() for v, b in zip(layer.non_trainable_variables, before, strict=True)
    )
    layer(x, training=True)
    assert all(
        (np.array(v) != b).any() for v, b in zip(layer.non_trainable_variables, before, strict=True)
    )


def test_the_config_gives_the_same_layer():
    layer = TaskAttention(4, name="attention", dtype="mixed_float16")
    again = TaskAttention.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again(np.ones((2, 3), "float32")).dtype == "float16"
    assert {v.dtype for v in again.variables} == {"float32"}


@pytest.mark.parametrize("units", [0, 2.0, None, True])
def test_units_should_be_a_positive_integer(units):
    with pytest.raises(ValueError, match="`units` should be a tuple of positive integers"):
        TaskAttention(units)
