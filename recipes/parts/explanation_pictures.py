"""The pictures of the recipe on explanations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtlzoo import analysis
from mtlzoo.data.stamps.loading import CATEGORIES
from recipes.parts.plots import COLOURS, MARKERS, Figure
from recipes.parts.stamps import MODALITIES


def shares_in_half(path: Path, shares: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw by method and task the mean share of the attribution in the right half, and quartiles.

    Args:
        path: the PNG file to write.
        shares: by method and task, the share of each picture; NaN for empty maps.
    """
    tasks = list(next(iter(shares.values())))
    figure = Figure(figsize=(7.2, 0.9 + 0.42 * len(shares)), dpi=120, layout="constrained")
    panel = figure.subplots()
    for k, task in enumerate(tasks):
        for i, of_task in enumerate(shares.values()):
            values = 100 * np.asarray(of_task[task])
            low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75])
            panel.errorbar(
                middle,
                i + 0.24 * (k - (len(tasks) - 1) / 2),
                xerr=[[middle - low], [high - middle]],
                fmt=MARKERS[k],
                color=COLOURS[k],
                capsize=2,
                label=f"task {task}" if i == 0 else None,
            )
    panel.set_yticks(range(len(shares)), list(shares))
    panel.invert_yaxis()
    panel.axvline(50, color="grey", linestyle="--", linewidth=0.8)
    panel.set_xlim(0, 100)
    panel.set_xlabel("attribution in the right half of the picture, % (median and quartiles)")
    panel.set_title("Where each task looks, on test pictures of Multi-Fashion")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, loc="lower right")
    figure.savefig(path)


def sanity(path: Path, tests: Mapping[str, Mapping[str, analysis.RandomizationTest]]) -> None:
    """Draw by method and task how alike maps are to those of randomized weights.

    Args:
        path: the PNG file to write.
        tests: by method and task.
    """
    tasks = list(next(iter(tests.values())))
    figure = Figure(figsize=(7.2, 0.9 + 0.42 * len(tests)), dpi=120, layout="constrained")
    panel = figure.subplots()
    for k, task in enumerate(tasks):
        for i, of_task in enumerate(tests.values()):
            values = np.asarray(of_task[task].similarities[-1])
            values = values[np.isfinite(values)]
            place = i + 0.24 * (k - (len(tasks) - 1) / 2)
            panel.plot(values, np.full(len(values), place), ".", color=COLOURS[k], alpha=0.3)
            if len(values):
                panel.plot(
                    values.mean(),
                    place,
                    MARKERS[k],
                    color=COLOURS[k],
                    markeredgecolor="black",
                    label=f"task {task}, mean" if i == 0 else None,
                )
    panel.set_yticks(range(len(tests)), list(tests))
    panel.invert_yaxis()
    panel.axvline(0.5, color="grey", linestyle="--", linewidth=0.8)
    panel.set_xlim(-1.02, 1.02)
    panel.set_xlabel("rank correlation with the map of the trained model")
    panel.set_title("Maps after all weights were put in a random order; a dot is a picture")
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(tasks), frameon=False)
    figure.savefig(path)


def modalities(
    path: Path,
    shares: Mapping[str, Mapping[str, np.ndarray]],
    lost: Mapping[str, Mapping[str, float]],
) -> None:
    """Draw by task and modality the share of the attribution, and what is lost without it.

    Args:
        path: the PNG file to write.
        shares: by task and modality, the share in each row.
        lost: by task and modality, the difference of the deciding metric.
    """
    names = list(next(iter(shares.values())))
    figure = Figure(figsize=(8.0, 3.6), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    width = 0.8 / len(names)
    for k, name in enumerate(names):
        places = np.arange(len(shares)) + width * (k - (len(names) - 1) / 2)
        style = {"color": COLOURS[k], "label": name, "hatch": ("", "//", "..")[k % 3]}
        means = [100 * np.nanmean(of[name]) for of in shares.values()]
        left.bar(places, means, 0.9 * width, edgecolor="white", **style)
        right.bar(
            places, [of[name] for of in lost.values()], 0.9 * width, edgecolor="white", **style
        )
    left.set_ylabel("mean share of the attribution, %")
    left.set_title("Integrated gradients", fontsize=10)
    right.set_ylabel("test score lost")
    right.axhline(0, color="grey", linewidth=0.8)
    right.set_title("Without the modality", fontsize=10)
    for panel in (left, right):
        panel.set_xticks(range(len(shares)), list(shares))
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names), frameon=False)
    figure.suptitle("What each task on stamps rests on", fontsize=11)
    figure.savefig(path)


def some_stamps(out: Path, model: Any, x: Mapping[str, np.ndarray], words: list) -> None:
    """Draw what some stamps with all three modalities are explained by, two pictures by task.

    Args:
        out: the folder to write to.
        model: the trained model.
        x: the stamps.
        words: those of each caption.
    """
    there = np.all([x[f"{m}_present"] for m in MODALITIES], axis=0)
    few = np.flatnonzero(there)[:3] if there.any() else np.arange(min(3, len(there)))
    rows = {name: values[few] for name, values in x.items()}
    names = {"caption": [words[i] for i in few]}
    for task in model.task_names:
        classes = CATEGORIES if len(CATEGORIES) == model.output[task].shape[-1] else None
        options: dict[str, Any] = {"names": names, "classes": classes}
        found = analysis.explain(model, task, rows, wrt=["caption", "image"], **options)
        found.figure().savefig(out / f"stamps_{task}.png")
        found = analysis.explain(model, task, rows, layer="log_mel", classes=classes)
        found.figure().savefig(out / f"stamps_{task}_speech.png")
