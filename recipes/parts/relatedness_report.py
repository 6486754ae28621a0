"""The table and the picture of the recipe on relatedness."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mtlzoo.analysis.statistics import mean_and_error
from recipes.parts.plots import COLOURS, Figure
from recipes.parts.tables import print_aligned


def print_planted(measured: Mapping[float, Mapping[str, Sequence[float]]]) -> None:
    """Print a line for each true relatedness: the means over seeds and their standard errors.

    Args:
        measured: as for `over_relatedness`.
    """
    measures = list(next(iter(measured.values())))
    rows = [["p", *measures]]
    for p, found in measured.items():
        cells = [mean_and_error(np.array(found[measure])) for measure in measures]
        rows.append([str(p), *(f"{mean:.4f} ± {error:.4f}" for mean, error in cells)])
    print_aligned(rows)


def over_relatedness(path: Path, measured: Mapping[float, Mapping[str, Sequence[float]]]) -> None:
    """Draw a panel for each measure, over the true relatedness.

    Args:
        path: the PNG file to write.
        measured: by the true relatedness p, by measure its value for each seed.
    """
    ps = list(measured)
    measures = list(measured[ps[0]])
    figure = Figure(figsize=(2.9 * len(measures), 3.2), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    for panel, measure in zip(panels, measures, strict=True):
        found = np.array([measured[p][measure] for p in ps])
        errors = found.std(axis=1, ddof=1) / np.sqrt(found.shape[1])
        panel.errorbar(ps, found.mean(axis=1), errors, color=COLOURS[0], marker="o", capsize=3)
        panel.plot(ps, found, ".", color="grey", markersize=3)
        panel.axhline(0, color="grey", linewidth=0.8)
        panel.set_title(measure, fontsize=10)
        panel.set_xlabel("p, cosine of the weight vectors")
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean of both directions")
    figure.suptitle("Measures of two tasks over their true relatedness (bars: standard errors)")
    figure.savefig(path)
