"""What `Distillation` is given, checked against the student and its teachers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtlzoo.models import MultiTaskModel
from mtlzoo.models.taps import tapped
from mtlzoo.tasks import Task
from mtlzoo.tasks.soft_targets import check_temperature
from mtlzoo.training.distillation.hints import Hint
from mtlzoo.training.distillation.teachers import distinct


def hints_of(hints: Any, teachers: Mapping[str, keras.Model]) -> list[Hint]:
    """The hints, each with the teacher's task that it is of.

    Args:
        hints: what should be a list of them.
        teachers: the teachers by task.

    Raises:
        ValueError: for anything else, or a hint of no teacher.
    """
    if not isinstance(hints, list | tuple) or not all(isinstance(h, Hint) for h in hints):
        raise ValueError(f"`hints` should be a list of hints. Received: hints={hints!r}")
    found: list[Hint] = []
    for hint in hints:
        of = hint.of
        if of is None and len(distinct(teachers)) == 1:
            of = next(iter(teachers))
        if of not in teachers:
            raise ValueError(
                f"`of` of the hint `{hint.name}` should be one of the teachers' tasks "
                f"{sorted(teachers)}. Received: of={hint.of!r}"
            )
        if hint.name in [other.name for other in found]:
            raise ValueError(f"`hints` should have different names. Received: {hint.name!r} twice")
        found.append(type(hint).from_config({**hint.get_config(), "of": of}))
    return found


def check_names(
    student: MultiTaskModel,
    teachers: Mapping[str, keras.Model],
    hints: Sequence[Hint],
    online: bool,
) -> None:
    """Refuse names of what is added to the student that it, or something else, has already.

    Args:
        student: the student.
        teachers: the teachers by task.
        hints: what is learned inside.
        online: whether the teachers learn too.

    Raises:
        ValueError: naming both.
    """
    taken = {name: f"a task of the student `{student.name}`" for name in student.tasks}
    taught = [name for name in student.tasks if name in teachers]
    new = [(f"{name}_soft", f"the soft targets of task `{name}`") for name in taught]
    new += [(hint.name, f"the hint `{hint.name}`") for hint in hints]
    if online:
        new += [(f"{name}_teacher", f"the teacher's task `{name}`") for name in taught]
        layer = f"a layer of the student `{student.name}`"
        taken |= dict.fromkeys((each.name for each in student.layers), layer)
        new += [(each.name, f"the teacher `{each.name}`") for each in distinct(teachers)]
    for name, what in new:
        if name in taken:
            raise ValueError(
                f"The name {name!r} of {what} should not be that of something else. Received: "
                f"{taken[name]} of that name"
            )
        taken[name] = what


def check_transfer(
    transfer: Any,
    teachers: Mapping[str, keras.Model],
    student: MultiTaskModel,
    hints: Sequence[Hint],
) -> dict[str, str]:
    """By the task of a teacher the student's other task that it helps.

    Args:
        transfer: what should say so.
        teachers: the teachers by task.
        student: the student.
        hints: what is learned inside.

    Raises:
        ValueError: for a teacher of a task that is neither the student's nor helps one, for unknown
            tasks, and where no hint lies on the way to the task.
    """
    transfer = {} if transfer is None else transfer
    if not isinstance(transfer, Mapping):
        raise ValueError(
            "`transfer` should be a dict from the tasks of teachers to those of the student. "
            f"Received: transfer={transfer!r}"
        )
    for name, model in teachers.items():
        if name not in student.tasks and name not in transfer:
            raise ValueError(
                f"The teacher `{model.name}` should answer tasks of the student "
                f"{list(student.task_names)}, or `transfer` say which of them it helps. Received: "
                f"task {name!r}"
            )
    for name, helped in transfer.items():
        if name in student.tasks or name not in teachers:
            raise ValueError(
                "`transfer` should have tasks of teachers as keys that the student does not have. "
                f"Received: {name!r} in transfer={dict(transfer)!r}"
            )
        if helped not in student.tasks:
            raise ValueError(
                f"`transfer` should help one of the student's tasks {list(student.task_names)}. "
                f"Received: {helped!r} in transfer={dict(transfer)!r}"
            )
        own = [hint for hint in hints if teachers[str(hint.of)] is teachers[name]]
        if not own:
            raise ValueError(
                f"`hints` should have one of the teacher of task `{name}`, since `transfer` from "
                f"it to `{helped}` is one of features. Received: hints={list(hints)!r}"
            )
        for hint in own:
            try:
                tapped(student.single_task(helped), [hint.student], "student")
            except ValueError:
                raise ValueError(
                    f"The hint `{hint.name}` should be a layer that the task `{helped}` depends "
                    f"on, which it should help. Received: student={hint.student!r}"
                ) from None
    return dict(transfer)


def temperatures(
    given: Any, student: MultiTaskModel, teachers: Mapping[str, keras.Model]
) -> dict[str, float]:
    """The temperature of each task that has a teacher.

    Args:
        given: a number, or a dict of them by task, of which others have 2.
        student: the student.
        teachers: the teachers by task.

    Raises:
        ValueError: for one that is not positive, for a task without a teacher, and for one without
            classes.
    """
    taught = [name for name in student.task_names if name in teachers]
    if not isinstance(given, Mapping):
        return {name: check_temperature(name, given) for name in taught}
    for name in given:
        if name not in taught or not student.tasks[name].softened:
            able = [task for task in taught if student.tasks[task].softened]
            raise ValueError(
                f"`temperature` should be for tasks with a teacher and with classes, {able}. "
                f"Received: {name!r} in temperature={dict(given)!r}"
            )
    return {name: check_temperature(name, given.get(name, 2.0)) for name in taught}


def tasks_of(
    teacher: keras.Model, teachers: Mapping[str, keras.Model], student: MultiTaskModel
) -> dict[str, Task]:
    """The tasks that a teacher answers and that it can learn from the student's labels.

    Args:
        teacher: one of the teachers.
        teachers: the teachers by task.
        student: the student.

    Raises:
        ValueError: if it is no multi-task model.
    """
    if not isinstance(teacher, MultiTaskModel):
        raise ValueError(
            "`teachers` should be multi-task models if they learn too, since these have losses. "
            f"Received: {teacher.name!r} with online=True"
        )
    own = [name for name, model in teachers.items() if model is teacher and name in student.tasks]
    return {name: student.tasks[name] for name in own}
