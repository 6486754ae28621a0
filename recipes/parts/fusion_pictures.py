"""The picture of the recipe on stamps: how much a model loses with a modality."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recipes.parts.plots import COLOURS, Figure


def scores_without(path: Path, scores: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw the scores of each model with all modalities and without one.

    Args:
        path: the PNG file to write.
        scores: by model and what is missing, the score of each seed.
    """
    columns = list(next(iter(scores.values())))
    figure = Figure(figsize=(1.2 + 1.1 * len(scores), 4.2), dpi=100, layout="constrained")
    panel = figure.subplots()
    width = 0.8 / len(columns)
    for i, (column, colour) in enumerate(zip(columns, COLOURS, strict=False)):
        places = np.arange(len(scores)) + (i - (len(columns) - 1) / 2) * width
        runs = [scores[name][column] for name in scores]
        panel.bar(
            places, [np.mean(r) for r in runs], 0.9 * width, color=colour, alpha=0.6, label=column
        )
        for place, values in zip(places, runs, strict=True):
            panel.plot([place] * len(values), values, "o", color=colour, markersize=3)
    panel.set_xticks(range(len(scores)), [name.replace(", ", "\n") for name in scores], fontsize=8)
    panel.set_ylim(0, 1)
    panel.set_ylabel("mean of macro F1 and two AUC")
    panel.set_title("Test scores with a modality removed; a dot is a seed")
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(columns), frameon=False)
    figure.savefig(path)
