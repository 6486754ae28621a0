"""One model out of what was best for each task."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mtlzoo.ensembles.members import weights_of


@dataclasses.dataclass(frozen=True)
class AssembledTask:
    """What an assembled model has of a task, and why.

    Its variables are those that no other task depends on.

    Args:
        taken: `"best"` or `"last"`: of which epoch its variables are.
        epoch: the number of that epoch, from 0.
        metric: its monitored metric on the validation data, in the assembled model.
        with_best: the metric with its variables of its best epoch and the shared ones of the last.
        with_last: the metric with all variables of the last epoch; NaN where it was not measured.
        at_best: what it was in its best epoch, with the shared variables of that epoch.
    """

    taken: str
    epoch: int
    metric: float
    with_best: float
    with_last: float
    at_best: float


def owned_weights(model: Any) -> dict[str, list[int]]:
    """Which of the model's weights belong to one task alone, statistics of normalization too.

    Args:
        model: a compiled multi-task model.

    Returns:
        By task, or row of tasks, their places in `weights_of(model)`.
    """
    step = model._step
    found: dict[str, list[int]] = {name: [] for name in step.rows.names}
    for place, variable in enumerate(weights_of(model)):
        tasks = step.ownership.of(variable)
        if len(tasks) == 1:
            found[next(iter(tasks))].append(place)
    return found


def assemble(
    model: Any,
    best: Mapping[str, tuple[int, float, Sequence[np.ndarray]]],
    last: int,
    measure: Callable[[], Mapping[str, float]] | None,
    is_worse: Callable[[str, float, float], bool],
) -> dict[str, AssembledTask]:
    """Give each task its own variables of its best epoch, unless it is worse with them.

    A task's own variables change no other task's outputs, so that two measurements serve all.

    Args:
        model: the trained model.
        best: by task the number of its best epoch, its metric then, and the model's weights.
        last: the number of the last epoch.
        measure: gives by task the metric that the model has now; `None` where nothing is shared,
            so that each task is what it was at its best.
        is_worse: whether a task's first number is worse than its second.

    Returns:
        By task what was taken.
    """
    weights = weights_of(model)
    owned = owned_weights(model)
    finals = [keras.ops.convert_to_numpy(variable) for variable in weights]
    with_last = None if measure is None else measure()
    for name, (_, _, values) in best.items():
        for place in owned[name]:
            weights[place].assign(values[place])
    with_best = None if measure is None else measure()
    found = {}
    for name, (epoch, at_best, _) in best.items():
        old = math.nan if with_last is None else with_last[name]
        new = at_best if with_best is None else with_best[name]
        back = is_worse(name, new, old)
        if back:
            for place in owned[name]:
                weights[place].assign(finals[place])
        found[name] = AssembledTask(
            "last" if back else "best",
            last if back else epoch,
            old if back else new,
            new,
            old,
            at_best,
        )
    return found
