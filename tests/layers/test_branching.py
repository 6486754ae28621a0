"""Branching: its mixture against NumPy, its noise, its gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtlzoo.layers import Branching


def parents(count=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(4, 2)).astype("float32") for _ in range(count)]


def uniform(seed, step, count):
    """The hash in Python integers."""
    found = []
    for start in np.random.default_rng(seed).integers(2**32, size=count, dtype=np.uint32):
        bits = (int(start) + step * 0x9E3779B9) % 2**32
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
            bits ^= bits >> shift
            bits = bits * factor % 2**32
        found.append(((bits >> 9) + 0.5) / 2**23)
    return np.array(found)


def test_training_mixes_by_a_draw_of_the_gumbel_softmax():
    layer = Branching(temperature=2.0, seed=7)
    given = parents()
    layer(given)
    logits = np.array([0.3, -1.0, 0.5])
    layer.logits.assign(logits)
    for step in range(3):
        scores = logits - np.log(np.exp(logits).sum()) - np.log(-np.log(uniform(7, step, 3)))
        weights = np.exp(scores / (2.0 / np.sqrt(1 + step)))
        weights /= weights.sum()
        expected = sum(w * y for w, y in zip(weights, given, strict=True))
        np.testing.assert_allclose(layer(given, training=True), expected, rtol=2e-4, atol=1e-5)
    assert int(layer.steps) == 3


@pytest.mark.slow
def test_the_noise_chooses_each_parent_as_often_as_it_is_probable():
    layer = Branching(temperature=1e-3, min_temperature=1e-3)
    given = [np.eye(3, dtype="float32")[i : i + 1] for i in range(3)]
    layer(given)
    layer.logits.assign(np.log([0.2, 0.3, 0.5]))
    step = tf.function(lambda: layer(given, training=True))
    mean = np.mean([step()[0] for _ in range(2000)], axis=0)
    np.testing.assert_allclose(mean, [0.2, 0.3, 0.5], atol=0.04)  # 3.6 standard deviations


def test_eagerly_in_graphs_and_under_xla_it_draws_the_same():
    results = []
    for wrap in (lambda f: f, tf.function, lambda f: tf.function(f, jit_compile=True)):
        layer = Branching(seed=3)
        layer(parents())
        step = wrap(lambda layer=layer: layer(parents(), training=True))
        results.append(np.stack([step() for _ in range(3)]))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-5)
    assert np.abs(results[0][1] - results[0][0]).max() > 1e-3


def test_outside_of_training_the_largest_logit_decides_and_passes_its_gradient_on():
    layer = Branching()
    given = parents()
    layer(given)
    layer.logits.assign([0.0, 1.0, 0.5])
    with tf.GradientTape() as tape:
        output = layer(given)
        total = ops.sum(output)
    np.testing.assert_array_equal(output, given[1])
    p = np.exp([0.0, 1.0, 0.5]) / np.exp([0.0, 1.0, 0.5]).sum()
    sums = np.array([y.sum() for y in given])
    expected = p * (sums - p @ sums)  # that of the mixture by softmax
    np.testing.assert_allclose(tape.gradient(total, layer.logits.value), expected, rtol=1e-4)


def test_no_gradient_reaches_the_logits_in_the_warm_up():
    layer = Branching(warm_up_steps=1)
    layer(parents())
    for moves in (False, True):
        with tf.GradientTape() as tape:
            total = ops.sum(layer(parents(), training=True))
        assert (np.abs(tape.gradient(total, layer.logits.value)).max() > 0) == moves


def test_mixed_precision_mixes_in_half_and_draws_in_single():
    layer = Branching(dtype="mixed_bfloat16")
    assert layer(parents(), training=True).dtype == "bfloat16"
    assert layer.logits.dtype == "float32"
    again = Branching.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, "`temperature` should be a positive number. Received: temperature=0"),
        ({"min_temperature": -1.0}, "`min_temperature` should be a positive number"),
        ({"warm_up_steps": -1}, "`warm_up_steps` should be an integer from 0"),
        ({"seed": 0.5}, "`seed` should be an integer from 0. Received: seed=0.5"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        Branching(**arguments)


def test_what_is_no_list_of_equal_parents_is_refused():
    with pytest.raises(ValueError, match="should be a list of tensors, one for each parent"):
        Branching()(keras.Input((3,)))
    with pytest.raises(ValueError, match="The parents of `Branching` should have one shape"):
        Branching()([keras.Input((3,)), keras.Input((4,))])


def test_the_mask_of_the_parents_is_handed_on():
    ids = keras.Input((4,), dtype="int32")
    parents = [keras.layers.Embedding(9, 3, mask_zero=True)(ids) for _ in range(2)]
    chosen = Branching()(parents)
    model = keras.Model(ids, [keras.layers.GlobalAveragePooling1D()(chosen), chosen])
    mean, tokens = model(np.array([[3, 4, 0, 0]]))
    np.testing.assert_allclose(mean[0], np.array(tokens)[0, :2].mean(0), rtol=1e-5)
