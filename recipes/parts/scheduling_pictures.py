"""The pictures of the recipe on task scheduling."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.parts.plots import COLOURS, MARKERS, Figure


def shares(path: Path, histories: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the shares of the tasks over the steps, a panel for each policy.

    Args:
        path: the PNG file to write.
        histories: by policy, the `history` of its `TaskScheduler`.
    """
    rows = -(-len(histories) // 5)
    figure = Figure(figsize=(13, 2.4 * rows + 0.6), dpi=110, layout="constrained")
    panels = figure.subplots(rows, 5, squeeze=False, sharex=True, sharey=True)
    for panel in panels.flat[len(histories) :]:
        panel.set_visible(False)
    for i, (panel, (name, history)) in enumerate(zip(panels.flat, histories.items(), strict=False)):
        tasks = list(history["shares"])
        values = [history["shares"][task] for task in tasks]
        panel.stackplot(
            history["step"], values, labels=tasks, colors=COLOURS, step="post", linewidth=0
        )
        panel.set_title(name, fontsize=10)
        panel.set_ylim(0, 1)
        panel.margins(x=0)
        if i >= len(histories) - 5:
            panel.set_xlabel("steps")
    for row in panels:
        row[0].set_ylabel("share")
    handles, names = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    figure.suptitle("What is trained: the shares that were decided, first seed")
    figure.savefig(path)


def curves(
    path: Path, found: Mapping[str, Sequence[Mapping[str, Sequence[float]]]], steps: int
) -> None:
    """Draw how the validation AUC of each task rises, the mean over seeds.

    Args:
        path: the PNG file to write.
        found: by policy, for each seed, by task the AUC after each epoch.
        steps: of an epoch.
    """
    tasks = list(next(iter(found.values()))[0])
    figure = Figure(figsize=(3.4 * len(tasks), 4.2), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for panel, task in zip(panels, tasks, strict=True):
        for i, (name, runs) in enumerate(found.items()):
            means = np.mean([run[task] for run in runs], axis=0)
            panel.plot(
                steps * np.arange(1, len(means) + 1),
                means,
                color=COLOURS[i % len(COLOURS)],
                linestyle="-" if i < len(COLOURS) else "--",
                marker=MARKERS[i % len(MARKERS)],
                markersize=4,
                linewidth=1.3,
                label=name,
            )
        panel.set_title(task)
        panel.set_xlabel("steps")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("validation AUC, mean over seeds")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path)
