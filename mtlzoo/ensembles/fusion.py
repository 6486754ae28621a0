"""What a fusion is: a layer from the raw outputs of several models to one."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.ensembles.scales import Scale, scale_of
from mtlzoo.layers.policies import at_least_float32
from mtlzoo.tasks import Task
from mtlzoo.tasks.task import as_float

_BY_NAME: dict[str, type] = {}


class Fusion(keras.layers.Layer):
    r"""Base of all fusions: a Keras layer from the raw outputs of several models to one.

    What is given to `Ensemble` is a pattern, of which each task gets a copy of its own, named as
    the task. A subclass supplies `fuse`, for outputs on the scale of the task: logarithms of
    probabilities where there are classes, values elsewhere. For a scale of one's own, override
    `call` instead. Register the class with `keras.saving.register_keras_serializable`, and return
    the arguments of its `__init__` from `get_config`.

    Args:
        task: The task whose outputs are fused; `Ensemble` sets it. Defaults to `None`.
        **kwargs: Those of a Keras layer.

    Shapes:
        A list of raw outputs `(B,) + task.output_shape`, in the order of the models; the result has
        the shape of each.

    Example:
    ```python
    import keras
    import numpy as np
    from keras import ops
    from mtlzoo.ensembles import Fusion
    from mtlzoo.tasks import Regression

    @keras.saving.register_keras_serializable(package="mine")
    class Median(Fusion):
        def fuse(self, values):
            return ops.median(values, axis=0)

    median = Median().of(Regression("stay"))
    median(list(np.array([[[1.0]], [[2.0]], [[9.0]]])))  # [[2.]]
    ```
    """

    # What it needs of the scale of a task: classes, or values of which the larger is more.
    needs_classes: bool = False
    needs_order: bool = False
    # Whether it does something with the outputs of one model.
    fits_one: bool = False

    def __init__(self, task: Task | dict | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", at_least_float32())
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True
        self._task = keras.saving.deserialize_keras_object(task) if isinstance(task, dict) else task

    @property
    def task(self) -> Task:
        """The task whose outputs are fused."""
        if not isinstance(self._task, Task):
            raise ValueError(
                f"The fusion `{type(self).__name__}` should be that of a task: give it to an "
                f"`Ensemble`, or call `fusion.of(task)`. Received: task={self._task!r}"
            )
        return self._task

    @property
    def scale(self) -> Scale:
        """The scale of the task's raw outputs."""
        return scale_of(self.task)

    def of(
        self, task: Task, members: Sequence[int] | None = None, models: int | None = None
    ) -> "Fusion":
        """A copy for the outputs of one task, named as the task.

        Args:
            task: The task.
            members: Which of the models have the task, from 0. Defaults to None, for all.
            models: How many there are in all. Defaults to None, for what is not known.

        Raises:
            ValueError: If this fusion is not one for such a task.
        """
        self.check(task)
        config = {**self.get_config(), **self.config_for(task, members or [], models)}
        return type(self).from_config(
            {**config, "name": task.name, "task": task, "dtype": at_least_float32()}
        )

    def check(self, task: Task) -> None:
        """Refuse a task whose outputs cannot be fused so.

        Args:
            task: The task.

        Raises:
            ValueError: Naming task and fusion.
        """
        scale = scale_of(task)
        if self.needs_classes and scale.axis is None:
            raise ValueError(
                f"`fusion` of task `{task.name}` should be one of values, such as 'mean', since it "
                f"has no classes. Received: {type(self).__name__} for a {type(task).__name__}"
            )
        if self.needs_order and not scale.has_order:
            raise ValueError(
                f"`fusion` of task `{task.name}` should be a mean, since a larger raw value is not "
                f"more. Received: {type(self).__name__} for a {type(task).__name__}"
            )

    def config_for(self, task: Task, members: Sequence[int], models: int | None) -> dict[str, Any]:
        """What the config of the copy for a task has that this one's has not.

        Args:
            task: The task.
            members: Which of the models have the task, from 0; empty for all.
            models: How many there are in all, or `None`.
        """
        return {}

    def call(self, inputs: Any) -> Any:
        """The fused raw output; that of one model alone as it is."""
        outputs = list(inputs)
        if len(outputs) == 1 and not self.fits_one:
            return ops.cast(as_float(outputs[0]), self.compute_dtype)
        scale = self.scale
        values = ops.stack([ops.cast(scale.read(raw), self.compute_dtype) for raw in outputs])
        return scale.write(self.fused(values))

    def fused(self, values: Any) -> Any:
        """What `fuse` gives, or the values of one model as they are.

        Args:
            values: `(M, B, ...)`.
        """
        return values[0] if values.shape[0] == 1 and not self.fits_one else self.fuse(values)

    def fuse(self, values: Any) -> Any:
        """One tensor from those of all models, on the scale of the task.

        Args:
            values: `(M, B, ...)`.
        """
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape of each of the outputs."""
        return tuple(input_shape[0])

    def compute_output_spec(self, inputs: Any, **kwargs: Any) -> keras.KerasTensor:
        """That of each of the outputs, in float32 or float64."""
        return keras.KerasTensor(tuple(inputs[0].shape), self.compute_dtype)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: labels say what counts."""
        return None

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        config = super().get_config()
        config.pop("autocast", None)
        task = None if self._task is None else keras.saving.serialize_keras_object(self._task)
        return {**config, "task": task}


def named(name: str) -> Callable[[type], type]:
    """A decorator that gives a fusion a name for `get`.

    Args:
        name: The name.
    """

    def keep(fusion: type) -> type:
        _BY_NAME[name] = fusion
        return fusion

    return keep


def names() -> list[str]:
    """The names of all fusions that need no arguments.

    Example:
    ```python
    from mtlzoo import ensembles

    "majority_vote" in ensembles.names()  # True
    ```
    """
    return sorted(_BY_NAME)


def get(fusion: Any) -> Fusion:
    """A fusion by its name or its configuration; a fusion as it is.

    Args:
        fusion: One of `names()`, a `Fusion`, or the configuration of one.

    Raises:
        ValueError: For anything else.

    Example:
    ```python
    from mtlzoo import ensembles

    ensembles.get("mean")
    ```
    """
    if isinstance(fusion, dict):
        fusion = keras.saving.deserialize_keras_object(fusion)
    if isinstance(fusion, Fusion):
        return fusion
    if not isinstance(fusion, str) or fusion not in _BY_NAME:
        raise ValueError(
            f"`fusion` should be one of {names()}, or a `Fusion`. Received: fusion={fusion!r}"
        )
    return _BY_NAME[fusion]()
