"""Multi-Fashion as recipes take it."""

import dataclasses

from mtlzoo import Classification, data
from mtlzoo.data.multi_fashion.original import CLASSES

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
) -> data.Loaded:
    """The data, with accuracy as the deciding metric.

    Args:
        seed: of the order.
        batch_size: rows in a batch.
        rows: training pairs in an epoch, drawn anew for each from all; `None` for all.
        data_dir: where prepared data is, if not in the cache.
        valid_rows: validation pairs; `None` for all.
    """

    def some(part, count):
        return part.take(-1 if count is None else -(-count // batch_size))

    fashion = data.load("multi_fashion", batch_size=batch_size, seed=seed, data_dir=data_dir)
    return dataclasses.replace(
        fashion,
        train=some(fashion.train, rows),
        valid=some(fashion.valid, valid_rows),
        tasks=[Item(task.name, len(CLASSES), metrics=["accuracy"]) for task in fashion.tasks],
    )
