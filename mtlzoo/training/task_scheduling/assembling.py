"""One model out of what was best for each task."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.ensembles.members import weights_of
from mtlzoo.training.distillation import Distillation
from mtlzoo.training.task_scheduling.monitored import value_in


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
    try:
        with_best = None if measure is None else measure()
    except BaseException:
        assign(weights, finals)
        raise
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


def assign(weights: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Give variables values.

    Args:
        weights: the variables.
        values: as many values.
    """
    for variable, value in zip(weights, values, strict=True):
        variable.assign(value)


def check_assembling(
    model: Any, keys: Mapping[str, str], about: Mapping[str, str | None], validation: Any
) -> None:
    """Refuse, before a training, what tasks cannot be assembled by.

    Args:
        model: a compiled multi-task model.
        keys: by task what is monitored.
        about: by task that is assembled the one that this is about.
        validation: what is measured on, or `None`.

    Raises:
        ValueError: if a task is judged by others, which change after it was measured, or it cannot
            be measured.
    """
    for name, task in about.items():
        if task is None or model.row_of.get(task, task) != name:
            raise ValueError(
                f"`monitor` of task `{name}` should be of the task itself with "
                "restore='assemble', where other tasks change after it was measured. "
                f"Received: {keys[name]!r}"
            )
    if validation is not None:
        check_validation(model, validation, about.values())
    elif any(len(model._step.ownership.of(v)) != 1 for v in weights_of(model)):
        raise ValueError(
            "`validation` should be given with restore='assemble' where tasks share variables: "
            f"it is measured there. Received: validation=None, and the model `{model.name}`"
        )


def check_validation(model: Any, validation: Any, tasks: Iterable[str | None]) -> None:
    """Refuse what tasks cannot be measured on, more than once.

    Args:
        model: a compiled multi-task model.
        validation: batches, or a tuple of arrays.
        tasks: the tasks that need labels.

    Raises:
        ValueError: for other things, such as a generator, and where a task has no labels.
    """
    if isinstance(validation, tuple):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(validation)
        element: Any = (x, *model._arrays(y, weight))
    elif isinstance(validation, tf.data.Dataset):
        element = validation.element_spec
    elif isinstance(validation, keras.utils.PyDataset):
        element = validation[0]
    else:
        raise ValueError(
            "`validation` should be batches that can be read more than once (a `tf.data.Dataset` "
            "or a `keras.utils.PyDataset`), or a tuple of arrays. Received: validation of type "
            f"{type(validation).__name__}"
        )
    model._step.objectives.check_batches(element)
    labels = keras.utils.unpack_x_y_sample_weight(element)[1]
    # Teachers give the labels of soft targets and hints.
    asked = model.student.task_names if isinstance(model, Distillation) else model.task_names
    for task in tasks:
        if task in asked and labels.get(task) is None:
            raise ValueError(
                f"`validation` should have labels of task `{task}`, which is measured there. "
                f"Received: labels of {sorted(labels)}"
            )


def measured(
    model: Any, validation: Any, keys: Mapping[str, str], about: Mapping[str, str | None]
) -> dict[str, float]:
    """What a model has on validation data; NaN for tasks that have no labels there.

    Args:
        model: a compiled multi-task model.
        validation: what `check_validation` has seen.
        keys: by name a key of the logs, with or without `val_` before.
        about: by name the task that the key is about.
    """
    x, y, weight = keras.utils.unpack_x_y_sample_weight(
        validation if isinstance(validation, tuple) else (validation,)
    )
    logs = model.evaluate(x, y, sample_weight=weight, return_dict=True, verbose=0)
    found = {n: value_in(logs, key.removeprefix("val_"), about[n]) for n, key in keys.items()}
    return {name: math.nan if value is None else value for name, value in found.items()}
