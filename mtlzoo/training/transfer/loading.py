"""Weights of models with other tasks, by the names of the tasks."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import keras
import numpy as np

from mtlzoo.layers.normalization import finalize_normalizations
from mtlzoo.models import MultiTaskModel
from mtlzoo.tasks import Task
from mtlzoo.training.transfer.matching import close_to
from mtlzoo.training.transfer.naming import Named, named_variables, parts_of, renamed
from mtlzoo.training.transfer.rebuilding import check_model, rebuilt

LOADED, PARTLY, KEPT, UNUSED = "loaded", "partly loaded", "kept", "unused"


@dataclass(frozen=True)
class LoadedVariable:
    """What became of one variable.

    Attributes:
        variable: its path; with `what="unused"` that in the source.
        what: `"loaded"`, `"partly loaded"`, `"kept"` (as it was), or `"unused"` (of the source, and
            without a place in the model).
        reason: from where it was loaded, or why it was not.
    """

    variable: str
    what: str
    reason: str


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights_by_task` has loaded and what not, as rows that can be printed.

    Attributes:
        rows: one for each variable of the model, then those of the source that were not used.
    """

    rows: tuple[LoadedVariable, ...]

    def of(self, what: str) -> list[str]:
        """The paths of the variables of which this became.

        Args:
            what: see `LoadedVariable.what`.
        """
        return [row.variable for row in self.rows if row.what == what]

    def __str__(self) -> str:
        cells = [(row.variable, row.what, row.reason) for row in self.rows]
        widths = [max(len(row[i]) for row in cells) for i in (0, 1)]
        return "\n".join(
            f"{path:<{widths[0]}}  {what:<{widths[1]}}  {reason}" for path, what, reason in cells
        )


def load_weights_by_task(
    model: MultiTaskModel,
    source: Any,
    tasks: Sequence[str] | Mapping[str, str] | None = None,
    *,
    strict: bool = False,
    source_tasks: Sequence[Task] = (),
) -> LoadReport:
    """Load what a model of other tasks has learned: what is shared, and tasks by their names.

    Variables are matched by the names of their layers, with the names of the tasks in them, and
    never by the places of layers or tasks. A layer is loaded with all its variables or not at all,
    since a bias without its kernel is worth nothing. Where a variable has a part for each task, as
    in a cross-stitch, the parts are taken one by one. Either everything that the report says is
    loaded or, after an error, nothing. Random generators, balancers and optimizers are left alone.

    Args:
        model: a multi-task model or an architecture of the zoo.
        source: a multi-task model, or the path of one saved as `.keras`, or of weights
            (`.weights.h5`) of a model with the arguments of `model` but for its tasks.
        tasks: names of the tasks that are loaded, or a dict from names of the model to names of the
            source. Defaults to None: those that both have.
        strict: whether it is an error if a variable of these tasks, or a shared one, is not loaded
            as a whole. Defaults to False.
        source_tasks: for a file of weights, which has names of tasks only, those of its tasks that
            `model` does not have. Defaults to none.

    Returns:
        A report of what was loaded and what not, with the reasons.

    Raises:
        ValueError: for unknown tasks, a source that is none, and if nothing fits or, with `strict`,
            not everything; nothing is loaded then.

    Example:
    ```python
    import keras
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.training import load_weights_by_task

    def model(*tasks):
        return HardSharing(keras.Input((8,)), tasks, shared_units=(16,))

    click, stay, buy = (BinaryClassification("click"), Regression("stay"), Regression("buy"))
    report = load_weights_by_task(model(click, buy), model(stay, click))
    print(report)
    report.of("kept")  # ["buy/kernel", "buy/bias"]
    load_weights_by_task(model(click, buy), model(stay, click), tasks={"buy": "stay"})
    ```
    """
    if not isinstance(model, MultiTaskModel):
        raise ValueError(
            f"`model` should be a multi-task model. Received: a {type(model).__name__}"
        )
    given = _check_tasks(model, tasks)
    source, where = _source(model, source, given, source_tasks)
    names = _names(model, source, given, where)
    values, rows = _match(model, source, names)
    loaded = [row for row in rows if row.what in (LOADED, PARTLY)]
    if not loaded:
        raise ValueError(
            f"`source` should have weights that fit the model `{model.name}` of the tasks "
            f"{list(model.task_names)}. Received: {where} of the tasks {list(source.task_names)}, "
            f"of which none fits:\n{LoadReport(tuple(rows))}"
        )
    if strict:
        _check_all(model, source, where, names, rows)
    for variable, value in values:
        variable.assign(value)
    finalize_normalizations(model)
    return LoadReport(tuple(rows))


