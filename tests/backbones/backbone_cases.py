"""A tiny one of every backbone, inputs for it, and its closed-form number of parameters."""

import numpy as np

from mtlzoo import backbones


def _norm(width):
    """Scale, offset and two statistics of batch normalization."""
    return 4 * width


def _block(kernel, before, width, strided):
    """A basic block; `kernel` is the number of cells of the kernel."""
    parameters = kernel * before * width + kernel * width * width + 2 * _norm(width)
    if strided or before != width:
        parameters += before * width + _norm(width)
    return parameters


def residual(cells, channels, blocks, widths, stem_cells):
    """The number of parameters of a stem and its stages, statistics included."""
    parameters = stem_cells * channels * widths[0] + _norm(widths[0])
    before = widths[0]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        for i in range(count):
            parameters += _block(cells, before, width, strided=stage > 0 and i == 0)
            before = width
    return parameters


def inverted(stem, kernels, expansions, before, widths, head):
    """The number of parameters of stages of one block each, between a stem and a head."""
    parameters = 27 * stem + _norm(stem) + widths[-1] * head + _norm(head)
    for cells, expansion, width in zip(kernels, expansions, widths, strict=True):
        wide = before * expansion
        if expansion > 1:
            parameters += before * wide + _norm(wide)
        parameters += cells * wide + _norm(wide) + wide * width + _norm(width)
        before = width
    return parameters


def aspp(before, filters, rates):
    """The number of parameters of atrous spatial pyramid pooling."""
    kernels = [1, *[9] * rates, 1]
    branches = sum(cells * before * filters + _norm(filters) for cells in kernels)
    return branches + len(kernels) * filters * filters + _norm(filters)


def transformer(vocabulary, length, width, blocks, hidden):
    """The number of parameters of an encoder; there are as many norms with `norm_first` or not."""
    attention = 4 * (width * width + width)
    ffn = width * hidden + hidden + hidden * width + width
    block = attention + ffn + 2 * 2 * width
    return (vocabulary + length) * width + blocks * block + 2 * width


# Name -> what makes it, of keyword arguments such as `dtype`, and its number of parameters.
CASES = {
    "mlp": (
        lambda **k: backbones.MLP((6,), (5, 4), activation="tanh", dropout=0.1, **k),
        6 * 5 + 5 + 5 * 4 + 4,
    ),
    "mlp_batch_norm": (
        lambda **k: backbones.MLP((2, 3), (5, 4), norm="batch", **k),
        6 * 5 + 4 * 5 + 5 * 4 + 4 * 4,
    ),
    "mlp_layer_norm": (
        lambda **k: backbones.MLP((6,), (5,), norm="layer", **k),
        6 * 5 + 2 * 5,
    ),
    "conv_net": (
        lambda **k: backbones.ConvNet((12, 12, 2), (3, 4), kernel_size=3, dense_units=(5,), **k),
        (9 * 2 * 3 + 3) + (9 * 3 * 4 + 4) + (1 * 1 * 4 * 5 + 5),  # maps of 12, 10, 5, 3, 1
    ),
    "res_net": (
        lambda **k: backbones.ResNet((9, 8, 3), (2, 1), (4, 6), **k),
        residual(9, 3, (2, 1), (4, 6), 9),
    ),
    "res_net_dense": (
        lambda **k: backbones.ResNet(
            (32, 32, 3),
            (1, 1, 1),
            (4, 4, 6),
            stem="large",
            output_stride=8,
            pooled=False,
            aspp_filters=5,
            aspp_rates=(1, 2),
            **k,
        ),
        residual(9, 3, (1, 1, 1), (4, 4, 6), 49) + aspp(6, 5, 2),
    ),
    "efficientnet_lite": (
        lambda **k: backbones.EfficientNetLite0(
            (9, 12, 3), (1, 1, 1), (3, 4, 4), stem_filters=3, head_filters=5, max_pixel=1.0, **k
        ),
        inverted(3, (9, 9, 25), (1, 6, 6), 3, (3, 4, 4), 5),
    ),
    "text_encoder": (
        lambda **k: backbones.TextEncoder(11, 5, width=6, num_heads=2, **k),
        transformer(11, 5, 6, 2, 24),
    ),
    "text_encoder_pooled": (
        lambda **k: backbones.TextEncoder(
            11, 5, width=6, num_layers=1, ffn_units=7, norm_first=False, pooled=True, **k
        ),
        transformer(11, 5, 6, 1, 7),
    ),
    "bert_encoder": (
        lambda **k: backbones.BertEncoder(
            11, 5, width=6, num_layers=2, num_heads=2, separator_id=2, **k
        ),
        transformer(11, 5, 6, 2, 24) + 2 * 6,
    ),
    "bert_encoder_first": (
        lambda **k: backbones.BertEncoder(
            11, 5, width=6, num_layers=1, num_heads=1, ffn_units=7, pooling="first", **k
        ),
        transformer(11, 5, 6, 1, 7) + 2 * 6 + 6 * 6 + 6,
    ),
    "audio_encoder": (
        lambda **k: backbones.AudioEncoder(
            799,
            8000,
            fft_length=128,
            sequence_stride=100,
            num_mel_bins=6,
            blocks=(1, 1),
            widths=(4, 5),
            **k,
        ),
        residual(3, 6, (1, 1), (4, 5), 3),
    ),
    "sensor_encoder": (
        lambda **k: backbones.SensorEncoder(
            10, 3, blocks=(1, 1), widths=(4, 5), kernel_size=5, norm="batch", **k
        ),
        residual(5, 3, (1, 1), (4, 5), 5),
    ),
    "tabular_encoder": (
        lambda **k: backbones.TabularEncoder(
            {"user": 7, "item": 4},
            {"price": 1, "place": 2},
            embedding_dim={"user": 3, "item": 2},
            **k,
        ),
        7 * 3 + 4 * 2,
    ),
}


def inputs_of(backbone, rows=3, seed=0):
    """Random inputs, dict or array as the backbone takes them, ids in range with some 0."""
    rng = np.random.default_rng(seed)

    def one(tensor):
        shape = (rows, *tensor.shape[1:])
        if tensor.dtype == "int32":
            return rng.integers(0, 4, shape).astype("int32")
        return rng.normal(size=shape).astype("float32")

    made = backbone.input
    return {k: one(t) for k, t in made.items()} if isinstance(made, dict) else one(made)


def randomize(backbone, seed=1):
    """Weights with which every layer matters: no offset is zero, no scale one."""
    rng = np.random.default_rng(seed)
    weights = []
    for variable in backbone.weights:
        values = rng.normal(scale=0.3, size=variable.shape)
        if variable.name in ("moving_variance", "gamma"):
            values = 1 + np.abs(values)
        weights.append(values)
    backbone.set_weights(weights)
    return backbone
