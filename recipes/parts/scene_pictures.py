"""Pictures of what models of dense tasks answer, drawn with matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mtlzoo import MultiTaskModel, data
from recipes.parts.plots import COLOURS, Figure

# For classes beyond the first six, by Tol's muted scheme, and the default yellow of Okabe and Ito.
_MORE = ("#F0E442", "#000000", "#882255", "#44AA99", "#AA4499", "#332288", "#DDCC77")
_MISSING = np.array([1.0, 1.0, 1.0])
_BACKGROUND = np.array([0.85, 0.85, 0.85])
# Of the detections in a picture, which would be hidden by more of them.
LEAST_SCORE, MOST_BOXES = 0.3, 4


def answers(
    models: Mapping[str, MultiTaskModel], scenes: data.Loaded, count: int
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The first test pictures, their labels, and what models answer, all tasks in one dict.

    Args:
        models: by task the model that answers it.
        scenes: the data set.
        count: how many pictures.
    """
    x, y, _ = next(iter(scenes.test.unbatch().batch(count)))
    served = {}
    for task in scenes.tasks:
        raw = models[task.name].predict(x, verbose=0)[task.name]
        served |= {k: keras.ops.convert_to_numpy(v) for k, v in task.serve(raw).items()}
    return np.asarray(x), {task: np.asarray(labels) for task, labels in y.items()}, served


def scenes(
    path: Path,
    model: str,
    images: np.ndarray,
    labels: Mapping[str, np.ndarray],
    served: Mapping[str, np.ndarray],
    categories: Sequence[str],
) -> None:
    """Draw scenes in columns: boxes and masks as they are, and below as a model says.

    Args:
        path: the PNG file to write.
        model: the name of the model.
        images: `(n, height, width, 3)` between 0 and 1.
        labels: `boxes`, `category`, `count` and `mask` as the data set has them.
        served: what `task.serve` made of the outputs, all tasks in one dict.
        categories: the names of the classes.
    """
    count = len(images)
    figure = Figure(figsize=(1.75 * count + 0.4, 8.4), dpi=100, layout="constrained")
    figure.get_layout_engine().set(wspace=0.02, hspace=0.02)
    panels = figure.subplots(4, count, squeeze=False)
    rows = ("true boxes", "true mask", "predicted boxes", "predicted mask")
    for row, text in enumerate(rows):
        panels[row, 0].set_ylabel(text, fontsize=11)
    for i, image in enumerate(images):
        size = image.shape[0]
        true = [(row[:4], int(row[4]), "") for row in labels["boxes"][i] if row[4] >= 0]
        found = [
            (box, int(c), f" {score:.1f}")
            for box, score, c in zip(
                served["boxes"][i], served["boxes_score"][i], served["boxes_class"][i], strict=True
            )
            if score >= LEAST_SCORE
        ]
        _boxes(panels[0, i], image, true, categories)
        _boxes(panels[2, i], image, found[:MOST_BOXES], categories)
        panels[1, i].imshow(of_classes(labels["mask"][i], background=True))
        panels[3, i].imshow(of_classes(served["mask_class"][i], background=True))
        category = int(labels["category"][i])
        number = int(labels["count"][i])
        objects = f"{number} object" + ("s" if number != 1 else "")
        panels[0, i].set_title(f"truth: {categories[category]}\n{objects}", fontsize=9)
        said = categories[int(served["category_class"][i])]
        number = float(served["count"][i, 0])
        panels[2, i].set_title(f"answer: {said}\n{number:.1f} objects", fontsize=9)
        for panel in panels[:, i]:
            panel.set(xticks=[], yticks=[], xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    names = ["background", *categories, "missing"]
    colours = [_BACKGROUND, *COLOURS[: len(categories)], _MISSING]
    legend(figure, names, colours)
    figure.suptitle(f"Test scenes: what is there, and the answers of: {model}")
    figure.savefig(path)


def _boxes(panel: Any, image: np.ndarray, boxes: Sequence, categories: Sequence[str]) -> None:
    size = image.shape[0]
    panel.imshow(image)
    for box, category, text in boxes:
        left, top, right, bottom = np.asarray(box) * size - 0.5
        colour = COLOURS[category]
        x, y = [left, right, right, left, left], [top, top, bottom, bottom, top]
        panel.plot(x, y, color="white", linewidth=2.6)
        panel.plot(x, y, color=colour, linewidth=1.6)
        panel.text(
            max(left, 0),
            max(top, 5),
            categories[category] + text,
            fontsize=6.5,
            color="white",
            va="bottom",
            clip_on=True,
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8},
        )


