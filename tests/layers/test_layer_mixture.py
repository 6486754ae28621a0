"""The mixture of layers against NumPy."""

import numpy as np
import pytest

from mtlzoo.layers import LayerMixture


def test_it_is_a_weighted_sum():
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(4, 2, 3)).astype("float32") for _ in range(3)]
    mixture = LayerMixture()
    np.testing.assert_allclose(mixture(xs), 0.05 * xs[0] + 0.05 * xs[1] + 0.9 * xs[2], rtol=1e-5)
    mixture.beta.assign([1.0, -2.0, 0.5])
    np.testing.assert_allclose(mixture(xs), xs[0] - 2 * xs[1] + 0.5 * xs[2], rtol=1e-5, atol=1e-6)
    assert mixture.compute_output_shape([(4, 2, 3)] * 3) == (4, 2, 3)


def test_a_single_layer_passes_through():
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(LayerMixture()([x]), x)


def test_the_config_gives_the_same_layer():
    mixture = LayerMixture(0.6, name="mixture")
    again = LayerMixture.from_config(mixture.get_config())
    assert again.get_config() == mixture.get_config()
    again.build([(None, 2)] * 2)
    np.testing.assert_allclose(again.beta, [0.4, 0.6], rtol=1e-6)


def test_arguments_and_inputs_are_checked():
    with pytest.raises(ValueError, match=r"`last` should be a number. Received: last=None"):
        LayerMixture(None)
    with pytest.raises(ValueError, match="The inputs of `m` should be a list of tensors of one sh"):
        LayerMixture(name="m").build([(None, 2), (None, 3)])
    with pytest.raises(ValueError, match="The inputs of `m` should be a list of tensors of one sh"):
        LayerMixture(name="m").build((None, 2))
