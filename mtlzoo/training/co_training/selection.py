"""Which of a view's answers become labels: the most certain ones, balanced over the classes."""

import numpy as np

BALANCES = ("labels", "equal", None)


def quotas(counts: np.ndarray, total: int, balance: str | None) -> np.ndarray | None:
    """How many labels each class gets, which together are `total`.

    Args:
        counts: how often each class occurs in the given labels.
        total: how many labels there are to give.
        balance: `"labels"` for the proportions of `counts`, `"equal"` for as many of each class
            that occurs, `None` for no quotas.

    Returns:
        Integers by class, by the method of the largest remainders; of equal remainders the first
        class gets the label. `None` without quotas.
    """
    if balance is None:
        return None
    shares = counts > 0 if balance == "equal" else counts
    exact = total * np.asarray(shares, "float64") / np.sum(shares)
    whole = np.floor(exact).astype(int)
    # Rounded, so that remainders that are equal but for rounding errors count as equal.
    by_remainder = np.argsort(-np.round(exact - whole, 9), kind="stable")
    whole[by_remainder[: total - whole.sum()]] += 1
    return whole


def select(
    classes: np.ndarray,
    certainties: np.ndarray,
    candidates: np.ndarray,
    *,
    threshold: float,
    total: int,
    quota: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """The places whose answers become labels.

    A class that has fewer certain answers than its quota gets fewer; what is left goes to no other
    class, so that the balance stays.

    Args:
        classes: `(n,)`, the class that was answered, from 0.
        certainties: `(n,)`; one that is not a number is never certain.
        candidates: bool `(n,)`, where a label may be given.
        threshold: the least certainty.
        total: the most labels.
        quota: the most labels of each class, or `None`.
        rng: decides between equal certainties.

    Returns:
        Sorted positions.
    """
    places = rng.permutation(np.flatnonzero(candidates & (certainties >= threshold)))
    places = places[np.argsort(-certainties[places], kind="stable")]
    if quota is None:
        return np.sort(places[:total])
    chosen = [places[classes[places] == c][:most] for c, most in enumerate(quota)]
    return np.sort(np.concatenate(chosen))
