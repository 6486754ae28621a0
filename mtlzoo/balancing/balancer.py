"""What all balancers share, and the balancers that need the losses only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

NEEDS = frozenset({"losses", "gramian", "jacobian", "second_forward", "n_batches", "holdout"})
LEVELS = ("parameters", "features")


class Balancer:
    """What every balancing method has: a configuration, tasks, state and a step counter.

    A balancer is a plain Python object. The model calls `build` once with its tasks, asks for
    weights (or a combined gradient) in each training step, advances `step` after it, and calls
    `on_epoch_end` with the logs of each epoch. The state is saved with the model, by variable name.

    Subclass `LossBalancer`, `GradientBalancer` or `JacobianBalancer`, register the class with
    `keras.saving.register_keras_serializable`, and return the arguments of `__init__` from
    `get_config`. Trainable state has the task axis first, so that the entries of an absent task can
    be left as they are.
    """

    needs: frozenset[str] = frozenset()  # a subset of `NEEDS`, checked when the model is compiled
    built: bool = False
    task_names: tuple[str, ...] = ()
    loss_families: tuple[str, ...] = ()
    step: keras.Variable = None  # made by `build`, as is the next
    task_weights: keras.Variable = None
    refreshed: keras.Variable = None  # of those that keep weights for several steps
    _variables: Mapping[str, keras.Variable] = {}

    def build(self, tasks: Sequence[Any]) -> None:
        """Creates the state for `tasks`; does nothing to it when the names are those of last time.

        Args:
            tasks: Objects with `name` and `loss_family`, in sorted order of their names.

        Raises:
            ValueError: If the names are not sorted and unique, or there are none.
        """
        if not isinstance(tasks, list | tuple) or not all(hasattr(task, "name") for task in tasks):
            raise ValueError(f"`tasks` should be a list of tasks. Received: `tasks={tasks!r}`")
        names = tuple(task.name for task in tasks)
        if not names or list(names) != sorted(set(names)):
            raise ValueError(
                "`tasks` should be a non-empty sequence in sorted order of unique names. "
                f"Received: `tasks` named {list(names)}"
            )
        self.loss_families = tuple(task.loss_family for task in tasks)
        if self.built and names == self.task_names:
            return
        self.task_names = names
        self._variables = {}
        self.step = self.add_variable("step", (), "zeros", dtype="int")
        self.task_weights = self.add_variable("task_weights", (len(names),), "ones")
        self.create_variables()
        self.built = True

    def create_variables(self) -> None:
        """Creates what a method remembers between steps, with `add_variable`: nothing here."""

    def add_variable(
        self,
        name: str,
        shape: Sequence[int],
        initializer: Any,
        trainable: bool = False,
        dtype: str | None = None,
    ) -> keras.Variable:
        """Makes a variable that is saved under `name` and is the same on every replica.

        Args:
            name: Unique within this balancer; the key under which the value is saved.
            shape: Shape of the variable.
            initializer: A Keras initializer, or its name.
            trainable: Whether the model's optimizer trains it on the objective. Then the first axis
                is the task axis. Defaults to `False`.
            dtype: Defaults to `keras.config.floatx()`.

        Raises:
            ValueError: If the name is taken.
        """
        if name in self._variables:
            raise ValueError(f"`name` should be new in this balancer. Received: `name={name!r}`")
        # Replicas compute the same value from reduced tensors. With Keras's default each would keep
        # its own, and a mistake would go unseen.
        variable = keras.Variable(
            keras.initializers.get(initializer),
            shape=tuple(shape),
            dtype=dtype,
            trainable=trainable,
            aggregation="only_first_replica",
            name=name,
        )
        self._variables = {**self._variables, name: variable}
        return variable

    @property
    def variables(self) -> list[keras.Variable]:
        """All state, in order of creation."""
        return list(self._variables.values())

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The state that the model's optimizer trains."""
        return [variable for variable in self.variables if variable.trainable]

    def on_epoch_end(self, logs: Mapping[str, float]) -> None:
        """Reads the logs of a finished epoch, on the host; by default does nothing.

        Args:
            logs: The epoch's logs, with `"<task>_loss"` for every task.
        """

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Balancer:
        """A new, unbuilt balancer with these arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"

    def _present(self, present: Any, shape: Sequence[int]) -> Any:
        """`present` as booleans of `shape` (..., T); None stays None."""
        if present is None:
            return None
        present = ops.cast(to_numbers("present", present), "bool")
        check_task_axis("present", present.shape, shape[-1])
        return ops.broadcast_to(present, shape)


class LossBalancer(Balancer):
    """A method that needs the losses only: it turns T losses into one objective.

    The weight of a task is the derivative of the objective by its loss, so that one backward pass
    serves all tasks. A subclass writes `_objective(losses, present)`; where a task is absent, its
    loss is 1 there.

    Example:
    ```python
    import keras
    from mtlzoo.balancing import LossBalancer

    @keras.saving.register_keras_serializable(package="my_project")
    class SumOfRoots(LossBalancer):  # the larger a loss, the smaller its task's weight
        def _objective(self, losses, present):
            return keras.ops.sum(keras.ops.where(present, keras.ops.sqrt(losses), 0.0))

    float(SumOfRoots().objective([4.0, 9.0, 1.0], present=[True, True, False]))  # 5.0
    ```
    """

    needs = frozenset({"losses"})

    def objective(self, losses: Any, present: Any = None) -> Any:
        """The scalar to be minimised.

        Args:
            losses: (T,) losses in the order of `task_names`.
            present: (T,) booleans; None where all tasks are present. An absent task contributes
                nothing and its derivative is zero, whatever stands in its place.

        Returns:
            A scalar, differentiable in `losses` and in `trainable_variables`.
        """
        losses = to_numbers("losses", losses)
        if len(losses.shape) != 1:
            raise ValueError(
                f"`losses` should have one axis, the tasks. Received: `losses.shape={losses.shape}`"
            )
        check_task_axis("losses", losses.shape, len(self.task_names) or losses.shape[0])
        present = self._present(present, losses.shape)
        if present is None:
            present = np.ones(losses.shape, bool)
        else:
            # A method may divide by a loss or take its logarithm. One is harmless there, and the
            # constant has no derivative.
            losses = ops.where(present, losses, ops.ones_like(losses))
        return self._objective(losses, present)

    def _objective(self, losses: Any, present: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} should define `_objective`.")


def to_numbers(name: str, given: Any) -> Any:
    """`given` as a tensor of numbers or booleans."""
    try:
        tensor = ops.convert_to_tensor(given)
        dtype = keras.backend.standardize_dtype(tensor.dtype)
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or dtype == "string" or dtype.startswith("complex"):
        raise ValueError(f"`{name}` should be numbers. Received: `{name}={given!r}`")
    return tensor


def check_level(wrt: str) -> None:
    if wrt not in LEVELS:
        raise ValueError(f"`wrt` should be one of {list(LEVELS)}. Received: `wrt={wrt!r}`")


def check_task_axis(name: str, shape: Sequence[int], size: int) -> None:
    if len(shape) < 1 or shape[-1] != size:
        raise ValueError(
            f"`{name}` should have {size} entries, one per task, in its last axis. "
            f"Received: `{name}.shape={tuple(shape)}`"
        )
