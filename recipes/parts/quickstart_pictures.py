"""Pictures of the quickstart: the learning curves, and which experts the tasks use."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recipes.parts.plots import COLOURS, MARKERS, Figure

# Behind numbers, so that a line does not strike them out.
_PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}


def curves_of(path: Path, report: Mapping[str, Mapping]) -> None:
    """Draw the learning curves of all models.

    Args:
        path: the PNG file to write.
        report: by model its `metric`, `curves` and `best_epoch` by task.
    """
    metrics = next(iter(report.values()))["metric"]
    curves, best = (
        {task: {name: found[key][task] for name, found in report.items()} for task in metrics}
        for key in ("curves", "best_epoch")
    )
    learning_curves(path, curves, best, metrics)


def learning_curves(
    path: Path,
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    best: Mapping[str, Mapping[str, int]],
    metrics: Mapping[str, str],
) -> None:
    """Draw how well each model did on the validation data after each epoch.

    Args:
        path: the PNG file to write.
        curves: by task, then by model, the deciding metric of each epoch.
        best: by task, then by model, the epoch that was kept, from 1.
        metrics: by task, what its axis is called.
    """
    figure = Figure(figsize=(4.2 * len(curves), 4.0), dpi=120, layout="constrained")
    figure.get_layout_engine().set(wspace=0.04)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (task, models) in zip(panels, curves.items(), strict=True):
        for i, (model, values) in enumerate(models.items()):
            epochs = np.arange(1, len(values) + 1)
            kept = best[task][model]
            panel.plot(
                epochs,
                values,
                color=COLOURS[i],
                label=model,
                linewidth=1.6,
                marker=MARKERS[i],
                markevery=[kept - 1],
                markersize=9,
                markeredgecolor="white",
            )
        panel.set_title(task)
        panel.set_xlabel("epoch")
        panel.set_ylabel(f"validation {metrics[task]}")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("Learning curves on the validation data; the marked epoch was kept")
    figure.savefig(path)


def gate_use(path: Path, gates: Mapping[str, np.ndarray]) -> None:
    """Draw how much each task uses each expert.

    Args:
        path: the PNG file to write.
        gates: by task the weight of each expert, its mean over rows, shape `(num_experts,)`.
    """
    experts = len(next(iter(gates.values())))
    figure = Figure(
        figsize=(max(6.0, 0.45 * experts * (len(gates) + 1)), 4.0), dpi=120, layout="constrained"
    )
    panel = figure.subplots()
    width, handles = 0.8 / len(gates), []
    for i, (task, weights) in enumerate(gates.items()):
        places = np.arange(experts) + (i - (len(gates) - 1) / 2) * width
        bars = panel.bar(places, weights, 0.92 * width, color=COLOURS[i], label=task)
        panel.bar_label(bars, fmt="%.2f", fontsize=7, padding=2, bbox=_PLAIN)
        handles.append(bars)
    even = panel.axhline(1 / experts, color="grey", linestyle="--", linewidth=1, zorder=0)
    even.set_label("even use")
    handles.append(even)
    top = max(float(np.max(weights)) for weights in gates.values())
    panel.set_ylim(0, math.ceil(11 * top) / 10)
    panel.set_xticks(range(experts), [f"expert {k + 1}" for k in range(experts)])
    panel.set_ylabel("mean gate weight over the test rows")
    panel.set_title("Which experts each task uses")
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(path)