def _check_tasks(model, tasks) -> dict[str, str] | None:
    """By name of a task that of the source, as far as it was said."""
    if tasks is None:
        return None
    is_list = isinstance(tasks, Iterable) and not isinstance(tasks, str)
    tasks = list(tasks) if is_list and not isinstance(tasks, Mapping) else tasks
    if not is_list or not all(isinstance(name, str) for name in tasks):
        raise ValueError(
            "`tasks` should be a list of names, or a dict from names of the model to names of the "
            f"source. Received: tasks={tasks!r}"
        )
    given = dict(tasks) if isinstance(tasks, Mapping) else {name: name for name in tasks}
    for name in given:
        if name not in model.task_names:
            raise ValueError(
                f"`tasks` should name tasks of the model `{model.name}`; "
                f"{close_to(str(name), list(model.task_names))}. Received: {name!r}"
            )
    return given


def _names(model, source, given, where) -> dict[str, tuple[str, ...]]:
    if given is None:
        return {name: (name,) for name in model.task_names if name in source.task_names}
    for name, other in given.items():
        if other not in source.task_names:
            raise ValueError(
                f"`tasks` should name tasks of {where}; "
                f"{close_to(str(other), list(source.task_names))}. Received: {other!r} for the "
                f"task `{name}` of the model `{model.name}`"
            )
    return {name: (other,) for name, other in given.items()}


def _source(model, source, given, source_tasks) -> tuple[Any, str]:
    """The model that is the source, and what messages call it."""
    if isinstance(source, MultiTaskModel):
        return source, f"the model `{source.name}`"
    if isinstance(source, str | os.PathLike) and str(source).endswith(".weights.h5"):
        return _of_weights(model, str(source), given, source_tasks), f"the file {str(source)!r}"
    if isinstance(source, str | os.PathLike) and str(source).endswith(".keras"):
        loaded = keras.saving.load_model(source, compile=False)
        if isinstance(loaded, MultiTaskModel):
            return loaded, f"the file {str(source)!r}"
    raise ValueError(
        "`source` should be a multi-task model, or the path of one in a file `.keras` or of its "
        f"weights in a file `.weights.h5`. Received: source={source!r}"
    )


def _of_weights(model, path, given, source_tasks):
    """The model of a file of weights: like this one, with the tasks whose names the file has."""
    check_model(model)
    with h5py.File(path, "r") as file:
        if "task_names" not in file.get("vars", {}):
            raise ValueError(
                "`source` should be a file of weights of a multi-task model. "
                f"Received: source={path!r}, without names of tasks"
            )
        names = bytes(np.array(file["vars/task_names"])).decode().split()
    by_name = {task.name: task for task in source_tasks}
    kinds = {other: own for own, other in (given or {}).items()}
    tasks, like = [], {}
    for name in names:
        own = kinds.get(name, name)
        if name in by_name:
            tasks.append(by_name[name])
        elif own in model.task_names:
            task = model.tasks[own]
            tasks.append(type(task).from_config({**task.get_config(), "name": name}))
        else:
            raise ValueError(
                f"`source_tasks` should have the tasks of the file that the model `{model.name}` "
                f"does not have, since it has their names only. Received: none named {name!r}"
            )
        if name not in model.task_names and own in model.task_names:
            like[name] = own
    source = rebuilt(model, tasks, like, warns=False)
    source.load_weights(path)
    return source


