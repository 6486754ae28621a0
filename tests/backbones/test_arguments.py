"""What the backbones say of arguments that are out of their range."""

import pytest

from mtlzoo.backbones import (
    MLP,
    AudioEncoder,
    BertEncoder,
    ConvNet,
    ResNet,
    SensorEncoder,
    TabularEncoder,
    TextEncoder,
)

IMAGE = (9, 9, 3)
# A small one of each, whose arguments are replaced one at a time.
GOOD = {
    MLP: {"input_shape": (6,), "units": (5,)},
    ConvNet: {"input_shape": IMAGE, "filters": (3,), "dense_units": (4,)},
    ResNet: {"input_shape": IMAGE, "blocks": (1, 1), "widths": (4, 5)},
    SensorEncoder: {"length": 8, "channels": 2, "blocks": (1,), "widths": (4,)},
    AudioEncoder: {"num_samples": 600, "blocks": (1,), "widths": (4,)},
    TextEncoder: {"vocabulary_size": 9, "sequence_length": 4, "width": 4},
    BertEncoder: {"vocabulary_size": 9, "sequence_length": 4, "width": 4, "num_heads": 2},
    TabularEncoder: {"id_columns": {"user": 4}, "dense_columns": ["price"]},
}
UNITS = "`{0}` should be a tuple of positive integers. Received: {0}={1}"
NOT_EMPTY = "`{0}` should have at least one entry. Received: {0}=()"
RATE = "`dropout` should be a number from 0 to below 1. Received: dropout={}"
COUNT = "`{0}` should be an integer of at least {2}. Received: {0}={1}"
ODD = "`kernel_size` should be an odd positive integer. Received: kernel_size={}"
NORM = "`norm` should be one of 'batch', 'group'. Received: norm={}"
SHAPE = "`input_shape` should be {}. Received: input_shape={}"
IMAGES = "(height, width, channels)"
SIZES = "`{0}` should be a dict of sizes by name of column. Received: {0}={1}"
STAGES = (
    "`blocks` and `widths` should have one entry for each stage. Received: blocks={}, widths={}"
)
COLUMNS = (
    "`id_columns` and `dense_columns` should have at least one column together, each with a name "
    "of its own. Received: {} and {}"
)

