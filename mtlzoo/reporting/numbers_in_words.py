"""Numbers as a page shows them."""

import math

from mtlzoo.reporting.intervals import Interval
from mtlzoo.reporting.markup import Html, join, tag


def short(value: float) -> str:
    """A number with four digits that matter, "–" where it is not known.

    Args:
        value: The number.
    """
    if not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def of_interval(found: Interval | None, form: str = "{:.4g}") -> Html:
    """A value, and its interval below it.

    Args:
        found: The interval; `None` for no value.
        form: How a number is written. Defaults to `"{:.4g}"`.
    """
    if found is None or not math.isfinite(found.value):
        return Html("–")
    value = form.format(found.value)
    if found.by == "none":
        return Html(value)
    ends = f"{form.format(found.low)} to {form.format(found.high)}"
    return join([value, tag("small", ends)])


def seconds(value: float) -> str:
    """A time with its unit.

    Args:
        value: In seconds.
    """
    if value >= 100:
        return f"{value:.0f} s"
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"
