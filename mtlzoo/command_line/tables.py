"""Tables and numbers as text."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def aligned(rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Rows of text in columns, the header first.

    Args:
        rows: the rows, as long as each other.
        left: how many of the first columns stand to the left. Defaults to 1.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            text.ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def number(value: Any) -> str:
    """A metric in words: four decimals, or the numbers of a list."""
    if isinstance(value, list):
        return " ".join(number(each) for each in value)
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def plain(value: Any) -> Any:
    """What JSON can hold: numbers that are not finite become `None`."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) or getattr(value, "shape", None) == ():
        return float(value) if math.isfinite(float(value)) else None
    if hasattr(value, "numpy"):
        return plain(value.numpy())
    return str(value)
