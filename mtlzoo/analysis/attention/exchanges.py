"""What tasks with columns of their own receive from each other."""

from typing import Any

import numpy as np

from mtlzoo.analysis.attention.attention_table import AttentionTable
from mtlzoo.analysis.attention.mixtures import by_row

_RECEIVED = "weight of what is received"


def read_stitches(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`CrossStitch`: what each task receives of each column, after every stage."""
    tables = []
    for stage, matrix in model.stitch_matrices().items():
        by_channel = np.moveaxis(matrix, 2, 0) if matrix.ndim == 3 else matrix[None]
        tables.append(_received(model, stage, None, by_channel, "channels"))
    return tables


def read_subspaces(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`Sluice`: what a task's subspaces receive of each other one, and its mixture of stages."""
    names, tables = model.task_names, []
    for stage, matrix in model.stitch_matrices().items():
        parts = matrix.shape[0] // len(names)
        by_part = matrix.reshape(len(names), parts, -1).swapaxes(0, 1)
        tables.append(_received(model, stage, parts, by_part, "subspaces that receive"))
    mixtures = model.layer_mixtures()
    stages = list(mixtures[names[0]])
    values = [[mixtures[name][stage] for stage in stages] for name in names]
    what, place = "weight of the stage", "layer mixtures"
    return [*tables, AttentionTable(names, stages, values, kind="weight", what=what, place=place)]


def read_fusions(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`NDDR`: the length of the weights by which each column enters a channel."""
    tables = []
    for stage, matrix in model.fusion_matrices().items():
        by_channel = np.moveaxis(np.linalg.norm(matrix, axis=2), 2, 0)
        tables.append(_received(model, stage, None, by_channel, "channels"))
    return tables


def _received(model, stage, parts, values, over) -> AttentionTable:
    """A column for each task, or for each of the parts of each task."""
    names = model.task_names
    return AttentionTable(
        names,
        names if parts is None else [f"{name} {p}" for name in names for p in range(parts)],
        values,
        kind="weight",
        what=_RECEIVED,
        place=stage,
        over=over,
        checks=("isolated",),
        owners=np.repeat(names, parts or 1).tolist(),
    )


def read_transfers(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`AITM`: how much each task takes over from the one before it, and keeps of its own."""
    names, sequence = model.task_names, model._held.arguments["sequence"]
    weights = {name: by_row(w) for name, w in model.attention_weights(x, batch_size).items()}
    values = np.full((len(next(iter(weights.values()))), len(names), len(names)), np.nan)
    for i, name in enumerate(names):
        values[:, i, i] = weights[name][:, 1] if name in weights else 1.0
        if name in weights:
            before = sequence[sequence.index(name) - 1]
            values[:, i, names.index(before)] = weights[name][:, 0]
    what = "share of what is read"
    return [AttentionTable(names, names, values, kind="share", what=what, checks=("alone",))]
