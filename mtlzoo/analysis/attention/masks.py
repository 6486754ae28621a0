"""The attention of tasks over features, positions and modalities."""

from typing import Any

import numpy as np

from mtlzoo.analysis.attention.attention_table import AttentionTable
from mtlzoo.analysis.attention.mixtures import ALL_TASKS, by_row


def read_masks(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`MTAN`: the mean mask of each stage, and for each stage that of each channel."""
    names = model.task_names
    masks = model.attention_masks(x, batch_size)
    stages = list(masks[names[0]])
    by_stage = {s: np.stack([by_row(masks[name][s]) for name in names], 1) for s in stages}
    means = np.stack([by_stage[stage].mean(-1) for stage in stages], -1)
    what = "mean of the mask"
    tables = [AttentionTable(names, stages, means, kind="strength", what=what, place="stages")]
    for stage, values in by_stage.items():
        tables.append(
            AttentionTable(
                names,
                [f"channel {c}" for c in range(values.shape[-1])],
                values,
                kind="strength",
                what=what,
                place=stage,
                checks=("closed",),
            )
        )
    return tables


def read_queries(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`TaskQueryAttention`: what the queries of each task read of each token, heads averaged."""
    weights = model.attention_weights(x, batch_size)
    values = np.stack([weights[name].mean((1, 2)) for name in model.task_names], 1)
    return [
        AttentionTable(
            model.task_names,
            [f"token {s}" for s in range(values.shape[-1])],
            values,
            kind="share",
            what="share of attention",
            checks=("alone", "equal"),
        )
    ]


def read_modalities(model: Any, x: Any, batch_size: int | None) -> list[AttentionTable]:
    """`CrossModalFusion` with gates: what comes from each modality, for all tasks together."""
    weights = model.modality_weights(x, batch_size)
    values = np.stack([each.mean(-1) for each in weights.values()], -1)[:, None]
    return [
        AttentionTable(
            (ALL_TASKS,),
            list(weights),
            values,
            kind="share",
            what="share of the fused vector",
            tasks=(),
            checks=("idle", "alone", "equal"),
        )
    ]
