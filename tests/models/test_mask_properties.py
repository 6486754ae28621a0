"""What holds for missing labels and sample weights whatever stands in their places."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from mtlzoo import BinaryClassification, Classification, Regression
from mtlzoo.models.objectives import Objectives

TASKS = {
    "yes": BinaryClassification("yes"),
    "kind": Classification("kind", num_classes=3),
    "value": Regression("value"),
}
MISSING = {"yes": -1, "kind": -1, "value": np.nan}
WIDTH = {"yes": 1, "kind": 3, "value": 1}
OBJECTIVES = Objectives(TASKS)


@st.composite
def batches(draw):
    """Rows with a label, none, or one with the weight 0; and what the model says of them."""
    size, name = draw(st.integers(1, 12)), draw(st.sampled_from(sorted(TASKS)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = {
        "yes": rng.integers(0, 2, size).astype("float32"),
        "kind": rng.integers(0, 3, size),
        "value": rng.normal(size=size).astype("float32"),
    }[name]
    missing = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    weights = np.array(
        draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=size, max_size=size)),
        "float32",
    )
    labels[missing] = MISSING[name]
    outputs = rng.normal(size=(size, WIDTH[name])).astype("float32")
    return name, labels, weights, outputs


def loss_of_rows(name, labels, outputs):
    """By row, in float64 NumPy, from the definition."""
    outputs = outputs.astype("float64")
    if name == "value":
        return (labels - outputs[:, 0]) ** 2
    if name == "yes":
        return np.logaddexp(0, outputs[:, 0]) - labels * outputs[:, 0]
    picked = outputs[np.arange(len(labels)), labels.astype(int)]
    return np.log(np.exp(outputs).sum(1)) - picked


def share(name, labels, weights, outputs, count):
    given_labels = {name: tf.constant(labels)}
    given_weights = None if weights is None else {name: tf.constant(weights)}
    batch = OBJECTIVES.read(given_labels, given_weights, len(labels))[name]
    outputs = tf.constant(outputs)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = OBJECTIVES.loss_share(name, batch, outputs, count)
    return batch, loss.numpy(), tape.gradient(loss, outputs).numpy()


def has_label(name, labels):
    return ~np.isnan(labels) if name == "value" else labels >= 0


@given(batches())
def test_the_loss_is_the_weighted_sum_over_the_labels_that_are_there(rows):
    name, labels, weights, outputs = rows
    there = has_label(name, labels) & (weights > 0)
    expected = weights[there] * loss_of_rows(name, labels[there], outputs[there])
    batch, loss, gradient = share(name, labels, weights, outputs, 4)
    np.testing.assert_array_equal(batch.present.numpy(), there)
    assert not batch.invalid.numpy().any()
    assert loss == pytest.approx(expected.sum() / 4, rel=1e-5, abs=1e-6)
    assert np.isfinite(gradient).all() and not gradient[~there].any()


@given(batches(), st.sampled_from([-7, -1, 7]))
def test_what_stands_where_the_weight_is_zero_means_nothing(rows, other):
    name, labels, weights, outputs = rows
    replaced = np.where(weights == 0, other, labels).astype(labels.dtype)
    _, loss, gradient = share(name, labels, weights, outputs, 1)
    _, same_loss, same_gradient = share(name, replaced, weights, outputs, 1)
    assert loss == same_loss
    np.testing.assert_array_equal(gradient, same_gradient)


@given(batches())
def test_a_row_without_a_label_is_as_one_that_is_not_there(rows):
    name, labels, _, outputs = rows
    there = has_label(name, labels)
    _, loss, _ = share(name, labels, None, outputs, 1)
    expected = share(name, labels[there], None, outputs[there], 1)[1] if there.any() else 0
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(batches(), st.randoms())
def test_the_order_of_rows_means_nothing(rows, random):
    name, labels, weights, outputs = rows
    order = random.sample(range(len(labels)), len(labels))
    _, loss, gradient = share(name, labels, weights, outputs, 2)
    _, mixed, of_mixed = share(name, labels[order], weights[order], outputs[order], 2)
    assert mixed == pytest.approx(loss, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(of_mixed, gradient[order], rtol=1e-5, atol=1e-7)


@given(batches(), st.floats(0.1, 10))
def test_weights_scale_the_loss(rows, factor):
    name, labels, weights, outputs = rows
    _, loss, _ = share(name, labels, weights, outputs, 1)
    _, scaled, _ = share(name, labels, (factor * weights).astype("float32"), outputs, 1)
    assert scaled == pytest.approx(factor * loss, rel=1e-4, abs=1e-5)
