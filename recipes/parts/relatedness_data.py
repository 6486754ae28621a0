"""The data of the recipe on relatedness, in memory."""

import numpy as np

from mtlzoo import BinaryClassification
from mtlzoo.data.synthetic_relatedness import generate
from mtlzoo.tasks import Task
from recipes.parts import census
from recipes.parts.rows import first_rows

VALID_ROWS = 8_000
NOTHING = "random_plane"


def synthetic(rows: int, p: float, draw: int) -> tuple[tuple, tuple]:
    """Rows to learn from and rows to score on, with the labels of the tasks `first` and `second`.

    Labels are standardized: else the mean that the tasks have in common is what they are found to
    share, whatever p is. Each row has the label of one task only, so that with p=1 each learns from
    the labels of the other as from its own.

    Args:
        rows: how many to learn from.
        p: the cosine of the weight vectors.
        draw: seed of the sines.
    """
    train, valid = (
        (x, {n: (v - v.mean()) / v.std() for n, v in y.items()})
        for x, y in (generate(rows, p, [draw, 1], draw), generate(4096, p, [draw, 2], draw))
    )
    train[1]["first"][::2] = np.nan
    train[1]["second"][1::2] = np.nan
    return train, valid


def census_with_nothing(
    source: str, data_dir: str | None, rows: int
) -> tuple[list[Task], tuple, tuple]:
    """The tasks of Census-Income and one that is about nothing: on which side of a random plane a
    row lies.

    Args:
        source: as for `census.load`.
        data_dir: the same.
        rows: how many to learn from.

    Returns:
        The tasks, rows to learn from, and rows to score on.
    """
    loaded = census.load(source, data_dir, batch_size=1024)
    train, valid = first_rows(loaded.train, rows)[:2], first_rows(loaded.valid, VALID_ROWS)[:2]
    plane = np.random.default_rng(0).normal(size=train[0].shape[1])
    middle = np.median(train[0] @ plane)
    for x, y in (train, valid):
        y[NOTHING] = (x @ plane > middle).astype("float32")
    return [*loaded.tasks, BinaryClassification(NOTHING)], train, valid
