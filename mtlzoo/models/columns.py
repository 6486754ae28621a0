"""Columns: for each task a copy of every stage of a network, joined to the others' or not."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

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
        """The weights of a task's copy with two or more dimensions: kernels and embeddings, no
        biases, scales or statistics.
        """
        part = keras.Model(self.starts[task_name], self.ends[task_name])
        return [v for v in part.variables if len(v.shape) > 1]


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
