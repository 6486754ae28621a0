"""The picture of recipes that compare balancers: what each gains."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recipes.parts.plots import COLOURS, Figure


def gains(path: Path, gains: Mapping[str, Mapping], references: Sequence[str]) -> None:
    """Draw the mean of `delta_m` of every method and its spread, the best on top.

    A method far behind would press all others together: it is written at the left edge. One whose
    gain is not known (NaN) is left out.

    Args:
        path: the PNG file to write.
        gains: by method, as of `recipes.parts.tables.spread`.
        references: methods at which a line is drawn.
    """
    means = {name: found["mean"] for name, found in gains.items()}
    known = sorted((m, n) for n, m in means.items() if math.isfinite(m))
    low, high = np.quantile([m for m, _ in known], [0.25, 0.75]) if known else (0.0, 0.0)
    # Twice as far as the whiskers of a box plot reach, or as far as the lines.
    edge = min([low - 3 * (high - low), *(m for m, n in known if n in references)])
    figure = Figure(figsize=(8, 1.6 + 0.21 * len(known)), dpi=110, layout="constrained")
    panel = figure.subplots()
    lines = dict(zip(references, COLOURS, strict=False))
    for i, (mean, name) in enumerate(known):
        std, colour = gains[name]["std"] or 0.0, lines.get(name, "black")
        if mean < edge:
            style = {"color": colour, "fontsize": 8, "verticalalignment": "center"}
            where = panel.get_yaxis_transform()
            panel.text(0.01, i, f"\u25c0 {mean:.3g} ± {std:.2g}", transform=where, **style)
        else:
            panel.errorbar(mean, i, xerr=std, fmt="o", color=colour, markersize=4, linewidth=1.3)
    for (name, colour), dashes in zip(lines.items(), ("--", ":"), strict=False):
        panel.axvline(means[name], color=colour, linestyle=dashes, linewidth=1.2, label=name)
    panel.set_yticks(range(len(known)), [name for _, name in known], fontsize=8)
    panel.set_ylim(-0.7, len(known) - 0.3)
    panel.set_xlabel("delta_m against single tasks, %")
    panel.grid(alpha=0.3)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    seeds = len(next(iter(gains.values()))["values"])
    title = f"Mean and standard deviation of {seeds} seeds" if seeds > 1 else "One seed"
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)
