"""Columns: for each task a copy of every stage of a network, joined to the others' or not."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from mtlzoo.layers.cross_stitch import CrossStitchUnit
from mtlzoo.models.stages import Stage


class DrawnStage(NamedTuple):
    """The copies of one stage.

    Attributes:
        name: name of the stage.
        starts: by task, what its copy was drawn on.
        ends: by task, the tensor at which its copy ends.
        joined: by task, what it received from the ends of all tasks.
    """

    name: str
    starts: dict[str, Any]
    ends: dict[str, Any]
    joined: dict[str, Any]

    def matrices(self, task_name: str) -> list[keras.Variable]:
        """The weights of a task's copy with two or more dimensions but those named `bias`: kernels
        and embeddings, no biases, scales or statistics.
        """
        part = keras.Model(self.starts[task_name], self.ends[task_name])
        return [v for v in part.variables if len(v.shape) > 1 and v.name != "bias"]


def draw_columns(
    start: Any,
    stages: Sequence[Stage],
    names: Sequence[str],
    join: Callable[[Stage, int, list], Any] | None = None,
) -> list[DrawnStage]:
    """Draw a column of stages for each task.

    Args:
        start: what the first stages are drawn on.
        stages: those of each column, in order.
        names: names of the tasks.
        join: `join(stage, index, features)` draws what the task of this index receives from the
            features of all tasks. Without it a task keeps its own.

    Returns:
        The stages, of which the last has the columns' features in `joined`.
    """
    drawn = []
    features = dict.fromkeys(names, start)
    for stage in stages:
        ends = {name: stage.draw(features[name], f"{name}_column") for name in names}
        joined = ends
        if join is not None:
            joined = {name: join(stage, i, list(ends.values())) for i, name in enumerate(names)}
        drawn.append(DrawnStage(stage.name, features, ends, joined))
        features = joined
    return drawn


def stitching(names: Sequence[str], **arguments: Any) -> Callable[[Stage, int, list], Any]:
    """How columns are joined by cross-stitch units, one for each stage and receiving task.

    Args:
        names: names of the tasks.
        **arguments: those of `CrossStitchUnit`.

    Returns:
        The `join` of `draw_columns`.
    """

    def join(stage, index, features):
        name = f"stitch_{names[index]}_{stage.name}"
        return CrossStitchUnit(index, name=name, **arguments)(features)

    return join


def read_stitches(
    model: keras.Model, names: Sequence[str], stages: Sequence[str]
) -> dict[str, np.ndarray]:
    """By stage the weights of its cross-stitch units, those of the first task first."""
    return {
        stage: np.concatenate(
            [
                keras.ops.convert_to_numpy(model.get_layer(f"stitch_{name}_{stage}").alpha)
                for name in names
            ]
        )
        for stage in stages
    }