def _match(model, source, names):
    """The values to be assigned, and the rows of the report."""
    theirs = named_variables(source)
    missing = {task for task in model.task_names if task not in names}
    layers: dict[str, list] = {}
    for key, own in named_variables(model).items():
        other = renamed(key, names, model.task_names, source.task_names, own.tasks)
        if other is None:
            tasks = sorted(own.tasks & missing) or sorted(missing)
            found = None, KEPT, f"there are no weights for the tasks {tasks}"
        elif other not in theirs:
            found = None, KEPT, f"the source has no `{other}`"
        else:
            found = _value(own, theirs[other], names)
        layers.setdefault(key.rpartition("/")[0], []).append((own.variable, other, *found))
    values, rows, used = [], [], set()
    for layer in layers.values():
        first = next((v for v, *_, what, _ in layer if what == KEPT), None)
        for variable, other, value, what, reason in layer:
            if what != KEPT and first is not None:
                what, reason = KEPT, f"`{first.path}` of the same layer does not fit"
            elif what != KEPT:
                values.append((variable, value))
            used.add(other)
            rows.append(LoadedVariable(variable.path, what, reason))
    rows += [
        LoadedVariable(named.variable.path, UNUSED, "the model has no place for it")
        for key, named in theirs.items()
        if key not in used
    ]
    return values, rows


def _value(own: Named, its: Named, names) -> tuple[np.ndarray | None, str, str]:
    """What a variable gets from another, what that is, and from where or why not."""
    shapes = [tuple(n.variable.shape) for n in (own, its)]
    same_tasks = [names.get(name, (None,))[0] for name in own.sizes] == list(its.sizes)
    if own.sizes and not same_tasks:
        if own.axis is None:
            return None, KEPT, "it has a part for each task, and the source has other tasks"
        return _by_parts(own, its, names)
    if shapes[0] != shapes[1]:
        return None, KEPT, f"its shape is {shapes[0]}, and {shapes[1]} in the source"
    return keras.ops.convert_to_numpy(its.variable), LOADED, f"from `{its.variable.path}`"


def _by_parts(own: Named, its: Named, names) -> tuple[np.ndarray | None, str, str]:
    mine, found = parts_of(own), parts_of(its)
    taken = []
    for name in mine:
        part = found.get(names.get(name, ("",))[0])
        if part is not None:
            if part.shape != mine[name].shape:
                shapes = mine[name].shape, part.shape
                reason = f"the part of a task is {shapes[0]}, and {shapes[1]} in the source"
                return None, KEPT, reason
            mine[name] = part
            taken.append(name)
    if not taken:
        return None, KEPT, "it has a part for each task, of which the source has none"
    what = LOADED if len(taken) == len(mine) else PARTLY
    reason = f"from `{its.variable.path}`, the parts of {taken}"
    return np.concatenate(list(mine.values()), own.axis), what, reason


def _check_all(model, source, where, names, rows) -> None:
    """Refuse what is not loaded of the tasks that are, and of what is shared."""
    tasks_of = {n.variable.path: n.tasks for n in named_variables(model).values()}
    for row in rows:
        if row.what not in (KEPT, PARTLY):
            continue
        tasks = tasks_of[row.variable]
        if tasks & set(names) or len(tasks) != 1:
            whose = f"the task `{next(iter(tasks))}`" if len(tasks) == 1 else "several tasks"
            raise ValueError(
                f"`source` should have all weights of the tasks {list(names)} of the model "
                f"`{model.name}`. Received: {where} of the tasks {list(source.task_names)}; of "
                f"`{row.variable}`, of {whose}: {row.reason}"
            )
