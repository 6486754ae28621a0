"""A table and a picture of how scores grow with the number of labels."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recipes.parts.plots import COLOURS, MARKERS, Figure
from recipes.parts.tables import print_aligned, spread, text

#: By task, method and number of labels what `tables.spread` gives.
Report = Mapping[str, Mapping[str, Mapping[str, dict]]]


def spreads(runs: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> Report:
    """Mean and standard deviation of the scores of all seeds, by task, method and number."""
    return {
        task: {
            name: {count: spread(values) for count, values in found.items()}
            for name, found in methods.items()
        }
        for task, methods in runs.items()
    }


def print_scores(report: Report, label: str) -> None:
    """Print a table for each task: mean ± standard deviation over seeds, by number of labels.

    Args:
        report: the scores.
        label: what is counted.
    """
    for task, methods in report.items():
        counts = list(next(iter(methods.values())))
        rows = [[task, *(f"{count} {label}" for count in counts)]]
        for name, found in methods.items():
            rows.append([name, *map(text, found.values())])
        print()
        print_aligned(rows)


def scores_over_labels(path: Path, report: Report, label: str) -> None:
    """Draw a panel for each task, and in it a line for each method.

    Args:
        path: the PNG file to write.
        report: the scores.
        label: what is counted.
    """
    figure = Figure(figsize=(3.4 * len(report), 3.8), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(report), squeeze=False)[0]
    for panel, (task, methods) in zip(panels, report.items(), strict=True):
        for i, (name, found) in enumerate(methods.items()):
            places = np.arange(len(found)) + 0.06 * (i - (len(methods) - 1) / 2)
            means = [f["mean"] for f in found.values()]
            style = {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 6, "capsize": 3}
            errors = [f["std"] or 0.0 for f in found.values()]
            panel.errorbar(places, means, errors, label=name, linewidth=1.6, **style)
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
