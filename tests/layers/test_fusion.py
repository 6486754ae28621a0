"""The fusion layers against NumPy, and what all of them promise about missing modalities."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import (
    BottleneckFusion,
    ConcatenationFusion,
    CrossAttentionFusion,
    Fusion,
    GatedFusion,
    LowRankFusion,
)

ROWS, TOKENS, WIDTH, UNITS = 5, (3, 4, 2), 4, 3
OF_VECTORS = [ConcatenationFusion, GatedFusion, LowRankFusion]
OF_TOKENS = [CrossAttentionFusion, BottleneckFusion]
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]], "float64")


def made(kind, **arguments):
    """A layer in float64 whose variables are all random."""
    if kind in OF_TOKENS:
        arguments = {"num_heads": 2, **arguments}
    layer = kind(UNITS, dtype="float64", **arguments)
    layer(features(layer), PRESENT)
    rng = np.random.default_rng(1)
    for variable in layer.variables:
        variable.assign(0.5 * rng.normal(size=variable.shape))
    return layer


def features(layer, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(ROWS, n, WIDTH) if layer.reads_tokens else (ROWS, WIDTH) for n in TOKENS]
    return [rng.normal(size=shape) for shape in shapes]


def fused(layer, x, present=PRESENT, **arguments):
    result = layer(x, present, **arguments)
    return np.array(result[0] if isinstance(layer, GatedFusion) else result)


def values(layer):
    return {v.path.split("/", 1)[1]: np.array(v) for v in layer.variables}


def zeroed(x):
    return [each * PRESENT[:, i].reshape(-1, *[1] * (each.ndim - 1)) for i, each in enumerate(x)]


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


# -- equations ------------------------------------------------------------------------------------


def test_concatenation():
    layer = made(ConcatenationFusion)
    x, w = features(layer), values(layer)
    joined = np.concatenate([*zeroed(x), PRESENT], axis=1)
    expected = joined @ w["projection/kernel"] + w["projection/bias"]
    np.testing.assert_allclose(fused(layer, x), expected)
    assert layer.count_params() == 3 * (WIDTH + 1) * UNITS + UNITS


def test_gates():
    layer = made(GatedFusion)
    x, w = features(layer), values(layer)
    logits = np.concatenate(zeroed(x), axis=1) @ w["gates/kernel"] + w["gates/bias"]
    logits = logits.reshape(ROWS, 3, UNITS)
    hidden = [np.tanh(e @ w[f"hidden_{m}/kernel"] + w[f"hidden_{m}/bias"]) for m, e in enumerate(x)]
    expected, gates = np.zeros((ROWS, UNITS)), np.zeros((ROWS, 3, UNITS))
    for row in range(ROWS):
        there = np.flatnonzero(PRESENT[row])
        if there.size:
            gates[row, there] = softmax(logits[row, there], axis=0)
        expected[row] = sum(gates[row, m] * hidden[m][row] for m in there)
    found, found_gates = layer(x, PRESENT)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found_gates, gates)
    np.testing.assert_allclose(np.array(found_gates).sum(1)[:-1], 1)
    assert layer.count_params() == 3 * (WIDTH + 1) * UNITS + (3 * WIDTH + 1) * 3 * UNITS


def test_two_gates_are_the_bimodal_unit():
    layer = GatedFusion(1, dtype="float64")
    x = [np.array([[0.3]]), np.array([[-2.0]])]
    layer(x, np.ones((1, 2)))
    one, other = (np.tanh(e @ np.array(h.kernel)) for h, e in zip(layer.hidden, x, strict=True))
    logits = np.concatenate(x, axis=1) @ np.array(layer.gates.kernel)
    z = 1 / (1 + np.exp(logits[:, 1:] - logits[:, :1]))
    np.testing.assert_allclose(layer(x, np.ones((1, 2)))[0], z * one + (1 - z) * other)


def test_low_rank_is_the_full_outer_product():
    layer = made(LowRankFusion, rank=2)
    x, w = features(layer), values(layer)
    factors = [  # (rank, width + 1, units), the constant last
        np.concatenate([w[f"factor_{m}/kernel"], w[f"factor_{m}/bias"][None]])
        .reshape(WIDTH + 1, 2, UNITS)
        .transpose(1, 0, 2)
        for m in range(3)
    ]
    tensor = np.einsum("r,riu,rju,rku->ijku", w["rank_weights"], *factors)
    ones = [np.concatenate([each, np.ones((ROWS, 1))], axis=1) for each in zeroed(x)]
    outer = np.einsum("bi,bj,bk->bijk", *ones)
    expected = np.einsum("bijk,ijku->bu", outer, tensor) + w["bias"]
    np.testing.assert_allclose(fused(layer, x), expected)
    assert layer.count_params() == 3 * (WIDTH + 1) * 2 * UNITS + 2 + UNITS


def attention(w, name, queries, keys, mask):
    """Multi-head attention of Vaswani et al., as Keras lays out its kernels."""

    def project(what, x):
        kernel, bias = w[f"{name}/{what}/kernel"], w[f"{name}/{what}/bias"]
        return np.einsum("bsw,whd->bhsd", x, kernel) + bias[None, :, None]

    q, k, v = project("query", queries), project("key", keys), project("value", keys)
    scores = np.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(mask[:, None, None], scores, -1e9)
    mixed = np.einsum("bhqk,bhkd->bqhd", softmax(scores), v)
    out = w[f"{name}/attention_output/kernel"]
    return np.einsum("bqhd,hdw->bqw", mixed, out) + w[f"{name}/attention_output/bias"]


def norm(w, name, x):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / scale * w[f"{name}/gamma"] + w[f"{name}/beta"]


def network(w, name, x):
    hidden = x @ w[f"{name}_in/kernel"] + w[f"{name}_in/bias"]
    hidden = np.array(keras.ops.gelu(hidden, approximate=False))
    return hidden @ w[f"{name}_out/kernel"] + w[f"{name}_out/bias"]


def mean_of(x, mask):
    return (x * mask[..., None]).sum(1) / np.maximum(mask.sum(1), 1)[:, None]


def token_masks():
    padding = np.random.default_rng(3).random((ROWS, TOKENS[1])) > 0.4
    given = [None, padding, None]
    masks = []
    for i, n in enumerate(TOKENS):
        there = np.repeat(PRESENT[:, i : i + 1] > 0, n, axis=1)
        masks.append(there if given[i] is None else there & given[i])
    return given, masks


def test_cross_attention():
    layer = made(CrossAttentionFusion)
    w = values(layer)
    given, masks = token_masks()
    x = zeroed(features(layer))
    normed = [norm(w, f"norm_{m}", each) for m, each in enumerate(x)]
    pooled = []
    for m in range(3):
        others = [i for i in range(3) if i != m]
        mask = np.concatenate([masks[i] for i in others], axis=1)
        keys = np.concatenate([normed[i] for i in others], axis=1)
        found = attention(w, f"attention_{m}", normed[m], keys, mask)
        z = x[m] + found * mask.any(1)[:, None, None]
        z = z + network(w, f"network_{m}", norm(w, f"later_norm_{m}", z))
        pooled.append(mean_of(z, masks[m]))
    expected = np.concatenate(pooled, 1) @ w["projection/kernel"] + w["projection/bias"]
    found = fused(layer, features(layer), features_mask=given)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_bottleneck():
    layer = made(BottleneckFusion, num_bottlenecks=2, num_layers=2)
    w = values(layer)
    given, masks = token_masks()
    x = zeroed(features(layer))
    count = np.maximum(PRESENT.sum(1), 1)
    shared = np.repeat(w["bottleneck"][None], ROWS, axis=0)
    for i in range(2):
        new = []
        for m in range(3):
            z = np.concatenate([x[m], shared], axis=1)
            mask = np.concatenate([masks[m], np.ones((ROWS, 2), bool)], axis=1)
            h = norm(w, f"norm_{i}_{m}", z)
            z = z + attention(w, f"attention_{i}_{m}", h, h, mask)
            z = z + network(w, f"network_{i}_{m}", norm(w, f"later_norm_{i}_{m}", z))
            x[m] = z[:, :-2]
            new.append(z[:, -2:] * PRESENT[:, m, None, None])
        shared = sum(new) / count[:, None, None]
    pooled = sum(mean_of(x[m], masks[m]) * PRESENT[:, m, None] for m in range(3))
    expected = pooled / count[:, None] @ w["projection/kernel"] + w["projection/bias"]
    found = fused(layer, features(layer), features_mask=given)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# -- what all promise ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_VECTORS + OF_TOKENS, ids=lambda kind: kind.__name__)
def test_what_a_missing_modality_holds_never_shows(kind):
    layer = made(kind)
    x = features(layer)
    expected = fused(layer, x)
    assert np.isfinite(expected).all()
    for fill in (0.0, 1e6, np.nan):
        filled = [each.copy() for each in x]
        for i, each in enumerate(filled):
            each[PRESENT[:, i] == 0] = fill
        np.testing.assert_array_equal(fused(layer, filled), expected)
    changed = [each + (i == 2) for i, each in enumerate(x)]  # what is there does show
    differs = np.abs(fused(layer, changed) - expected).max(1) > 1e-9
    assert differs.tolist() == (PRESENT[:, 2] > 0).tolist()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", OF_VECTORS + OF_TOKENS, ids=lambda kind: kind.__name__)
def test_gradients_are_finite_and_reach_every_variable(kind):
    import tensorflow as tf

    layer = made(kind)
    with tf.GradientTape() as tape:
        result = layer(features(layer), PRESENT)
        result = result[0] if kind is GatedFusion else result
        loss = tf.reduce_sum(result**2)
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(loss, layer.trainable_variables), strict=True
    ):
        assert np.isfinite(gradient).all(), variable.path
        # A bias of keys moves all scores alike, which a softmax does not see.
        assert variable.path.endswith("key/bias") or np.abs(gradient).max() > 0, variable.path


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", OF_VECTORS + OF_TOKENS, ids=lambda kind: kind.__name__)
def test_one_modality_alone_and_half_precision(kind):
    heads = {"num_heads": 2} if kind in OF_TOKENS else {}
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        layer = kind(UNITS, dtype=policy, **heads)
        x = [features(layer)[0].astype(layer.compute_dtype)]
        found = fused(layer, x, np.array([[1], [1], [0], [1], [0]]))
        assert found.shape == (ROWS, UNITS) and np.isfinite(found.astype("float32")).all()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", OF_VECTORS + OF_TOKENS, ids=lambda kind: kind.__name__)
def test_a_config_makes_an_equal_layer(kind):
    layer = made(kind)
    again = kind.from_config(layer.get_config())
    again(features(again), PRESENT)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(fused(again, features(again)), fused(layer, features(layer)))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`units` should be a positive integer.*units=0"):
        ConcatenationFusion(0)
    with pytest.raises(ValueError, match=r"`rank` should be a positive integer.*rank=-1"):
        LowRankFusion(2, rank=-1)
    with pytest.raises(ValueError, match="`num_heads` should be a positive integer"):
        BottleneckFusion(2, num_heads=0)
    with pytest.raises(ValueError, match="`num_layers` should be a positive integer"):
        BottleneckFusion(2, num_layers=0)
    with pytest.raises(ValueError, match="`dropout` should be a number from 0 to below 1"):
        CrossAttentionFusion(2, dropout=1.0)
    message = r"features of `GatedFusion` should be tensors \(batch, width\) of one width"
    with pytest.raises(ValueError, match=message):
        GatedFusion(2)([np.ones((2, 3)), np.ones((2, 4))], np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"should be tensors \(batch, tokens, width\)"):
        BottleneckFusion(2)([np.ones((2, 3))], np.ones((2, 1)))
    assert issubclass(GatedFusion, Fusion)
