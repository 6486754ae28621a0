"""Multi-Fashion as recipes take it, and networks that read its pictures."""

import dataclasses

import keras

from mtlzoo import Classification, data
from mtlzoo.backbones import ConvNet
from mtlzoo.data.multi_fashion.original import CLASSES
from mtlzoo.layers import PositionEmbedding

SHAPE, UNITS = (36, 36, 1), (50,)
VALID_ROWS = 2000  # enough to choose an epoch


class Item(Classification):
    """One of ten classes that are equally frequent, so that accuracy decides."""

    monitor = "accuracy"


def load(
    seed: int,
    batch_size: int,
    rows: int | None,
    data_dir: str | None,
    valid_rows: int | None = VALID_ROWS,
    test_rows: int | None = None,
) -> data.Loaded:
    """The data, with accuracy as the deciding metric.

    Args:
        seed: of the order.
        batch_size: rows in a batch.
        rows: training pairs in an epoch, drawn anew for each from all; `None` for all.
        data_dir: where prepared data is, if not in the cache.
        valid_rows: validation pairs; `None` for all.
        test_rows: test pairs, which are then kept in memory; `None` for all.
    """

    def some(part, count):
        return part.take(-1 if count is None else -(-count // batch_size))

    fashion = data.load("multi_fashion", batch_size=batch_size, seed=seed, data_dir=data_dir)
    return dataclasses.replace(
        fashion,
        train=some(fashion.train, rows),
        valid=some(fashion.valid, valid_rows),
        test=fashion.test if test_rows is None else some(fashion.test, test_rows).cache(),
        tasks=[Item(task.name, len(CLASSES), metrics=["accuracy"]) for task in fashion.tasks],
    )


def trunk() -> ConvNet:
    """Convolutions of 10 and 20 channels, and a fully connected layer of 50 units."""
    return ConvNet(SHAPE, dense_units=UNITS)


def convolutions() -> ConvNet:
    """The same without the fully connected layer."""
    return ConvNet(SHAPE, dense_units=())


def tokens() -> keras.Model:
    """The 6 x 6 places of the last convolution as tokens that know where they are.

    A convolution does not tell left from right: without positions neither would the queries.
    """
    network = convolutions()
    maps = network.get_layer("conv_1").output
    places = keras.layers.Reshape((-1, maps.shape[-1]), name="places")(maps)
    return keras.Model(network.input, PositionEmbedding(name="positions")(places))
