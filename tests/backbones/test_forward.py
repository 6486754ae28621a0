"""Forward passes of the backbones against NumPy in float64."""

import warnings

import keras
import numpy as np
import pytest
from backbone_cases import inputs_of, randomize
from numpy_forward import (
    NORMS,
    batch_norm,
    convolve,
    gelu,
    group_norm,
    layer_norm,
    relu,
    softmax,
    weights_of,
)

from mtlzoo.backbones import (
    MLP,
    BertEncoder,
    ConvNet,
    ResNet,
    SensorEncoder,
    TabularEncoder,
    TextEncoder,
)
from mtlzoo.tasks import heads


def close(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_mlp(norm):
    model = randomize(
        MLP((2, 3), (5, 4), activation="tanh", dropout=0.3, norm=norm, dtype="float64")
    )
    x = inputs_of(model)
    h = x.astype("float64").reshape(3, 6)
    for layer in ("layer_0", "layer_1"):
        w = weights_of(model, f"{layer}_")
        h = h @ w["dense/kernel"]
        if norm is None:
            h = h + w["dense/bias"]
        elif norm == "batch":
            h = batch_norm(h, w, "norm")
        else:
            h = layer_norm(h, w, "norm", 1e-5)
        h = np.tanh(h)
    close(model(x), h)


def test_conv_net():
    model = randomize(
        ConvNet((9, 8, 2), (3, 4), kernel_size=2, dense_units=(5,), dropout=0.3, dtype="float64")
    )
    x = inputs_of(model)
    h = x.astype("float64")
    for stage in ("conv_0", "conv_1"):
        w = weights_of(model, f"{stage}_")
        windows = np.lib.stride_tricks.sliding_window_view(h, (2, 2), (1, 2))
        h = relu(np.einsum("bhwcij,ijcf->bhwf", windows, w["conv/kernel"]) + w["conv/bias"])
        rows, columns = (n // 2 for n in h.shape[1:3])
        h = h[:, : 2 * rows, : 2 * columns].reshape(3, rows, 2, columns, 2, -1).max((2, 4))
    w = weights_of(model, "dense_0_")
    close(model(x), relu(h.reshape(3, -1) @ w["dense/kernel"] + w["dense/bias"]))


def block(model, x, name, norm, activation, strides=1, rates=(1, 1)):
    """a(s(x) + n(K₂ * a(n(K₁ * x)))), where s is the identity or has a kernel of its own."""
    w = weights_of(model, f"{name}_")
    y = activation(norm(convolve(x, w["conv_1_conv/kernel"], strides, rates[0]), w, "conv_1"))
    y = norm(convolve(y, w["conv_2_conv/kernel"], 1, rates[1]), w, "conv_2")
    if "shortcut_conv/kernel" in w:
        x = norm(convolve(x, w["shortcut_conv/kernel"], strides), w, "shortcut")
    return activation(x + y)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_residual_blocks_with_both_shortcuts(norm):
    """Even and odd sizes, on which "same" of Keras and zeros on both sides differ or not."""
    model = randomize(
        ResNet(
            (6, 7, 2), (2, 1), (4, 6), norm=norm, activation="tanh", pooled=False, dtype="float64"
        )
    )
    x = inputs_of(model)
    n, w = NORMS[norm], weights_of(model, "stem_")
    h = np.tanh(n(convolve(x.astype("float64"), w["conv_conv/kernel"]), w, "conv"))
    h = block(model, h, "stage_1_block_0", n, np.tanh)
    close(model.get_layer("stage_1_block_0").output.shape[1:], h.shape[1:])
    h = block(model, h, "stage_1_block_1", n, np.tanh)
    h = block(model, h, "stage_2_block_0", n, np.tanh, strides=2)
    assert h.shape == (3, 3, 4, 6)
    close(model(x), h)


def test_large_stem_rates_and_a_projection_without_a_stride():
    """Without a stride the first block of a stage has a projection where the width changes."""
    model = randomize(
        ResNet(
            (9, 10, 2),
            (1, 2, 1),
            (3, 3, 4),
            stem="large",
            output_stride=4,
            pooled=True,
            dtype="float64",
        )
    )
    x = inputs_of(model)
    w = weights_of(model, "stem_")
    h = relu(batch_norm(convolve(x.astype("float64"), w["conv_conv/kernel"], 2), w, "conv"))
    padded = np.pad(h, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    h = windows.max((-1, -2))[:, ::2, ::2]
    for name, rates in {
        "stage_1_block_0": (1, 1),
        "stage_2_block_0": (1, 2),
        "stage_2_block_1": (2, 2),
        "stage_3_block_0": (2, 4),
    }.items():
        h = block(model, h, name, batch_norm, relu, rates=rates)
    close(model(x), h.mean((1, 2)))
    shortcuts = {layer.name for layer in model.layers if layer.name.endswith("shortcut")}
    assert shortcuts == {"stage_3_block_0_shortcut"}


def test_sensor_encoder():
    model = randomize(
        SensorEncoder(7, 3, blocks=(1, 1), widths=(4, 6), norm="group", dtype="float64")
    )
    x = inputs_of(model)
    w = weights_of(model, "stem_")
    h = relu(group_norm(convolve(x.astype("float64"), w["conv_conv/kernel"]), w, "conv"))
    h = block(model, h, "stage_1_block_0", group_norm, relu)
    h = block(model, h, "stage_2_block_0", group_norm, relu, strides=2)
    close(model(x), h.mean(1))


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("stem", "before", "after", "size"),
    [("large", 16, 8, (41, 36)), ("large", 16, 4, (32, 35)), ("small", 4, 1, (9, 8))],
)
def test_a_dilated_network_is_the_strided_one_at_more_positions(stem, before, after, size):
    """A kernel at rate r sees, from every r-th position, what it saw after a stride of r."""

    def make(output_stride):
        return ResNet(
            (*size, 2),
            (1, 2, 1),
            (3, 4, 5),  # of equal widths only the strided has a projection
            stem=stem,
            output_stride=output_stride,
            pooled=False,
            dtype="float64",
        )

    strided, dilated = randomize(make(before)), make(after)
    assert make(None).output.shape == strided.output.shape  # the largest is the default
    dilated.set_weights(strided.get_weights())
    x = inputs_of(strided)
    ratio = before // after
    found = keras.ops.convert_to_numpy(dilated(x))
    assert found.shape[1:3] == tuple(-(-n // after) for n in size)
    close(found[:, ::ratio, ::ratio], strided(x))


def transformer_row(model, ids, norm_first, activation):
    """Only the tokens that are there; at the places of others the features are zero."""
    here = [s for s, i in enumerate(ids) if 0 < i < 7]
    table, positions = (
        weights_of(model, name) for name in ("token_embedding", "position_embedding")
    )
    x = table["/embeddings"][[ids[s] for s in here]] + positions["/positions"][here]
    features = np.zeros((len(ids), x.shape[-1]))
    if not here:
        return features
    if not norm_first:
        x = layer_norm(x, weights_of(model, "embedding_norm"), "", 1e-6)
    for i in range(2):
        name = f"block_{i}_"
        for part in (attention, ffn):
            w = weights_of(model, f"{name}{part.__name__}_norm")
            if norm_first:
                x = x + part(model, layer_norm(x, w, "", 1e-6), name, activation)
            else:
                x = layer_norm(x + part(model, x, name, activation), w, "", 1e-6)
    if norm_first:
        x = layer_norm(x, weights_of(model, "block_1_norm"), "", 1e-6)
    features[here] = x
    return features


def attention(model, x, name, _):
    layer = model.get_layer(f"{name}attention")
    w = {v.path.split("attention/")[-1]: np.asarray(v, "float64") for v in layer.weights}
    total = w["attention_output/bias"]
    for h in range(2):
        query, key, value = (
            x @ w[f"{part}/kernel"][:, h] + w[f"{part}/bias"][h]
            for part in ("query", "key", "value")
        )
        mixed = softmax(query @ key.T / np.sqrt(query.shape[-1])) @ value
        total = total + mixed @ w["attention_output/kernel"][h]
    return total


def ffn(model, x, name, activation):
    w = weights_of(model, f"{name}ffn_")
    return activation(x @ w["1/kernel"] + w["1/bias"]) @ w["2/kernel"] + w["2/bias"]


@pytest.mark.parametrize(
    ("norm_first", "activation", "by_hand", "tolerance"),
    [(True, "gelu", gelu, 1e-6), (False, "tanh", np.tanh, 1e-9)],
)
def test_transformer_blocks_with_padding(norm_first, activation, by_hand, tolerance):
    """Of heads of width 4: Keras rounds one over the root of the width to float32."""
    ids = np.array([[3, 4, 1, 6, 2], [5, 0, 2, 0, 0], [7, -1, 99, 6, 0], [0] * 5], "int32")

    def make(pooled):
        return TextEncoder(
            7,
            5,
            width=8,
            ffn_units=4,
            activation=activation,
            norm_first=norm_first,
            pooled=pooled,
            dtype="float64",
        )

    model, pooled = randomize(make(False)), make(True)
    expected = np.stack([transformer_row(model, row, norm_first, by_hand) for row in ids])
    close(model(ids), expected, tolerance)
    pooled.set_weights(model.get_weights())
    counts = np.array([5, 2, 1, 1])  # the last row is empty and stays zero
    close(pooled(ids), expected.sum(1) / counts[:, None], tolerance)


def bert_row(model, ids):
    """The tokens that are there, of types that a separator, 3, parts; zeros at other places."""
    here = [s for s, i in enumerate(ids) if 0 < i < 7]
    types = [int(3 in ids[:s]) for s in here]
    tokens, positions, kinds = (
        weights_of(model, f"{name}_embedding") for name in ("token", "position", "type")
    )
    x = tokens["/embeddings"][[ids[s] for s in here]] + positions["/positions"][here]
    features = np.zeros((len(ids), x.shape[-1]))
    if not here:
        return features
    x = layer_norm(x + kinds["/embeddings"][types], weights_of(model, "embedding_norm"), "", 1e-12)
    for i in range(2):
        name = f"block_{i}_"
        for part in (attention, ffn):
            w = weights_of(model, f"{name}{part.__name__}_norm")
            x = layer_norm(x + part(model, x, name, gelu), w, "", 1e-12)
    features[here] = x
    return features


@pytest.mark.slow
def test_bert_with_two_texts_and_padding():
    ids = np.array([[2, 4, 3, 6, 3], [5, 1, 2, 0, 0], [3, -1, 99, 6, 3], [0] * 5], "int32")

    def make(pooling):
        return BertEncoder(
            7,
            5,
            width=8,
            num_layers=2,
            num_heads=2,
            ffn_units=4,
            separator_id=3,
            pooling=pooling,
            dtype="float64",
        )

    model, first = randomize(make(None)), randomize(make("first"))
    expected = np.stack([bert_row(model, row) for row in ids])
    close(model(ids), expected, 1e-6)
    mean = make("mean")
    mean.set_weights(model.get_weights())
    close(mean(ids), expected.sum(1) / np.array([5, 3, 3, 1])[:, None], 1e-6)
    first.set_weights([*model.get_weights(), *first.get_weights()[-2:]])
    w = weights_of(first, "pool")
    close(first(ids), np.tanh(expected[:, 0] @ w["/kernel"] + w["/bias"]), 1e-6)


def test_a_head_leaves_padding_out_of_the_whole_and_of_copied_stages():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns where a mask is lost
        model = randomize(TextEncoder(7, 5, width=6, num_layers=1, dropout=0.0))
        whole = keras.Model(model.input, heads.of_rows("a", model.output, 2))
        start = keras.Input((5, 6))
        block = keras.models.clone_model(
            keras.Model(model.get_layer("embedding").output, model.output)
        )
        cut = keras.Model(start, heads.of_rows("a", block(start), 2))
        ids = np.array([[3, 4, 1, 6, 2], [5, 0, 2, 0, 0], [0] * 5], "int32")
        cut.set_weights(whole.get_weights()[2:])
        embedded = keras.Model(model.input, model.get_layer("embedding").output)
        found = whole(ids)
        features = np.asarray(model(ids))
        close(found, cut(np.asarray(embedded(ids))), 1e-5)
    mean = features.sum(1) / np.array([[5], [2], [1]])
    kernel, bias = (np.asarray(v) for v in whole.get_layer("a").weights)
    close(found, mean @ kernel + bias, 1e-5)


@pytest.mark.parametrize("as_column", [False, True])
def test_tabular_encoder(as_column):
    """Sorted columns of ids, then sorted columns of numbers; ids outside are read as 0."""
    model = randomize(
        TabularEncoder(
            {"user": 5, "item": 3},
            {"size": 2, "price": 1},
            embedding_dim={"user": 2, "item": 4},
            dtype="float64",
        )
    )
    ids = {"user": np.array([4, 5, -1, 1], "int32"), "item": np.array([2, 1, 3, 0], "int32")}
    rng = np.random.default_rng(0)
    numbers = {"price": rng.normal(size=4), "size": rng.normal(size=(4, 2))}
    numbers = {k: v.astype("float32") for k, v in numbers.items()}  # inputs are float32
    tables = {k: np.asarray(model.get_layer(f"{k}_embedding").embeddings) for k in ids}
    expected = np.concatenate(
        [
            tables["item"][[2, 1, 0, 0]],
            tables["user"][[4, 0, 0, 1]],
            numbers["price"][:, None],
            numbers["size"],
        ],
        axis=1,
    )
    given = {**ids, **numbers}
    if as_column:
        given |= {k: given[k][:, None] for k in ("user", "item", "price")}
    close(model(given), expected)


def test_a_table_of_one_column():
    numbers = TabularEncoder(dense_columns=["price"])
    assert numbers.layers[-1].name == "features" and not numbers.weights
    close(numbers({"price": np.array([[0.5], [2.0]], "float32")}), [[0.5], [2.0]])
    ids = randomize(TabularEncoder({"user": 4}, embedding_dim=3))
    close(ids({"user": np.array([3, 9])}), ids.weights[0].numpy()[[3, 0]])
