"""Layers of sequences with padding: positions, masks, zeros and means."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.layers import MaskedMean, PaddingMask, PositionEmbedding, ZeroMasked

MASK = np.array([[True, True, False, True], [False] * 4, [True] * 4])
KINDS = [
    PositionEmbedding("zeros"),
    PaddingMask(num_ids=5),
    ZeroMasked(),
    MaskedMean(),
]


def features(dtype="float64"):
    return np.random.default_rng(0).normal(size=(3, 4, 2)).astype(dtype)


@pytest.mark.parametrize("kind", KINDS, ids=lambda layer: type(layer).__name__)
def test_config(kind):
    layer = type(kind).from_config({**kind.get_config(), "name": "other", "dtype": "float64"})
    again = type(kind).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.name == "other" and again.compute_dtype == "float64"
    assert getattr(again, "num_ids", None) == getattr(kind, "num_ids", None)


def test_means_by_hand():
    x = features()
    expected = [x[0, [0, 1, 3]].mean(0), np.zeros(2), x[2].mean(0)]
    layer = MaskedMean(dtype="float64")
    np.testing.assert_allclose(layer(x, mask=MASK), expected, rtol=1e-12)
    np.testing.assert_allclose(layer(x, mask=MASK.astype("int32")), expected, rtol=1e-12)
    np.testing.assert_allclose(layer(x), x.mean(1), rtol=1e-12)
    assert layer.compute_output_shape(x.shape) == (3, 2)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30])
def test_what_is_masked_has_no_part(garbage):
    x = features("float32")
    dirty = np.where(MASK[:, :, None], x, np.float32(garbage))
    for layer in (MaskedMean(), ZeroMasked()):
        np.testing.assert_array_equal(layer(dirty, mask=MASK), layer(x, mask=MASK))


def test_the_gradient_of_a_row_that_is_all_masked_is_zero():
    x = tf.ones((2, 3, 4))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = MaskedMean()(x, mask=tf.constant([[True, False, True], [False] * 3]))
    gradient = np.asarray(tape.gradient(y, x))
    np.testing.assert_array_equal(gradient[0, :, 0], [0.5, 0, 0.5])
    np.testing.assert_array_equal(gradient[1], 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_of_half_precision_are_those_of_single(dtype):
    """400 times 300 is above float16, and half precision cannot count to it in ones either."""
    x, mask = np.full((2, 401, 1), 300.0), np.ones((2, 401), bool)
    mask[:, 400] = False
    mask[1] = False
    layer = MaskedMean(dtype=f"mixed_{dtype}")
    for found, expected in ((layer(x, mask=mask), [300, 0]), (layer(x), [300, 300])):
        assert keras.backend.standardize_dtype(found.dtype) == dtype
        np.testing.assert_array_equal(tf.cast(found, "float32")[:, 0], expected)


def test_padding_is_read_from_ids_and_from_features():
    ids = np.array([[3, 0, 5, -1], [4, 9, 0, 0]], "int32")
    np.testing.assert_array_equal(
        PaddingMask()(ids), [[True, False, True, False], [True, True, False, False]]
    )
    np.testing.assert_array_equal(
        PaddingMask(5)(ids), [[True, False, False, False], [True, False, False, False]]
    )
    vectors = np.array([[[0, 0], [0, -1], [1e-3, 0], [2, -2]]], "float32")
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        found = PaddingMask(dtype=policy)(vectors)
        np.testing.assert_array_equal(found, [[False, True, True, True]])
    for shape in ((None, 7), (None, 7, 3)):
        out = PaddingMask()(keras.Input(shape[1:]))
        assert out.shape == (None, 7) and out.dtype == "bool"


def test_zeros_stand_where_the_mask_says():
    x = features()
    expected = np.where(MASK[:, :, None], x, 0)
    found = ZeroMasked(dtype="float64")(x, mask=MASK)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(PaddingMask()(found), MASK)  # it can be read again
    np.testing.assert_array_equal(ZeroMasked(dtype="float64")(x), x)
    half = ZeroMasked(dtype="mixed_float16")(x, mask=MASK)
    np.testing.assert_array_equal(half, expected.astype("float16"))


def test_a_keras_mask_passes_as_far_as_there_are_positions():
    """As in a model: embedding, positions, zeros, mean."""
    ids = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(6, 2, mask_zero=True)(ids)
    x = ZeroMasked()(PositionEmbedding()(x))
    y = MaskedMean()(x)
    model = keras.Model(ids, [x, y])
    given = np.array([[1, 2, 0, 5], [0, 0, 0, 0], [3, 3, 3, 3]], "int32")
    zeroed, mean = (np.asarray(t) for t in model(given))
    np.testing.assert_array_equal((zeroed != 0).any(-1), MASK)
    np.testing.assert_allclose(mean, zeroed.sum(1) / [[3], [1], [4]], rtol=1e-5, atol=1e-7)
    assert getattr(y, "_keras_mask", None) is None


def test_positions_are_added_and_trained():
    layer, x = PositionEmbedding("ones", dtype="float64"), features()
    np.testing.assert_allclose(layer(x), x + 1)
    positions = np.arange(8.0).reshape(4, 2)
    layer.positions.assign(positions)
    np.testing.assert_allclose(layer(x), x + positions)
    assert [v.name for v in layer.trainable_variables] == ["positions"]
    half = PositionEmbedding("ones", dtype="mixed_float16")
    assert half(x).dtype == tf.float16 and half.positions.dtype == "float32"
    assert layer.compute_output_shape((None, 4, 2)) == (None, 4, 2)


@pytest.mark.parametrize("shape", [(None, None, 2), (None, 4, None), (None, 4), (None, 4, 2, 1)])
def test_positions_need_known_sizes(shape):
    message = (
        "The features of `PositionEmbedding` should have shape (None, length, width), both "
        f"known. Received: shape={shape}"
    )
    with pytest.raises(ValueError) as error:
        PositionEmbedding().build(shape)
    assert str(error.value) == message


def test_means_are_of_sequences():
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        MaskedMean()(np.ones((2, 3)))
