"""A student that learns from teachers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtlzoo.layers.arguments import check_bool
from mtlzoo.layers.policies import at_least_float32
from mtlzoo.models import MultiTaskModel
from mtlzoo.models.taps import tapped
from mtlzoo.tasks import SoftTargets
from mtlzoo.tasks.configs import check_config
from mtlzoo.training import teaching
from mtlzoo.training.distillation import annealing, arguments
from mtlzoo.training.distillation.hints import Hint
from mtlzoo.training.distillation.teachers import Teacher, by_task, distinct, taken


@keras.saving.register_keras_serializable(package="mtlzoo")
class Distillation(MultiTaskModel):
    r"""A student with its teachers: one multi-task model that is trained as any other.

    Hinton et al., *Distilling the Knowledge in a Neural Network*, 2015, for several tasks. What a
    teacher answers for the task `genre` is the label of a task of its own, `genre_soft`
    (`SoftTargets`), whose output is the student's for `genre`; what it has inside is that of a task
    for each hint. So everything works that works for tasks: a row without a label learns from the
    teacher, a task without a teacher from its labels, `loss_weights` has a factor for each, and the
    logs show each. With the losses $L_i$ of the tasks, $S_i$ of the soft targets and $H_k$ of the
    hints, and all loss weights 1, a student under the balancer `"equal"` is trained on

    $$\sum_i (L_i + S_i) + \sum_k H_k.$$

    The teachers' outputs are computed in each step, without dropout, unless the labels of a batch
    have them already (`mtlzoo.training.precompute`). Teachers are not changed. `fit` trains the
    layers of `student`, which is a model for itself; `predict` and `export` are those of the
    student.

    Args:
        student: the multi-task model that learns, such as `teacher.student(0.25)`.
        teachers: one trained multi-task model, a list of them, or a dict by task of functional
            Keras models. They take the student's inputs, or some of them if these have names.
        temperature: positive number, or a dict of them by task, that soften classes; see
            `SoftTargets`. Defaults to 2.
        hints: list of `Hint` and `AttentionTransfer`. Defaults to none.
        transfer: dict by the task of a teacher that the student does not have, of the student's
            task that is helped. Such a teacher has no answer to learn; its features are learned by
            hints `of` that task. Defaults to none.
        balance_soft: whether soft targets are tasks of their own for the balancer. Defaults to
            `False`: a task and its soft targets are balanced as one, as is a hint from a transfer
            with the task that it helps. Other hints are always tasks of their own.
        online: whether the teachers learn too, from the labels, in the same steps. Their tasks are
            then tasks of this model, `genre_teacher` for `genre`, and their layers are trained,
            saved and balanced with the student's. Defaults to `False`.
        annealing_steps: number of steps in which the weight of labels rises from 0 to 1 while that
            of soft targets and hints falls from 1 to 0 (Clark et al., 2019). Defaults to no
            annealing: both stay 1.
        name: name of the model. Defaults to that of the student, with `_distillation`.

    Attributes:
        student: the student.
        teachers: the teachers by task.

    Raises:
        ValueError: for a teacher that is not built, takes other inputs, has another label space or
            a task that neither the student nor `transfer` has; for a temperature that is not
            positive; for a hint to or from no layer.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import BinaryClassification, HardSharing, Regression
    from mtlzoo.training import Distillation

    tasks = [BinaryClassification("click"), Regression("stay")]
    teacher = HardSharing(keras.Input((8,), name="x"), tasks, shared_units=(64, 64))
    model = Distillation(teacher.student(0.25), teacher, temperature=4.0)
    model.compile("adam", balancer="uncertainty", loss_weights={"click_soft": 0.5})

    x = np.random.default_rng(0).normal(size=(32, 8))
    y = {"click": np.arange(32) % 2}  # no label of `stay`: the teacher answers
    model.fit(x, y, verbose=0)
    model.student.predict(x, verbose=0)["stay"].shape  # (32, 1)
    ```

    References:
        Hinton et al., arXiv:1503.02531.
        Clark et al., *BAM! Born-Again Multi-Task Networks for Natural Language Understanding*,
        ACL 2019, arXiv:1907.04829.

    *Differences from the papers*: labels and soft targets are weighed by `loss_weights`, each 1,
    where Hinton et al. have a weighted mean of both.
    """

    def __init__(
        self,
        student: MultiTaskModel,
        teachers: Any,
        *,
        temperature: float | Mapping[str, float] = 2.0,
        hints: Sequence[Hint] = (),
        transfer: Mapping[str, str] | None = None,
        balance_soft: bool = False,
        online: bool = False,
        annealing_steps: int | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(student, MultiTaskModel) or not student.tasks:
            raise ValueError(
                f"`student` should be a multi-task model with tasks. Received: student={student!r}"
            )
        teachers = by_task(teachers, student)
        hints = arguments.hints_of(hints, teachers)
        transfer = arguments.check_transfer(transfer, teachers, student, hints)
        temperatures = arguments.temperatures(temperature, student, teachers)
        annealing.check(annealing_steps)
        balance_soft = check_bool("balance_soft", balance_soft)
        online = check_bool("online", online)
        arguments.check_names(student, teachers, hints, online)

        # Layers.
        outputs, features = tapped(student, sorted({h.student for h in hints}), "student")
        outputs = dict(outputs)
        tasks = list(student.tasks.values())
        row_of: dict[str, str] = {}
        made: list[Teacher] = []
        learned: dict[str, str] = {}  # the labels of teachers that learn too
        rises: dict[str, bool] = {}  # whether annealing moves its weight up or down
        dtype = at_least_float32()
        for model in distinct(teachers):
            soft = {}
            for task in student.tasks.values():
                if teachers.get(task.name) is model:
                    target = SoftTargets(task, temperatures[task.name])
                    soft[target.name] = task
                    tasks.append(target)
                    outputs[target.name] = keras.layers.Identity(name=target.name, dtype=dtype)(
                        outputs[task.name]
                    )
                    row_of |= {} if balance_soft else {target.name: task.name}
                    rises |= {task.name: True, target.name: False}
            own = [hint for hint in hints if teachers[hint.of] is model]
            teacher = Teacher(model, student, soft, own)
            for hint in own:
                theirs, wanted = teacher.features[hint.name], teacher.targets[hint.name]
                hint.check(features[hint.student], theirs)
                found = hint.of_student(features[hint.student], theirs)
                outputs[hint.name] = keras.layers.Identity(name=hint.name, dtype=dtype)(found)
                tasks.append(hint.task(wanted))
                rises[hint.name] = False
                if hint.of in transfer and not balance_soft:
                    row_of[hint.name] = transfer[hint.of]
            made.append(teacher)
            if online:
                answers = model(taken(student.input, model))
                for task_name, task in arguments.tasks_of(model, teachers, student).items():
                    twin = type(task).from_config(
                        {**task.get_config(), "name": f"{task_name}_teacher"}
                    )
                    outputs[twin.name] = keras.layers.Identity(name=twin.name, dtype=dtype)(
                        answers[task_name]
                    )
                    tasks.append(twin)
                    learned[twin.name] = task_name

        # Graph.
        name = f"{student.name}_distillation" if name is None else name
        super().__init__(
            student.input, outputs, name, tasks=tasks, preprocessor=student.preprocessor
        )
        self._held.row_of = row_of

        # Config.
        self._taught = _Taught(student, teachers, made, learned, annealing_steps, rises)
        self._held.arguments = {
            "temperature": dict(temperature) if isinstance(temperature, Mapping) else temperature,
            "hints": list(hints),
            "transfer": transfer,
            "balance_soft": balance_soft,
            "online": online,
            "annealing_steps": annealing_steps,
        }

    @property
    def student(self) -> MultiTaskModel:
        """The student, a model for itself."""
        return self._taught.student

    @property
    def teachers(self) -> dict[str, keras.Model]:
        """The teachers by the task that each answers."""
        return dict(self._taught.teachers)

    # -- what the teachers say ----------------------------------------------------------------

    def teacher_labels(self, x: Any, known: Any = ()) -> dict[str, Any]:
        """What the teachers say of a batch, by the name of the soft target or hint.

        Args:
            x: inputs of the student.
            known: names of labels that are there already; a teacher that has nothing to add is not
                asked. Defaults to none.

        Returns:
            Tensors, NaN in steps that a Keras mask leaves out.
        """
        found: dict[str, Any] = {}
        for teacher in self._taught.asked:
            found |= teacher.labels(x, known)
        return found

    def _with_teachers(self, data, training=False):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if not isinstance(y, Mapping):  # which the step will refuse
            return data
        y, sample_weight = teaching.take_back(y, sample_weight)
        y = {**self.teacher_labels(x, y), **self._for_teachers(y)}
        if isinstance(sample_weight, Mapping):
            sample_weight = self._for_teachers(sample_weight)
        steps = self._taught.annealing_steps
        if training and steps is not None:
            rises = self._taught.rises
            sample_weight = annealing.weights(y, sample_weight, rises, self.balancer.step, steps)
        return x, y, sample_weight

    def _arrays(self, y, sample_weight):
        found = super()._arrays(y, sample_weight)
        later = [name for name in self.task_names if name not in self.student.tasks]
        return teaching.put_aside(later, y, sample_weight, found)

    def _for_teachers(self, by_task):
        """The same with what teachers that learn too have in common with the student."""
        twins = {twin: by_task[n] for twin, n in self._taught.learned.items() if n in by_task}
        return {**twins, **by_task}

    def train_step(self, data: Any) -> Any:
        """One training step on `(x, y)` or `(x, y, sample_weight)`; used by `fit`."""
        return super().train_step(self._with_teachers(data, training=True))

    def test_step(self, data: Any) -> Any:
        """One evaluation step; used by `evaluate`."""
        return super().test_step(self._with_teachers(data))

    def predict_step(self, data: Any) -> Any:
        """The student's raw outputs of a batch; used by `predict`."""
        outputs = super().predict_step(data)
        return {name: outputs[name] for name in self.student.task_names}

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> Any:
        """Export the student, see `MultiTaskModel.export`."""
        return self.student.export(filepath, *args, **kwargs)

    # -- config -------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The student, the teachers and the other arguments of `__init__`."""
        serialize = keras.saving.serialize_keras_object
        models = distinct(self.teachers)
        numbers = {name: models.index(model) for name, model in self.teachers.items()}
        return {
            "student": serialize(self.student),
            "teachers": [serialize(model) for model in models],
            "teacher_of": numbers,
            **{key: serialize(value) for key, value in self._held.arguments.items()},
            "name": self.name,
            **self._added_later(),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Distillation":
        """The model of a config, with new variables."""
        config = check_config(f"a `{cls.__name__}`", config, "student", "teachers", "teacher_of")
        later = cls._take_later(config)
        given = {
            key: keras.saving.deserialize_keras_object(value, custom_objects)
            for key, value in config.items()
        }
        models, numbers = given.pop("teachers"), given.pop("teacher_of")
        teachers = {name: models[number] for name, number in numbers.items()}
        return cls(given.pop("student"), teachers, **given)._add_again(*later)


class _Taught:
    """Models that are no layers of this one."""

    def __init__(
        self,
        student: MultiTaskModel,
        teachers: dict[str, keras.Model],
        asked: list[Teacher],
        learned: dict[str, str],
        annealing_steps: int | None,
        rises: dict[str, bool],
    ) -> None:
        self.student, self.teachers, self.asked = student, teachers, asked
        self.learned = learned
        self.annealing_steps, self.rises = annealing_steps, rises
