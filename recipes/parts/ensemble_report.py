"""The tables and the picture of the recipe on fusion of models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.parts.plots import COLOURS, MARKERS, Figure
from recipes.parts.tables import print_aligned, spread, text


def summarize(
    found: Mapping[str, Sequence[Mapping[str, float]]], costs: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Any]]:
    """By model mean and standard deviation over repetitions of each number, and what it costs.

    Args:
        found: by model the numbers of each repetition.
        costs: by model what it costs.
    """
    return {
        name: {"metrics": {k: spread([run[k] for run in runs]) for k in runs[0]}, **costs[name]}
        for name, runs in found.items()
    }


def print_report(
    report: Mapping[str, Mapping[str, Any]], lines: Mapping[str, Sequence[Sequence[float]]]
) -> None:
    """Print a line for each model, and what lies between two.

    Args:
        report: as of `summarize`.
        lines: by pair of models, in each repetition the accuracy of averages of their weights, at
            even steps from the first to the second.
    """
    columns = [c for c in next(iter(report.values()))["metrics"] if "," in c]
    rows = [["", *columns, "parameters", "CPU time, one model = 1", "SavedModel, kB"]]
    for name, found in report.items():
        cells = [text(found["metrics"][column]) for column in columns]
        costs = [f"{found['parameters']:,}", f"{found['time']:.2f}", f"{found['bytes'] / 1000:.0f}"]
        rows.append([name, *cells, *costs])
    print()
    print_aligned(rows)
    steps = len(next(iter(lines.values()))[0])
    rows = [["accuracy between two models", *[f"{s:.1f}" for s in np.linspace(0, 1, steps)]]]
    for name, runs in lines.items():
        rows.append([name, *[f"{value:.3f}" for value in np.mean(runs, 0)]])
    print()
    print_aligned(rows)


def draw(
    path: Path,
    report: Mapping[str, Mapping[str, Any]],
    lines: Mapping[str, Sequence[Sequence[float]]],
) -> None:
    """Draw how good and how well calibrated each fusion is, and models between two models.

    Args:
        path: the PNG file to write.
        report: as of `summarize`; the metrics are the means of the tasks.
        lines: as for `print_report`.
    """
    figure = Figure(figsize=(11, 4.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    accuracy = {name: found["metrics"]["accuracy"]["mean"] for name, found in report.items()}
    # A model that has failed would press all others together.
    apart = [name for name, mean in accuracy.items() if mean < 0.8 * max(accuracy.values())]
    for i, (name, mean) in enumerate(accuracy.items()):
        if name in apart:
            continue
        left.plot(
            mean,
            report[name]["metrics"]["calibration error"]["mean"],
            MARKERS[i // len(COLOURS) % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            markersize=8,
            label=name,
            linestyle="none",
        )
    left.set_xlabel("accuracy, mean of both tasks")
    left.set_ylabel("expected calibration error, mean of both tasks")
    below = [f"\n{name}, not shown: accuracy {accuracy[name]:.2f}" for name in apart]
    left.set_title("Better is to the right and below" + "".join(below), fontsize=10)
    left.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for i, (name, runs) in enumerate(lines.items()):
        places = np.linspace(0, 1, len(runs[0]))
        for values in runs:
            right.plot(places, values, color=COLOURS[i], alpha=0.3, linewidth=1)
        right.plot(places, np.mean(runs, 0), "o-", color=COLOURS[i], markersize=4, label=name)
    right.set_xlabel("part of the second model in the average of weights")
    right.set_ylabel("accuracy, mean of both tasks")
    right.set_title("Between two models", fontsize=10)
    right.legend(frameon=False, loc="lower left", fontsize=8)
    for panel in (left, right):
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
