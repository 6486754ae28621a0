"""Accuracy over the number of weights that are zero: measured, as a table, and as a picture."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mtlzoo import HardSharing, MultiTaskModel, analysis, data
from mtlzoo.analysis import drawing
from mtlzoo.backbones import ConvNet
from recipes.parts.training import Progress

SCOPES = ("shared", "tasks")
SHAPE = (36, 36, 1)


def network(fashion: data.Loaded) -> HardSharing:
    """Convolutions and a layer that are shared, and a layer for each task."""
    return HardSharing(
        fashion.inputs,
        fashion.tasks,
        backbone=ConvNet(SHAPE, dense_units=(50,)),
        tower_units=(32,),
        name="HardSharing",
    )


def curves(
    dense: MultiTaskModel,
    loaded: data.Loaded,
    sparsities: Sequence[float],
    train_on: Callable[[MultiTaskModel, analysis.KeepZeros], Any],
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """By scope and task the accuracies over sparsities, before and after training on.

    Args:
        dense: the trained model, which stays as it is.
        loaded: the data set.
        sparsities: shares of the weights of a scope that are zero.
        train_on: trains a model, with a callback that keeps its zeros.
        progress: a bar for the whole job.

    Returns:
        Those of the model itself as `"dense"`, and by scope its `"sparsities"` and the accuracies
        `"pruned"` and `"tuned"`.
    """
    found: dict[str, dict[str, Any]] = {"dense": accuracies(dense, loaded)}
    for scope in SCOPES:
        curve: dict[str, Any] = {"sparsities": list(sparsities), "pruned": [], "tuned": []}
        for sparsity in sparsities:
            model = analysis.prune_weights(dense, sparsity, scope=scope)
            model.compile("sgd", jit_compile=False)
            curve["pruned"].append(accuracies(model, loaded))
            train_on(model, analysis.KeepZeros(scope))
            curve["tuned"].append(accuracies(model, loaded))
            left = analysis.sparsity_of(model, scope)
            progress.finish(
                f"{scope}, {left:.1%} zeros: "
                + ", ".join(f"{t} {v:.4f}" for t, v in curve["tuned"][-1].items())
            )
        found[scope] = curve
    return found


def accuracies(model: MultiTaskModel, loaded: data.Loaded) -> dict[str, float]:
    """By task, on the test data."""
    logs = model.evaluate(
        data.labels_of(loaded.test, model.task_names), return_dict=True, verbose=0
    )
    return {name: float(logs[f"{name}_accuracy"]) for name in model.task_names}


def rows(curves: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The curves as the lines of a table."""
    table = [["zeros", "task", "0 %", *(f"{s:.0%}" for s in curves[SCOPES[0]]["sparsities"])]]
    for scope in SCOPES:
        for way in ("pruned", "tuned"):
            for task, value in curves["dense"].items():
                values = [each[task] for each in curves[scope][way]]
                cells = [f"{v:.4f}" for v in (value, *values)]
                table.append([f"{scope}, {way}", task, *cells])
    return table


def draw(curves: dict[str, dict[str, Any]]) -> Any:
    """The curves as a figure, a panel for each task."""
    tasks = list(curves["dense"])
    figure = drawing.new_figure(9, 4.2)
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for panel, task in zip(panels, tasks, strict=True):
        panel.axhline(curves["dense"][task], color="grey", linewidth=1, label="nothing cut")
        for i, scope in enumerate(SCOPES):
            style = {"color": drawing.COLOURS[i], "marker": drawing.MARKERS[i], "markersize": 5}
            shares = 100 * np.array(curves[scope]["sparsities"])
            for way, line in (("pruned", ":"), ("tuned", "-")):
                values = [each[task] for each in curves[scope][way]]
                label = f"{scope}, {'trained on' if way == 'tuned' else 'only cut'}"
                panel.plot(shares, values, line, label=label, **style)
        panel.set_title(task)
        panel.set_xlabel("weights that are zero, % of the scope")
    panels[0].set_ylabel("accuracy on test data")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.suptitle("Accuracy of each task over sparsity, Multi-Fashion")
    return figure
