"""The picture of the recipe on fusion of models."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recipes.plots import COLOURS, MARKERS, Figure


def fusions_and_lines(
    path: Path,
    accuracy: Mapping[str, Sequence[float]],
    error: Mapping[str, Sequence[float]],
    lines: Mapping[str, Sequence[Sequence[float]]],
) -> None:
    """Draw how good and how well calibrated each fusion is, and models between two models.

    Args:
        path: the PNG file to write.
        accuracy: by model, its accuracy in each repetition, the mean of the tasks.
        error: by model, its calibration error in each, the mean of the tasks.
        lines: by pair of models, in each repetition the accuracy of averages of their weights, at
            even steps from the first to the second.
    """
    figure = Figure(figsize=(11, 4.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    most = max(np.mean(values) for values in accuracy.values())
    # A model that has failed would press all others together.
    apart = [name for name, values in accuracy.items() if np.mean(values) < 0.8 * most]
    for i, (name, values) in enumerate(accuracy.items()):
        if name in apart:
            continue
        left.plot(
            np.mean(values),
            np.mean(error[name]),
            MARKERS[i // len(COLOURS) % len(MARKERS)],
            color=COLOURS[i % len(COLOURS)],
            markersize=8,
            label=name,
            linestyle="none",
        )
    left.set_xlabel("accuracy, mean of both tasks")
    left.set_ylabel("expected calibration error, mean of both tasks")
    below = [f"\n{name}, not shown: accuracy {np.mean(accuracy[name]):.2f}" for name in apart]
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