WRONG = [
    (MLP, {"input_shape": ()}, SHAPE.format("a tuple of positive integers", "()")),
    (MLP, {"input_shape": (None,)}, SHAPE.format("a tuple of positive integers", "(None,)")),
    (MLP, {"input_shape": 6}, SHAPE.format("a tuple of positive integers", 6)),
    (MLP, {"units": ()}, NOT_EMPTY.format("units")),
    (MLP, {"units": (4, 0)}, UNITS.format("units", "(4, 0)")),
    (MLP, {"units": 4}, UNITS.format("units", 4)),
    (MLP, {"units": (True,)}, UNITS.format("units", "(True,)")),
    (MLP, {"dropout": 1}, RATE.format(1)),
    (MLP, {"dropout": -0.1}, RATE.format(-0.1)),
    (
        MLP,
        {"norm": "group"},
        "`norm` should be one of None, 'batch', 'layer'. Received: norm='group'",
    ),
    (ConvNet, {"input_shape": (9, 9)}, SHAPE.format(IMAGES, "(9, 9)")),
    (ConvNet, {"input_shape": (None, 9, 3)}, SHAPE.format(IMAGES, "(None, 9, 3)")),
    (ConvNet, {"filters": ()}, NOT_EMPTY.format("filters")),
    (ConvNet, {"filters": (3.0,)}, UNITS.format("filters", "(3.0,)")),
    (ConvNet, {"kernel_size": 0}, COUNT.format("kernel_size", 0, 1)),
    (ConvNet, {"pool_size": 0}, COUNT.format("pool_size", 0, 1)),
    (ConvNet, {"dense_units": (0,)}, UNITS.format("dense_units", "(0,)")),
    (ConvNet, {"dropout": float("nan")}, RATE.format("nan")),
    (
        ConvNet,
        {"filters": (3, 4)},
        "`input_shape` should be large enough for convolutions of 5 and pooling of 2, of which one "
        "receives maps of 2x2. Received: input_shape=(9, 9, 3)",
    ),
    (ResNet, {"input_shape": (9, 9, None)}, SHAPE.format(IMAGES, "(9, 9, None)")),
    (ResNet, {"blocks": ()}, NOT_EMPTY.format("blocks")),
    (ResNet, {"blocks": (1,)}, STAGES.format("(1,)", "(4, 5)")),
    (ResNet, {"widths": (4, -1)}, UNITS.format("widths", "(4, -1)")),
    (ResNet, {"stem": "tiny"}, "`stem` should be 'small' or 'large'. Received: stem='tiny'"),
    (
        ResNet,
        {"output_stride": 4},
        "`output_stride` should be one of [1, 2] for stem='small' and 2 stages, or None. "
        "Received: output_stride=4",
    ),
    (
        ResNet,
        {"output_stride": 2, "stem": "large"},
        "`output_stride` should be one of [4, 8] for stem='large' and 2 stages, or None. "
        "Received: output_stride=2",
    ),
    (
        ResNet,
        {"output_stride": True},
        "`output_stride` should be one of [1, 2] for stem='small' and 2 stages, or None. "
        "Received: output_stride=True",
    ),
    (ResNet, {"norm": "layer"}, NORM.format("'layer'")),
    (ResNet, {"aspp_filters": 0}, COUNT.format("aspp_filters", 0, 1)),
    (
        ResNet,
        {"aspp_filters": 4},
        "`pooled` should be False with `aspp_filters`, which are for dense tasks. Received: "
        "pooled=True, aspp_filters=4",
    ),
    (
        ResNet,
        {"aspp_filters": 4, "pooled": False, "aspp_rates": (0,)},
        "`rates` should be a tuple of positive integers. Received: rates=(0,)",
    ),
    (SensorEncoder, {"length": 0}, COUNT.format("length", 0, 1)),
    (SensorEncoder, {"channels": None}, COUNT.format("channels", None, 1)),
    (SensorEncoder, {"widths": (4, 5)}, STAGES.format("(1,)", "(4, 5)")),
    (SensorEncoder, {"kernel_size": 4}, ODD.format(4)),
    (SensorEncoder, {"norm": None}, NORM.format(None)),
    (AudioEncoder, {"num_samples": 511}, COUNT.format("num_samples", 511, 512)),
    (AudioEncoder, {"fft_length": 1}, COUNT.format("fft_length", 1, 2)),
    (AudioEncoder, {"sampling_rate": 8e3}, COUNT.format("sampling_rate", 8e3, 1)),
    (AudioEncoder, {"sequence_stride": 0}, COUNT.format("sequence_stride", 0, 1)),
    (AudioEncoder, {"num_mel_bins": 0}, COUNT.format("num_mel_bins", 0, 1)),
    (AudioEncoder, {"blocks": (0,)}, UNITS.format("blocks", "(0,)")),
    (AudioEncoder, {"blocks": (1, 1)}, STAGES.format("(1, 1)", "(4,)")),
    (AudioEncoder, {"kernel_size": 2}, ODD.format(2)),
    (AudioEncoder, {"norm": "layer"}, NORM.format("'layer'")),
    (TextEncoder, {"vocabulary_size": 1}, COUNT.format("vocabulary_size", 1, 2)),
    (TextEncoder, {"sequence_length": 0}, COUNT.format("sequence_length", 0, 1)),
    (TextEncoder, {"width": 1, "num_heads": 1}, COUNT.format("width", 1, 2)),
    (
        TextEncoder,
        {"num_heads": 3},
        "`width` should be a multiple of `num_heads`. Received: width=4, num_heads=3",
    ),
    (BertEncoder, {"vocabulary_size": 1}, COUNT.format("vocabulary_size", 1, 2)),
    (
        BertEncoder,
        {"width": 5},
        "`width` should be a multiple of `num_heads`. Received: width=5, num_heads=2",
    ),
    (BertEncoder, {"separator_id": 0}, COUNT.format("separator_id", 0, 1)),
    (
        BertEncoder,
        {"pooling": "max"},
        "`pooling` should be one of None, 'mean', 'first'. Received: pooling='max'",
    ),
    (TextEncoder, {"num_heads": 0}, COUNT.format("num_heads", 0, 1)),
    (TextEncoder, {"num_layers": 0}, COUNT.format("num_layers", 0, 1)),
    (TextEncoder, {"ffn_units": 0}, COUNT.format("ffn_units", 0, 1)),
    (TextEncoder, {"dropout": "0.1"}, RATE.format("'0.1'")),
    (TabularEncoder, {"id_columns": ["user"]}, SIZES.format("id_columns", "['user']")),
    (TabularEncoder, {"id_columns": {1: 4}}, SIZES.format("id_columns", "{1: 4}")),
    (TabularEncoder, {"id_columns": {"user": 0}}, COUNT.format("id_columns['user']", 0, 1)),
    (TabularEncoder, {"dense_columns": "price"}, SIZES.format("dense_columns", "'price'")),
    (TabularEncoder, {"dense_columns": {"price": 0}}, COUNT.format("dense_columns['price']", 0, 1)),
    (
        TabularEncoder,
        {"dense_columns": ["a", "a"]},
        "`dense_columns` should have each name once. Received: dense_columns=['a', 'a']",
    ),
    (TabularEncoder, {"dense_columns": ["user"]}, COLUMNS.format(["user"], ["user"])),
    (TabularEncoder, {"id_columns": None, "dense_columns": ()}, COLUMNS.format([], [])),
    (TabularEncoder, {"embedding_dim": 0}, COUNT.format("embedding_dim", 0, 1)),
    (
        TabularEncoder,
        {"embedding_dim": {"item": 3}},
        "`embedding_dim` should have an entry for each column of ids, ['user']. Received: entries "
        "for ['item']",
    ),
]
NAMES = [f"{kind.__name__}-{'-'.join(wrong)}" for kind, wrong, _ in WRONG]


@pytest.mark.parametrize(("kind", "wrong", "message"), WRONG, ids=NAMES)
def test_wrong_arguments(kind, wrong, message):
    with pytest.raises(ValueError) as error:
        kind(**{**GOOD[kind], **wrong})
    assert str(error.value) == message


@pytest.mark.parametrize("kind", GOOD, ids=lambda kind: kind.__name__)
def test_right_arguments_and_wrong_dtypes(kind):
    assert kind(**GOOD[kind]).get_config().keys() >= GOOD[kind].keys()
    with pytest.raises(ValueError) as error:
        kind(**GOOD[kind], dtype="float17")
    assert str(error.value) == (
        "`dtype` should be a Keras dtype policy or the name of one. Received: dtype='float17'"
    )
