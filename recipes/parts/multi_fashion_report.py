"""What models of Multi-Fashion have learned about sharing, and what they answer."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import mtlzoo as zoo
from mtlzoo.data.multi_fashion.original import CLASSES
from recipes.parts.plots import Figure
from recipes.parts.tables import print_aligned


def print_readings(models: Mapping[str, zoo.MultiTaskModel], pictures: Any) -> None:
    """Print what the first seed's models have learned about sharing.

    Args:
        models: trained models by name.
        pictures: a batch, for what depends on the input; it is averaged.
    """
    order = ("left", "right")
    rows = [["first seed", *order]]
    for name, model in models.items():
        for what, of_task in readings(model, pictures):
            cells = [" ".join(f"{v:.2f}" for v in np.ravel(of_task[task])) for task in order]
            rows.append([f"{name}: {what}", *cells])
    print()
    print_aligned(rows)


def readings(model: Any, pictures: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a model lets one read: a text and by task one or several numbers."""
    tasks = model.task_names
    match model:
        case zoo.SoftSharing():
            for stage, distances in model.distances().items():
                yield f"distance to the other, {stage}", dict.fromkeys(tasks, distances[0, 1])
        case zoo.CrossStitch():
            for stage, matrix in model.stitch_matrices().items():
                yield f"received of left, right, {stage}", dict(zip(tasks, matrix, strict=True))
        case zoo.Sluice():
            mixtures = model.layer_mixtures()
            yield (
                "parts of " + ", ".join(mixtures["left"]),
                {task: list(mixture.values()) for task, mixture in mixtures.items()},
            )
        case zoo.NDDR():
            for stage, matrix in model.fusion_matrices().items():
                lengths = np.sqrt(np.square(matrix).sum((2, 3)))
                yield (
                    f"length of weights of left, right, {stage}",
                    dict(zip(tasks, lengths, strict=True)),
                )
        case zoo.MMoE() | zoo.OMoE():
            gates = model.gate_weights(pictures)
            yield "mean use of experts", {task: gates[task].mean(0) for task in tasks}
        case zoo.PLE():
            for level, gates in model.gate_weights(pictures).items():
                yield f"use of own and 2 shared, {level}", {t: gates[t].mean(0) for t in tasks}
        case zoo.SNR():
            found = model.routing_probabilities()
            yield "connections to the task", {task: found[f"{task}_routing"] for task in tasks}
        case zoo.MTAN():
            masks = model.attention_masks(pictures)
            for stage in masks["left"]:
                yield f"mean of the mask, {stage}", {t: masks[t][stage].mean() for t in tasks}
        case zoo.TaskQueryAttention():
            weights = model.attention_weights(pictures)
            yield "mean row and column of 0 to 5", {t: center(weights[t]) for t in tasks}
        case zoo.LearningToBranch():
            for i, path in enumerate(zip(*model.paths().values(), strict=True)):
                yield f"node of stage {i}", dict(zip(tasks, path, strict=True))
        case zoo.DynamicSharing():
            for stage, strengths in model.sharing_strengths().items():
                yield f"strength, {stage}", strengths


def center(weights: np.ndarray) -> list[float]:
    """The mean row and column of places with weights `(rows, heads, queries, places)`."""
    side = round(weights.shape[-1] ** 0.5)
    at = weights.mean((0, 1, 2)).reshape(side, side)
    return [float(at.sum(axis) @ np.arange(side)) for axis in (1, 0)]


def draw_answers(
    path: pathlib.Path, name: str, model: zoo.MultiTaskModel, pictures: Any, labels: Mapping
) -> None:
    """Draw pictures with the true classes and the model's."""
    outputs = model.predict_on_batch(pictures)
    captions = []
    for i in range(len(pictures)):
        lines = []
        for task in model.task_names:
            true, found = CLASSES[int(labels[task][i])], CLASSES[int(outputs[task][i].argmax())]
            lines.append(f"{task}: {true}" + ("" if found == true else f"\n    not {found}"))
        captions.append("\n".join(lines))
    captioned(path, np.asarray(pictures)[..., 0], captions, f"Answers of {name}")


def captioned(path: pathlib.Path, images: np.ndarray, captions: Sequence[str], title: str) -> None:
    """Draw grey images in a row, each with lines of text below.

    Args:
        path: the PNG file to write.
        images: shape `(number, height, width)`.
        captions: what stands below each.
        title: what stands above all.
    """
    figure = Figure(figsize=(1.9 * len(images), 2.8), dpi=90, layout="constrained")
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for panel, image, caption in zip(panels, images, captions, strict=True):
        panel.imshow(image, cmap="gray")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_xlabel(caption, fontsize=8, loc="left")
    figure.suptitle(title)
    figure.savefig(path, bbox_inches="tight")