def dense(
    path: Path,
    model: str,
    images: np.ndarray,
    labels: Mapping[str, np.ndarray],
    served: Mapping[str, np.ndarray],
    classes: Sequence[str],
) -> None:
    """Draw pictures in rows, each with the labels of dense tasks and a model's answers.

    Args:
        path: the PNG file to write.
        model: the name of the model.
        images: `(n, height, width, 3)` between 0 and 1.
        labels: those that there are of `segmentation`, `depth` and `normals`.
        served: what `task.serve` made of the outputs, all tasks in one dict.
        classes: the names of the classes of `segmentation`.
    """
    tasks = [task for task in ("segmentation", "depth", "normals") if task in labels]
    columns = 1 + 2 * len(tasks)
    shape = images.shape[1] / images.shape[2]
    size = (1.6 * columns + 0.8, (1.6 * shape + 0.05) * len(images) + 1.3)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    panels = figure.subplots(len(images), columns, squeeze=False)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    panels[0, 0].set_title("picture", fontsize=10)
    for i, image in enumerate(images):
        panels[i, 0].imshow(np.clip(image, 0, 1))
    for k, task in enumerate(tasks):
        both = panels[:, 1 + 2 * k : 3 + 2 * k]
        both[0, 0].set_title(f"{task},\ntruth", fontsize=10)
        both[0, 1].set_title(f"{task},\nanswer", fontsize=10)
        answers = served["segmentation_class" if task == "segmentation" else task]
        if task == "depth":
            answers = answers.reshape(labels[task].shape)
            least, most = np.nanquantile(labels[task], [0.01, 0.99])
            scale = {"vmin": least, "vmax": most, "cmap": "viridis"}
        for pair, *maps in zip(both, labels[task], answers, strict=True):
            for panel, values in zip(pair, maps, strict=True):
                if task == "depth":
                    drawn = panel.imshow(values, **scale)
                elif task == "normals":
                    panel.imshow(_of_normals(values))
                else:
                    panel.imshow(of_classes(values))
        if task == "depth":
            figure.colorbar(drawn, ax=both, shrink=0.6, pad=0.02, label="depth")
    if "segmentation" in tasks:
        colours = [*COLOURS, *_MORE][: len(classes)]
        legend(figure, [*classes[: len(colours)], "missing"], [*colours, _MISSING])
    figure.suptitle(f"Labels (white: missing) and the answers of: {model}")
    figure.savefig(path)


def _of_normals(vectors: np.ndarray) -> np.ndarray:
    """Directions as colours: red to the right, green upwards, blue towards the camera."""
    colours = (vectors * [1, -1, -1] + 1) / 2
    return np.where(np.isfinite(vectors), np.clip(colours, 0, 1), _MISSING)


def of_classes(mask: np.ndarray, background: bool = False) -> np.ndarray:
    """A mask of class ids as colours `(height, width, 3)`.

    Args:
        mask: `(height, width)`; 255 is missing, and becomes white.
        background: whether class 0 is the background, and grey.
    """
    from matplotlib.colors import to_rgb

    palette = np.array([*([_BACKGROUND] if background else []), *map(to_rgb, (*COLOURS, *_MORE))])
    shown = palette[np.where(mask == 255, 0, mask).astype(int) % len(palette)]
    return np.where(mask[..., None] == 255, _MISSING, shown)


def legend(figure: Any, names: Sequence[str], colours: Sequence) -> None:
    """What the colours of masks mean, below all panels."""
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=colour, edgecolor="grey", linewidth=0.5, label=name)
        for name, colour in zip(names, colours, strict=True)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 8), frameon=False
    )
