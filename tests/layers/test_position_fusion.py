"""PositionFusion against NumPy: vectors at positions, what is missing, masks."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import PositionFusion

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("positions", [(5,), (3, 4), (2, 3, 2)])
def test_it_is_a_dense_layer_on_both_side_by_side(positions):
    layer = PositionFusion(3, "tanh")
    features = RNG.normal(size=(4, *positions, 6)).astype("float32")
    fused = RNG.normal(size=(4, 2)).astype("float32")
    present = np.array([[1.0], [0.0], [1.0], [0.0]], "float32")
    features[1] = np.nan  # what stands in for what is missing
    layer.build(features.shape, fused.shape, present.shape)
    layer.bias.assign(RNG.normal(size=3))
    found = np.array(layer(features, fused, present))
    there = np.where(present.reshape(4, *(1,) * (len(positions) + 1)) > 0, features, 0.0)
    repeated = np.broadcast_to(fused.reshape(4, *(1,) * len(positions), 2), (4, *positions, 2))
    both = np.concatenate([there, repeated], axis=-1).astype("float64")
    expected = np.tanh(both @ np.array(layer.kernel, "float64") + np.array(layer.bias, "float64"))
    assert found.shape == layer.compute_output_shape(features.shape) == (4, *positions, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_mask_is_handed_on_unless_it_leaves_nothing():
    ids = keras.Input((3,), dtype="int32", name="ids")
    others = {
        "fused": keras.Input((2,), name="fused"),
        "present": keras.Input((1,), name="present"),
    }
    words = keras.layers.Embedding(9, 4, mask_zero=True)(ids)
    joined = PositionFusion(5)(words, *others.values())
    mean = keras.layers.GlobalAveragePooling1D()(joined)  # a mask of nothing: not a number
    model = keras.Model({"ids": ids, **others}, {"each": joined, "mean": mean})
    x = {"ids": np.array([[3, 4, 0], [0, 0, 0]]), "fused": RNG.normal(size=(2, 2))}
    found = model({**x, "present": np.ones((2, 1))})
    each = np.array(found["each"])
    expected = [each[0, :2].mean(axis=0), each[1].mean(axis=0)]
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-5, atol=1e-6)
    assert PositionFusion(5).compute_mask(each) is None


def test_its_config():
    layer = PositionFusion(5, "relu", name="joined")
    again = PositionFusion.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.units, again.activation, again.name) == (5, keras.activations.relu, "joined")


def test_bad_arguments():
    with pytest.raises(ValueError, match="`units` should be a positive integer"):
        PositionFusion(0)
    with pytest.raises(ValueError, match=r"`PositionFusion` should be given features .*\(2, 3\)"):
        PositionFusion(2)(np.ones((2, 3)), np.ones((2, 4)), np.ones((2, 1)))
