"""How sure a number is: intervals of trainings and of test rows."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mtlzoo.analysis.statistics import student

LEVEL = 0.95
RESAMPLES = 500


class Interval(NamedTuple):
    """A value with the interval that holds it with a confidence of 95 %.

    Attributes:
        value: The value: of several trainings, their mean.
        low: The lower end; NaN where none is known.
        high: The upper end; NaN where none is known.
        by: `"seeds"`: a t interval of several trainings; `"rows"`: a bootstrap over the test rows
            of one training; `"none"`: there is no interval.
    """

    value: float
    low: float
    high: float
    by: str


def of_seeds(values: Sequence[float]) -> Interval:
    r"""The t interval of a mean over trainings, $\bar x \pm t_{n-1}\, s / \sqrt{n}$.

    Args:
        values: One for each training, at least two.
    """
    known = np.asarray(values, "float64")
    mean = float(known.mean())
    half = student(LEVEL, len(known) - 1) * float(known.std(ddof=1)) / math.sqrt(len(known))
    return Interval(mean, mean - half, mean + half, "seeds")


def of_rows(states: np.ndarray, scores: Callable[[np.ndarray], np.ndarray]) -> Interval:
    """A bootstrap over groups of test rows: the percentiles of scores of groups drawn anew.

    Efron, *Bootstrap Methods: Another Look at the Jackknife*, Annals of Statistics 1979.

    Args:
        states: `(groups, size)`, what each group of rows adds to what the score is made of.
        scores: From `(N, size)`, such sums, to their scores, `(N,)`.
    """
    groups = len(states)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES)
    drawn = scores(counts @ states)
    value = float(scores(states.sum(0)[None])[0])
    if not np.isfinite(drawn).all():  # some draws had no row that the score needs
        return Interval(value, math.nan, math.nan, "none")
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), "rows")
