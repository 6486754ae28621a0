"""What a teacher answers, as labels."""

import numbers
from typing import Any

import keras

from mtlzoo.tasks.configs import check_config
from mtlzoo.tasks.task import Task


@keras.saving.register_keras_serializable(package="mtlzoo")
class SoftTargets(Task):
    r"""The raw outputs of another model for a task, as labels of a task of its own.

    Hinton et al., *Distilling the Knowledge in a Neural Network*, 2015. With the outputs
    $z^\text{teacher}$ of a teacher and $z$ of the student, the loss is

    * for classes, of rows, steps, pixels or positions, $T^2\, \mathrm{KL}(p \,\|\, q)$ with
      $p = \mathrm{softmax}(z^\text{teacher} / T)$ and $q = \mathrm{softmax}(z / T)$;
    * for yes or no, the same of two classes for each label;
    * for values (regression, depth, normals), the task's own loss with $z^\text{teacher}$ for a
      label;
    * for boxes, what `mtlzoo.tasks.soft_losses.of_detections` says.

    The factor $T^2$ keeps gradients of the same size whatever $T$ is.

    Args:
        of: The task that the teacher answers.
        temperature: T, positive; of no effect on kinds without classes. Defaults to 2.
        name: Name of the task. Defaults to that of `of` with `_soft`.

    Shapes:
        Labels and outputs as the outputs of `of`; NaN where the teacher has no answer.

    Raises:
        ValueError: If `of` is no task, `name` cannot name one, or `temperature` is not positive.

    Example:
    ```python
    from mtlzoo.tasks import Classification, SoftTargets

    task = SoftTargets(Classification("genre", num_classes=3), temperature=4.0)
    task.name  # 'genre_soft'
    task.read_labels([[2.0, -1.0, 0.5], [float("nan")] * 3]).present  # [True, False]
    ```

    References:
        Hinton et al., arXiv:1503.02531.

    *Differences from the paper*: the divergence in place of the cross-entropy, which is larger by
    the entropy of the teacher, a number that the student cannot change: 0 is a perfect student.
    """

    served = ()

    def __init__(self, of: Task, temperature: float = 2.0, name: str | None = None) -> None:
        if not isinstance(of, Task):
            raise ValueError(f"`of` should be a task. Received: of={of!r}")
        self.of = of
        super().__init__(f"{of.name}_soft" if name is None else name)
        self.temperature = check_temperature(of.name, temperature)
        self.loss_rank, self.loss_family = of.loss_rank, of.loss_family
        self.label_shape = self.output_shape = of.output_shape

    def default_loss(self) -> Any:
        """The distance that the kind of `of` has."""
        return self._distance

    def _distance(self, teacher, outputs):
        return self.of.soft_loss_values(teacher, outputs, self.temperature)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        of = keras.saving.serialize_keras_object(self.of)
        return {"of": of, "temperature": self.temperature, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SoftTargets":
        """A task with the arguments of `config`."""
        config = check_config(f"a `{cls.__name__}`", config, "of", "temperature", "name")
        config["of"] = keras.saving.deserialize_keras_object(config["of"])
        return cls(**config)


def check_temperature(task: str, temperature: Any) -> float:
    """A positive number.

    Args:
        task: The name of the task, for the message.
        temperature: What should be one.

    Raises:
        ValueError: If it is not.
    """
    is_number = isinstance(temperature, numbers.Real) and not isinstance(temperature, bool)
    if not is_number or not 0 < temperature < float("inf"):
        raise ValueError(
            f"`temperature` of task `{task}` should be a positive number. "
            f"Received: temperature={temperature!r}"
        )
    return float(temperature)
