"""A picture of how scores grow with the number of labels."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recipes.plots import COLOURS, MARKERS, Figure


def scores_over_labels(
    path: Path, report: Mapping[str, Mapping[str, Mapping[str, dict]]], label: str
) -> None:
    """Draw a panel for each task, and in it a line for each method.

    Args:
        path: the PNG file to write.
        report: by task, method and number of labels what `comparison.spread` gives.
        label: what is counted.
    """
    figure = Figure(figsize=(3.4 * len(report), 3.8), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(report), squeeze=False)[0]
    for panel, (task, methods) in zip(panels, report.items(), strict=True):
        for i, (name, found) in enumerate(methods.items()):
            places = np.arange(len(found)) + 0.06 * (i - (len(methods) - 1) / 2)
            means = [f["mean"] for f in found.values()]
            style = {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 6, "capsize": 3}
            spread = [f["std"] or 0.0 for f in found.values()]
            panel.errorbar(places, means, spread, label=name, linewidth=1.6, **style)
            for place, f in zip(places, found.values(), strict=True):
                values = f["values"]
                panel.plot([place] * len(values), values, ".", color=COLOURS[i], markersize=4)
        panel.set_xticks(range(len(found)), list(found))
        panel.set_xlabel(label)
        panel.set_title(task)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("Test scores, mean and standard deviation over seeds; a dot is a seed")
    figure.savefig(path)
