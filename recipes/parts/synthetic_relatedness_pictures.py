"""The picture of the synthetic experiment: losses over steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recipes.parts.plots import COLOURS, Figure


def losses_over_steps(
    path: Path, curves: Mapping[tuple[str, float], np.ndarray], steps: Sequence[int], label: str
) -> None:
    """Draw the mean loss over steps for each p, and between which quartiles the seeds lie.

    Args:
        path: the PNG file to write.
        curves: by model and p, the losses `(seeds, evaluations)`.
        steps: the step of each evaluation.
        label: what the vertical axis is called.
    """
    names = list(dict.fromkeys(name for name, _ in curves))
    correlations = list(dict.fromkeys(p for _, p in curves))
    figure = Figure(figsize=(4.0 * len(correlations), 3.8), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(correlations), squeeze=False, sharey=True)[0]
    for panel, p in zip(panels, correlations, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            runs = curves[name, p]
            low, high = np.quantile(runs, [0.25, 0.75], axis=0)
            panel.plot(steps, runs.mean(0), color=colour, label=name, linewidth=1.6)
            panel.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.set_title(f"p = {p}")
        panel.set_xlabel("steps")
        panel.set_yscale("log")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(label)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    seeds = len(next(iter(curves.values())))
    figure.suptitle(f"Mean over {seeds} seeds; the band holds the middle half of them")
    figure.savefig(path)
