"""A task more, or one less, in a model that is trained."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from absl import logging

from mtlzoo.layers.normalization import finalize_normalizations
from mtlzoo.layers.trainability import switch
from mtlzoo.models import MultiTaskModel
from mtlzoo.tasks import Task
from mtlzoo.training.transfer.matching import close_to
from mtlzoo.training.transfer.naming import Named, named_variables, parts_of, renamed
from mtlzoo.training.transfer.rebuilding import check_model, rebuilt


def add_task(
    model: MultiTaskModel,
    task: Task,
    like: str | None = None,
    features: str | None = None,
) -> MultiTaskModel:
    """A model with one task more, which does what the old one does for the other tasks.

    All that was there has the values that it had, what was frozen is frozen, and the predictions of
    the other tasks are the same, to the bit (with `NDDR` to rounding). The old model is left as it
    is, and the new one is to be compiled: neither the optimizer's state nor the balancer's is taken
    over, since both are of other tasks. A penalty of `add_l2_sp` is left out, with a warning.

    Where columns of tasks receive from each other (`CrossStitch`, `Sluice`, `NDDR`), the others
    receive nothing from the new one at first. In a tree (`HardSharing`) it has what all share, or
    with `like` what that task has. A `PLE` of several levels is refused, since there a further
    task's experts take part in what the others receive.

    Args:
        model: a multi-task model or an architecture of the zoo.
        task: the new task.
        like: name of a task whose own part is what the new one's begins with, where the shapes
            fit; a warning names what does not. Defaults to None: it begins anew.
        features: in a model that is a graph of your own, the name of the layer whose output the
            new task's head is on. Defaults to None: what `like` is on, or where the tasks part.

    Returns:
        The new model.

    Raises:
        ValueError: for a name that is taken or unknown, and for an architecture, or a graph, in
            which no task can be added without a change of the others.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.training import add_task, freeze

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((8,)), tasks, shared_units=(16,), tower_units=(4,))
    wider = add_task(model, BinaryClassification("buy"), like="click")
    freeze(wider)
    freeze(wider, tasks=["click", "stay"])  # only "buy" learns
    wider.compile("adam")
    ```
    """
    check_model(model)
    if not isinstance(task, Task):
        raise ValueError(f"`task` should be a task. Received: task={task!r}")
    names = list(model.task_names)
    if task.name in names:
        raise ValueError(
            f"`task` should have a name that is none of the tasks {names} of `{model.name}`. "
            f"Received: a task named {task.name!r}"
        )
    if like is not None and like not in names:
        raise ValueError(
            f"`like` should be a task of the model `{model.name}`; {close_to(str(like), names)}. "
            f"Received: like={like!r}"
        )
    if features is not None and hasattr(model, "student"):
        raise ValueError(
            "`features` should be None for an architecture, which knows where a task's part "
            f"begins. Received: features={features!r} for `{model.name}`"
        )
    likes = {} if like is None else {task.name: like}
    new = rebuilt(model, [*model.tasks.values(), task], likes, features)
    old, own = named_variables(model), named_variables(new)
    joined = {name: (name, task.name) if name == like else (name,) for name in names}
    refusal = _Refusal("task", f"a task that can be added to `{model.name}`", repr(task.name))
    _take_over(model, new, old, own, joined, refusal)
    if like is not None:
        _begin_like(new, old, own, task.name, like)
    return new


def remove_task(model: MultiTaskModel, name: str) -> MultiTaskModel:
    """A model with one task less, which does what the old one does for the other tasks.

    All that is left has the values that it had, what was frozen is frozen, and the predictions are
    the same, to the bit. The old model is left as it is, and the new one is to be compiled;
    a penalty of `add_l2_sp` is left out, with a warning.

    Args:
        model: a multi-task model or an architecture of the zoo.
        name: the task that goes.

    Returns:
        The new model.

    Raises:
        ValueError: for an unknown name, the last task, and a task from which another one receives,
            as in a `CrossStitch` or a step of `ESMM`.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, MMoE, Regression
    from mtlzoo.training import remove_task

    tasks = [BinaryClassification("click"), Regression("stay")]
    model = MMoE(keras.Input((8,)), tasks, num_experts=2, expert_units=(8,))
    remove_task(model, "stay").task_names  # ("click",)
    ```
    """
    check_model(model)
    if name not in model.task_names:
        raise ValueError(
            f"`name` should be a task of the model `{model.name}`; "
            f"{close_to(str(name), list(model.task_names))}. Received: name={name!r}"
        )
    if len(model.task_names) == 1:
        raise ValueError(
            f"`name` should leave the model `{model.name}` a task. Received: name={name!r}, which "
            "is its only one"
        )
    refusal = _Refusal("name", f"a task that can be removed from `{model.name}`", repr(name))
    try:
        new = rebuilt(model, [task for task in model.tasks.values() if task.name != name], {})
    except ValueError as reason:
        raise refusal.because(str(reason)) from None
    names: dict[str, Any] = {n: (n,) if n != name else () for n in model.task_names}
    old, own = named_variables(model), named_variables(new)
    for each in new.task_names:
        before = {
            renamed(key, names, names, new.task_names, named.tasks)
            for key, named in old.items()
            if each in named.tasks
        }
        after = {key for key in own if each in own[key].tasks}
        if before != after:
            raise refusal.because(f"the task `{each}` would change, which depends on it")
    _take_over(model, new, old, own, names, refusal)
    return new


class _Refusal:
    def __init__(self, argument: str, wanted: str, received: str) -> None:
        self._argument, self._wanted, self._received = argument, wanted, received

    def because(self, reason: str) -> ValueError:
        return ValueError(
            f"`{self._argument}` should be {self._wanted}: {reason}. "
            f"Received: {self._argument}={self._received}"
        )


def _take_over(model, new, old, own, names, refusal) -> None:
    """Give the new model what the old one has, for the tasks that both have."""
    values = []
    for key, named in old.items():
        other = renamed(key, names, model.task_names, new.task_names, named.tasks)
        if other is None and not any(names[task] for task in named.tasks):
            continue  # what goes with its task
        if other not in own:
            if any(names[task] for task in named.tasks):
                raise refusal.because(
                    f"the tasks {sorted(named.tasks)} depend on `{key}`, which would not be there"
                )
            continue
        target = own[other]
        if target.variable.shape == named.variable.shape:
            value = keras.ops.convert_to_numpy(named.variable)
        else:
            value = _widened(target, named)
            if value is None:
                shapes = [tuple(n.variable.shape) for n in (named, target)]
                raise refusal.because(
                    f"the tasks {sorted(named.tasks)} would change, since they depend on `{other}`,"
                    f" whose shape would be {shapes[1]} instead of {shapes[0]}"
                )
        values.append((target.variable, value))
    for variable, value in values:
        variable.assign(value)
    _finish(model, new, names)


def _widened(target: Named, named: Named) -> np.ndarray | None:
    """A value with a part for each task, nothing for those that were not there before."""
    axis = target.axis
    if axis is None or not set(named.sizes) <= set(target.sizes):
        return None
    parts = parts_of(named)
    shape = list(target.variable.shape)
    found = []
    for name, size in target.sizes.items():
        shape[axis] = size
        found.append(parts.get(name, np.zeros(shape, named.variable.dtype)))
    return np.concatenate(found, axis)


def _begin_like(new, old, own, name: str, like: str) -> None:
    """Begin a new task's own part with the values of another's."""
    names = {each: (like,) if each == name else (each,) for each in new.task_names}
    left = []
    for key, target in own.items():
        if key in old or name not in target.key:
            continue
        before = renamed(key, names, new.task_names, set(names) - {name}, target.tasks)
        source = old.get(before or "")
        if source is None:
            left += [target.variable.path] if target.tasks == {name} else []
        elif target.sizes and target.axis is not None:
            parts = parts_of(source)
            parts[name], parts[like] = parts[like], np.zeros_like(parts[like])
            value = np.concatenate([parts[each] for each in target.sizes], target.axis)
            target.variable.assign(value)
        elif target.variable.shape == source.variable.shape:
            target.variable.assign(keras.ops.convert_to_numpy(source.variable))
        else:
            left.append(target.variable.path)
    if left:
        logging.warning(
            "The task `%s` of `%s` does not begin like `%s` in %s, which that has not, or of other "
            "shapes.",
            *(name, new.name, like, left),
        )


def _finish(model, new, names: Mapping[str, Any]) -> None:
    """What depends on the values; what was frozen."""
    finalize_normalizations(new)
    frozen = {id(v) for la in model._flatten_layers() if not la.trainable for v in la.variables}
    old = {
        renamed(key, names, model.task_names, new.task_names, named.tasks): named
        for key, named in named_variables(model).items()
    }
    known = {key: id(named.variable) in frozen for key, named in old.items() if key}
    of = {id(named.variable): known.get(key) for key, named in named_variables(new).items()}
    for layer in new._flatten_layers(include_self=False):
        found = [of.get(id(v)) for v in layer.variables if id(v) in of]
        if found and all(found):
            switch([layer], False)
