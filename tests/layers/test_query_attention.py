"""Attention of learned queries against NumPy, and what a mask does."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import QueryAttention

HEADS, DIM, QUERIES = 2, 3, 4


def tokens(rows=5, count=6):
    shape = (rows, count, 2 * HEADS * DIM)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def layer(**arguments):
    made = QueryAttention(HEADS, DIM, QUERIES, **arguments)
    made.build((None, None, 2 * HEADS * DIM))
    made.projection.bias.assign(np.random.default_rng(1).normal(size=HEADS * DIM))
    made.queries.assign(np.random.default_rng(2).normal(size=(QUERIES, HEADS * DIM)) * 3)
    return made


def by_hand(made, given, mask=None):
    """Row by row, query by query, head by head."""
    queries = np.array(made.queries, "float64")
    kernel, bias = (np.array(v, "float64") for v in made.projection.variables)
    results = np.zeros((len(given), QUERIES, HEADS * DIM))
    weights = np.zeros((len(given), HEADS, QUERIES, given.shape[1]))
    for b, n in np.ndindex(len(given), QUERIES):
        context = np.zeros(HEADS * DIM)
        for h in range(HEADS):
            own = slice(h * DIM, (h + 1) * DIM)
            keys = given[b, :, : HEADS * DIM][:, own].astype("float64")
            values = given[b, :, HEADS * DIM :][:, own].astype("float64")
            scores = np.exp(keys @ queries[n, own] / np.sqrt(DIM))
            if mask is not None:
                scores = scores * mask[b]
            weights[b, h, n] = scores / max(scores.sum(), 1e-300)
            context[own] = weights[b, h, n] @ values
        results[b, n] = context @ kernel + bias
    return results, weights


def test_it_is_attention_written_out_by_hand():
    made, given = layer(), tokens()
    found, expected = made(given), by_hand(made, given)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    shapes = made.compute_output_shape((None, 6, 2 * HEADS * DIM))
    assert shapes == ((None, QUERIES, 6), (None, HEADS, QUERIES, 6))
    assert [t.shape for t in found] == [(5, QUERIES, 6), (5, HEADS, QUERIES, 6)]


def test_tokens_that_a_mask_leaves_out_have_no_part():
    made, given = layer(), tokens()
    mask = np.arange(6) < np.array([[6], [4], [1], [3], [2]])
    expected = by_hand(made, given, mask)
    changed = np.where(mask[:, :, None], given, 1e3).astype("float32")
    for each in (given, changed):
        for one, other in zip(made(each, mask=mask), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    # As if they were not there at all.
    short, _ = made(given[1:2, :4])
    np.testing.assert_allclose(made(given, mask=mask)[0][1:2], short, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_row_without_tokens_gives_the_bias(policy):
    made = layer(dtype=policy)
    result, weights = made(tokens(), mask=np.zeros((5, 6), bool))
    assert not np.array(weights).any()
    expected = np.broadcast_to(np.array(made.projection.bias), result.shape)
    np.testing.assert_allclose(result, expected, rtol=1e-3)


def test_the_mask_of_an_embedding_arrives_and_ends_here():
    words = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(9, 2 * HEADS * DIM, mask_zero=True)(words)
    result, weights = layer()(embedded)
    model = keras.Model(words, [result, weights])
    found = model.predict(np.array([[3, 4, 0], [5, 0, 0]]), verbose=0)[1]
    assert not found[0, :, :, 2].any() and not found[1, :, :, 1:].any()
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-6)
    assert getattr(result, "_keras_mask", None) is None


def test_the_order_of_tokens_does_not_matter():
    made, given = layer(), tokens()
    np.testing.assert_allclose(made(given[:, ::-1])[0], made(given)[0], rtol=1e-4, atol=1e-5)


def test_its_variables_and_its_config():
    made = layer(name="reads", dtype="mixed_bfloat16")
    width = HEADS * DIM
    assert made.count_params() == QUERIES * width + width * width + width
    again = QueryAttention.from_config(made.get_config())
    assert again.get_config() == made.get_config()
    assert (again.num_heads, again.key_dim, again.num_queries) == (HEADS, DIM, QUERIES)
    assert (again.name, again.compute_dtype) == ("reads", "bfloat16")
    assert again.projection.compute_dtype == "bfloat16"


@pytest.mark.parametrize("argument", ["num_heads", "key_dim", "num_queries"])
def test_numbers_should_be_positive(argument):
    arguments = {"num_heads": 2, "key_dim": 3, argument: 0}
    message = rf"`{argument}` should be a positive integer. Received: {argument}=0"
    with pytest.raises(ValueError, match=message):
        QueryAttention(**arguments)


def test_another_width_is_refused():
    for shape in ((2, 6, 11), (2, 12)):
        with pytest.raises(ValueError, match=r"should have shape \(None, S, 12\). Received: shape"):
            QueryAttention(2, 3)(np.ones(shape))
