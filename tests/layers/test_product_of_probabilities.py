"""The logit of a product of probabilities, also where the product is no number of its own."""

from decimal import Decimal, getcontext
from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.layers import ProductOfProbabilities

getcontext().prec = 60
ENDS = (-1e4, -90.0, -40.0, -1.5, 0.0, 2.0, 40.0, 90.0, 1e4)


def exact(logits) -> float:
    """log p - log(1 - p) in decimals of 60 digits; 1 / p = product of 1 + exp(-a)."""
    odds_against = Decimal(0)
    for a in logits:
        # (1 + o) (1 + e) - 1 without the 1, which would swallow what is small
        e = (-Decimal(float(a))).exp()
        odds_against = odds_against + e + odds_against * e
    return float(-odds_against.ln())


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_it_is_the_logit_of_the_product_at_both_ends(steps, dtype):
    logits = np.array(list(product(ENDS, repeat=steps)), "float16" if dtype == "float16" else dtype)
    expected = [exact(row) for row in logits]
    layer = ProductOfProbabilities(dtype="mixed_float16" if dtype == "float16" else dtype)
    found = layer([logits[:, i : i + 1] for i in range(steps)])
    assert keras.backend.standardize_dtype(found.dtype) == (
        "float64" if dtype == "float64" else "float32"
    )
    tolerance = 1e-14 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(np.array(found)[:, 0], expected, rtol=tolerance, atol=tolerance)


def test_derivatives_are_exact_and_finite_at_both_ends():
    logits = np.array(list(product(ENDS, repeat=2)), "float32")
    with tf.GradientTape() as tape:
        a, b = tf.constant(logits[:, :1]), tf.constant(logits[:, 1:])
        tape.watch([a, b])
        total = tf.reduce_sum(ProductOfProbabilities()([a, b]))
    for found, mine in zip(tape.gradient(total, [a, b]), (0, 1), strict=True):
        # dz/da = (1 - sigmoid(a)) / (1 - p)
        expected = []
        for row in logits:
            e = (-Decimal(float(row[mine]))).exp()
            f = (-Decimal(float(row[1 - mine]))).exp()
            expected.append(float(e * (1 + f) / (e + f + e * f)))
        np.testing.assert_allclose(np.array(found)[:, 0], expected, rtol=1e-5, atol=1e-7)


def test_order_does_not_matter_and_a_certain_step_changes_nothing():
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=(5, 1)).astype("float32") * 5 for _ in range(3))
    layer = ProductOfProbabilities()
    np.testing.assert_allclose(layer([a, b, c]), layer([c, a, b]), rtol=1e-5)
    np.testing.assert_array_equal(layer([a, np.full_like(a, 1e4)]), layer([a]))
    np.testing.assert_allclose(layer([a]), a, rtol=1e-6)


def test_probabilities_on_demand():
    a, b = np.array([[0.0], [90.0], [-90.0]], "float32"), np.array([[0.0], [1.0], [0.0]], "float32")
    found = ProductOfProbabilities(from_logits=False)([a, b])
    sigmoid = 1 / (1 + np.exp(-1.0))
    expected = [[0.25], [sigmoid], [0.5 * np.exp(-90.0)]]
    # The last is no normal number of float32; it is 0 or itself, never negative or NaN.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-38)


def test_the_config_gives_the_same_layer():
    layer = ProductOfProbabilities(False, name="buy", dtype="float64")
    again = ProductOfProbabilities.from_config(layer.get_config())
    assert (again.from_logits, again.name, again.compute_dtype) == (False, "buy", "float64")
    assert again.get_config() == layer.get_config()


def test_symbolic_shapes_and_types():
    found = ProductOfProbabilities()([keras.Input((1,)), keras.Input((1,), dtype="float16")])
    assert (found.shape, found.dtype) == ((None, 1), "float32")
    found = ProductOfProbabilities()([keras.Input((1,), dtype="float64")])
    assert found.dtype == "float64"


def test_misuse_is_refused():
    message = r"`from_logits` should be a bool. Received: from_logits=1"
    with pytest.raises(ValueError, match=message):
        ProductOfProbabilities(1)
    with pytest.raises(ValueError, match="should be called on a list of logits"):
        ProductOfProbabilities()(np.ones((3, 1)))
    message = r"should have one shape. Received: shapes=\[\(3, 1\), \(3, 2\)\]"
    with pytest.raises(ValueError, match=message):
        ProductOfProbabilities()([np.ones((3, 1)), np.ones((3, 2))])
