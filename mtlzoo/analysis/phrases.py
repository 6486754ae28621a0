"""Phrases of which findings are made."""

from collections.abc import Sequence

import numpy as np


def listed(texts: Sequence[str]) -> str:
    """Texts with commas between them, and "and" before the last."""
    return "".join(texts) if len(texts) < 2 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def with_error(mean: float, error: float, *, form: str = "+.2f") -> str:
    """A mean with its standard error, where that is known."""
    said = f"{mean:{form}}"
    return f"{said} ± {error:{form.lstrip('+')}}" if np.isfinite(error) else said


def verdict(mean: float, error: float) -> str:
    """What a gain says: `"gains"` or `"loses"` beyond two standard errors, else `"cannot be told"`.

    Args:
        mean: Of the gain; above zero is better.
        error: Its standard error. NaN for one measurement, which says nothing.
    """
    if not abs(mean) > 2 * error:
        return "cannot be told"
    return "gains" if mean > 0 else "loses"
