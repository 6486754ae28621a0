"""The little statistics that analyses and reports need."""

import numpy as np


def mean_and_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over the first axis and their standard errors, where NaNs do not count.

    Args:
        samples: (N, ...).

    Returns:
        Both (...). Means are NaN without any sample, errors with fewer than two.
    """
    known = np.isfinite(samples)
    count = known.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(known, samples, 0).sum(0) / count
        squares = np.where(known, (samples - means) ** 2, 0).sum(0)
        errors = np.sqrt(squares / (count - 1) / count)
    return means, np.where(count > 1, errors, np.nan)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs.

    Args:
        values: (N,).

    Returns:
        (N,), float64.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def student(confidence: float, freedom: int) -> float:
    """The two-sided quantile of Student's distribution, which needs no SciPy.

    By bisection of its closed form for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and
    26.7.4), a sum of powers of the cosine of an angle.

    Args:
        confidence: The share that lies between minus it and it.
        freedom: Degrees of freedom, at least 1.
    """
    odd = freedom % 2
    powers = odd + 2 * np.arange(freedom // 2)
    factors = np.cumprod([1.0, *(powers[1:] - 1) / powers[1:]])[: len(powers)]

    def within(angle: float) -> float:
        part = float(np.sin(angle) * (factors * np.cos(angle) ** powers).sum())
        return 2 / np.pi * (angle + part) if odd else part

    low, high = 0.0, np.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < confidence else (low, middle)
    return float(freedom**0.5 * np.tan(low))
