"""Who teaches what: trained models, the tasks that they answer, and what they say of a batch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtlzoo.models import MultiTaskModel
from mtlzoo.models.taps import tapped
from mtlzoo.tasks import Task, spaces
from mtlzoo.tasks.labels import fits
from mtlzoo.training.distillation.hints import Hint
from mtlzoo.training.teaching import without_padding


class Teacher:
    """One model that teaches, and what of it becomes labels.

    Args:
        model: a functional Keras model; its outputs are a dict by task, or one tensor.
        student: whom it teaches.
        soft: by the name of the labels the student's task that the model answers.
        hints: those that want features of it.

    Attributes:
        features: by the name of a hint the features of the model, before the hint's `of_teacher`.
        targets: the same after it.
    """

    def __init__(
        self,
        model: keras.Model,
        student: MultiTaskModel,
        soft: Mapping[str, Task],
        hints: Sequence[Hint] = (),
    ) -> None:
        outputs, found = tapped(model, sorted({hint.teacher for hint in hints}), "teacher")
        self.features = {hint.name: found[hint.teacher] for hint in hints}
        self.targets = {hint.name: hint.of_teacher(self.features[hint.name]) for hint in hints}
        given: dict[str, Any] = {}
        self._by_step = {name for name, tensor in self.targets.items() if len(tensor.shape) == 3}
        for label, task in soft.items():
            given[label] = _answer(model, task, outputs, student.output[task.name].shape)
            if task.loss_rank == 2:
                self._by_step.add(label)
        self._names = frozenset({*given, *self.targets})
        self._reader = keras.Model(model.input, {**given, **self.targets})

    def labels(self, x: Any, known: Iterable[str]) -> dict[str, Any]:
        """What the model says of the rows `x`; nothing if all of that is known already."""
        if self._names <= set(known):
            return {}
        found = self._reader(taken(x, self._reader), training=False)
        return {name: self._without_padding(name, found[name]) for name in self._names}

    def _without_padding(self, name, tensor):
        tensor = without_padding(tensor) if name in self._by_step else tensor
        return tf.cast(tensor, tf.float64 if tensor.dtype == tf.float64 else tf.float32)


def taken(inputs: Any, teacher: keras.Model) -> Any:
    """Those of the student's inputs that a teacher takes.

    Args:
        inputs: tensors in the structure of the student's.
        teacher: the teacher.
    """
    if isinstance(teacher.input, Mapping):
        return {name: inputs[name] for name in teacher.input}
    return inputs


def distinct(teachers: Mapping[str, keras.Model]) -> list[keras.Model]:
    """Each teacher once, in the order of the tasks.

    Args:
        teachers: the teachers by task.
    """
    return list({id(model): model for model in teachers.values()}.values())


def by_task(teachers: Any, student: MultiTaskModel) -> dict[str, keras.Model]:
    """The teachers by the names of the tasks that they answer.

    Args:
        teachers: a model, a list of models with tasks, or a dict of models by task.
        student: whom they teach.

    Raises:
        ValueError: for anything else, a model that is not built or takes other inputs, or two
            teachers of one task.
    """
    if isinstance(teachers, Mapping):
        found = dict(teachers)
    else:
        found = {}
        for model in teachers if isinstance(teachers, list | tuple) else [teachers]:
            if not isinstance(model, MultiTaskModel):
                raise ValueError(
                    "`teachers` should be multi-task models, or a dict by task of Keras models. "
                    f"Received: {model!r}"
                )
            for name in model.task_names:
                if name in found:
                    raise ValueError(
                        f"`teachers` should have one model for the task `{name}`; an ensemble of "
                        f"several is one. Received: `{found[name].name}` and `{model.name}`"
                    )
                found[name] = model
    if not found:
        raise ValueError(
            f"`teachers` should be one model at least. Received: teachers={teachers!r}"
        )
    for name, model in found.items():
        _check(name, model, student)
    return found


def _check(name, model, student):
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"The teacher of task `{name}` should be a Keras model. Received: {model!r}"
        )
    if not model.built or not hasattr(model, "_run_through_graph"):
        raise ValueError(
            f"The teacher `{model.name}` of task `{name}` should be a functional model that is "
            f"built. Received: {model!r}, built={model.built}"
        )
    if {id(v) for v in model.trainable_variables} & {id(v) for v in student.variables}:
        raise ValueError(
            f"The teacher `{model.name}` of task `{name}` should have no layer in common with the "
            f"student `{student.name}`, which training changes."
        )
    own, inputs = student.input, model.input
    if isinstance(inputs, Mapping) and isinstance(own, Mapping):
        own = {key: own[key] for key in inputs if key in own}
    theirs, here = ([_spec(t) for t in keras.tree.flatten(x)] for x in (inputs, own))
    same = isinstance(inputs, Mapping) == isinstance(own, Mapping) and len(theirs) == len(here)
    if isinstance(inputs, Mapping) and isinstance(own, Mapping):
        same = set(inputs) == set(own)
    if not same or not all(
        fits(a[0], b[0]) and (a[1] == b[1] or ("float" in a[1] and "float" in b[1]))
        for a, b in zip(theirs, here, strict=True)
    ):
        raise ValueError(
            f"The teacher `{model.name}` of task `{name}` should take inputs that the student "
            f"`{student.name}` takes. Received: inputs {theirs}, where the student has {here}"
        )


def _spec(tensor):
    return tuple(tensor.shape[1:]), tensor.dtype


def _answer(model, task, outputs, shape):
    """The output of a teacher that answers a task of the student, whose own has this shape."""
    own = model.tasks.get(task.name) if isinstance(model, MultiTaskModel) else None
    found = None if own is None else spaces.difference(task, own, missing=False)
    if found is not None:
        what, mine, its = found
        raise ValueError(
            f"The teacher `{model.name}` of task `{task.name}` should have the label space of the "
            f"student, whose {what} is {mine}. Received: {its}"
        )
    tensor = outputs
    if isinstance(outputs, Mapping):
        if task.name not in outputs:
            raise ValueError(
                f"The teacher `{model.name}` should have an output for the task `{task.name}`. "
                f"Received: outputs {sorted(outputs)}"
            )
        tensor = outputs[task.name]
    if not isinstance(tensor, keras.KerasTensor) or not fits(tensor.shape[1:], shape[1:]):
        raise ValueError(
            f"The teacher `{model.name}` of task `{task.name}` should have outputs of shape "
            f"{shape}, as the student. Received: {tensor!r}"
        )
    return tensor
