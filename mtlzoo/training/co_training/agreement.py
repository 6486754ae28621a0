"""How far two views agree."""

import numpy as np


def agreement_rate(first: np.ndarray, second: np.ndarray) -> float:
    """The share of places where both say the same; NaN if there is no place.

    Args:
        first: class ids.
        second: class ids of the same shape.
    """
    return float(np.mean(first == second)) if first.size else float("nan")


def cohens_kappa(first: np.ndarray, second: np.ndarray) -> float:
    r"""Agreement beyond what chance would give.

    Cohen, *A Coefficient of Agreement for Nominal Scales*, 1960: with the share $p_o$ of equal
    answers and that $p_e = \sum_c p_c q_c$ which independent answers with the same frequencies
    would have,

    $$\kappa = \frac{p_o - p_e}{1 - p_e}.$$

    Args:
        first: class ids.
        second: class ids of the same shape.

    Returns:
        At most 1; NaN if there is no place, or both say one and the same class everywhere.
    """
    if not first.size:
        return float("nan")
    classes = np.union1d(first, second)
    by_chance = sum(np.mean(first == c) * np.mean(second == c) for c in classes)
    if by_chance == 1:
        return float("nan")
    return float((agreement_rate(first, second) - by_chance) / (1 - by_chance))


def concordance(first: np.ndarray, second: np.ndarray) -> float:
    r"""What kappa is for real values: 1 if both are equal everywhere.

    Lin, *A Concordance Correlation Coefficient to Evaluate Reproducibility*, 1989:

    $$\rho_c = \frac{2 s_{12}}{s_1^2 + s_2^2 + (\bar x_1 - \bar x_2)^2}.$$

    Args:
        first: real values.
        second: real values of the same shape.

    Returns:
        From -1 to 1; NaN if there is no place, or both say one and the same value everywhere.
    """
    if not first.size:
        return float("nan")
    shift = first.mean() - second.mean()
    spread = first.var() + second.var() + shift**2
    covariance = np.mean((first - first.mean()) * (second - second.mean()))
    return float(2 * covariance / spread) if spread > 0 else float("nan")
