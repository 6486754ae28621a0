"""How pictures of analyses look. They need matplotlib, which is imported when one is drawn."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
# Darker where the value is greater, so that it survives printing in grey. The one with a sign is
# dark at both ends, and the numbers in the cells say which end it is.
SEQUENTIAL, SIGNED = "cividis_r", "PuOr"


def new_figure(width: float, height: float) -> Any:
    """An empty figure, not of pyplot's, so that nothing stays open.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Pictures should have matplotlib. Install it with `pip install 'mtlzoo[analysis]'`"
        ) from error
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def heat_map(
    panel: Any,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    signed: bool = False,
    limit: float | None = None,
    form: str = "{:.2f}",
) -> None:
    """Draw a matrix as a map whose cells hold their numbers.

    Args:
        panel: The axes to draw on.
        values: (R, C), NaN where nothing is known.
        rows: R names.
        columns: C names.
        label: What the colours mean, with the unit.
        signed: Whether zero is in the middle of the colours. Defaults to `False`.
        limit: The greatest value of the colours, and of signed ones the negative of the least.
            Defaults to `None`, the greatest one there is.
        form: How a number is written. Defaults to `"{:.2f}"`.
    """
    known = np.abs(values[np.isfinite(values)])
    top = limit or (float(known.max()) if known.size and known.max() > 0 else 1.0)
    low = -top if signed else min(0.0, float(np.nanmin(values)) if known.size else 0.0)
    image = panel.imshow(values, cmap=SIGNED if signed else SEQUENTIAL, vmin=low, vmax=top)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        if math.isnan(value):
            panel.text(column, row, "–", ha="center", va="center", color="grey")
            continue
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        colour = "white" if dark else "black"
        text = form.format(value)
        panel.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    panel.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    panel.set_yticks(range(len(rows)), rows)
    panel.figure.colorbar(image, ax=panel, label=label, shrink=0.8)


def curves(
    panel: Any, steps: np.ndarray, values: Sequence[np.ndarray], labels: Sequence[str]
) -> None:
    """Draw what changes over the steps of a training, and a legend.

    Args:
        panel: The axes to draw on.
        steps: E steps.
        values: For each line its E values, NaN where nothing is known.
        labels: For each line its name.
    """
    for i, (line, label) in enumerate(zip(values, labels, strict=True)):
        panel.plot(
            steps,
            line,
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            linestyle=("-", "--", ":", "-.")[i // len(COLOURS) % 4],
            markevery=max(1, len(steps) // 8),
            markersize=4,
            linewidth=1.4,
            label=label,
        )
    panel.set_xlabel("training step")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, frameon=False)
