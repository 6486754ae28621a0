"""The attention between what is handed on and what is a task's own, against NumPy."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import InformationTransfer


def parts(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(5, 4)).astype("float32") for _ in range(2)]


def by_hand(layer, p, q):
    def dense(features, one):
        return features @ np.array(one.kernel, "float64") + np.array(one.bias, "float64")

    scores = [
        (dense(u, layer.key) * dense(u, layer.query)).sum(axis=1) / np.sqrt(layer.units)
        for u in (p, q)
    ]
    scores = np.exp(np.stack(scores, axis=1))
    weights = scores / scores.sum(axis=1, keepdims=True)
    return weights[:, :1] * dense(p, layer.value) + weights[:, 1:] * dense(q, layer.value), weights


def test_it_is_attention_over_two_parts():
    layer = InformationTransfer(3)
    p, q = parts()
    layer([p, q])
    for one in (layer.value, layer.key, layer.query):
        one.bias.assign(np.random.default_rng(1).normal(size=3))
    features, weights = layer([p, q])
    expected = by_hand(layer, p, q)
    assert features.shape == (5, 3) and weights.shape == (5, 2)
    np.testing.assert_allclose(features, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights, expected[1], rtol=1e-5)
    assert np.abs(expected[1] - 0.5).max() > 0.05


def test_its_variables_are_three_dense_layers():
    layer = InformationTransfer(3)
    layer(parts())
    assert layer.count_params() == 3 * (4 * 3 + 3)
    assert len(layer.trainable_variables) == 6
    a, b, c = (np.array(one.kernel) for one in (layer.value, layer.key, layer.query))
    assert np.abs(a - b).max() > 0 and np.abs(b - c).max() > 0


def test_two_equal_parts_weigh_the_same():
    p, _ = parts()
    _, weights = InformationTransfer(3)([p, p])
    np.testing.assert_allclose(weights, 0.5)


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_it_computes_in_its_dtype(policy):
    layer = InformationTransfer(3, dtype=policy)
    features, weights = layer(parts())
    compute = layer.compute_dtype
    assert {keras.backend.standardize_dtype(t.dtype) for t in (features, weights)} == {compute}
    assert {v.dtype for v in layer.variables} == {layer.variable_dtype}
    again = InformationTransfer.from_config(layer.get_config())
    assert (again.units, again.compute_dtype) == (3, compute)


def test_misuse_is_refused():
    with pytest.raises(
        ValueError, match=r"`units` should be a positive integer. Received: units=0"
    ):
        InformationTransfer(0)
    p, q = parts()
    message = r"list of two tensors of shape \(None, \.\.\., F\). Received: shapes="
    for wrong in ([p], [p, q, q], [p, q[:, :3]], [p[0], q[0]]):
        with pytest.raises(ValueError, match=message):
            InformationTransfer(3)(wrong)
