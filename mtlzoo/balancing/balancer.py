"""The three kinds of balancer: from losses, from the Gramian, from the task gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo.balancing import GradientBalancer

    @keras.saving.register_keras_serializable(package="my_project")
    class UnitGradients(GradientBalancer):
        def _weights(self, gramian, losses, present):  # every task's gradient, scaled to length one
            return keras.ops.rsqrt(keras.ops.diagonal(gramian, axis1=-2, axis2=-1))

    UnitGradients().weights(np.diag([4.0, 1.0]))  # array([0.5, 1. ])
    ```
    """

    needs: frozenset[str] = frozenset()  # a subset of `NEEDS`, checked when the model is compiled
    built: bool = False
    task_names: tuple[str, ...] = ()
    loss_families: tuple[str, ...] = ()
    step: keras.Variable | None = None
    task_weights: keras.Variable | None = None
    _variables: Mapping[str, keras.Variable] = {}

    def build(self, tasks: Sequence[Any]) -> None:
        """Creates the state for `tasks`; does nothing to it when the names are those of last time.

        Args:
            tasks: Objects with `name` and `loss_family`, in sorted order of their names.

        Raises:
            ValueError: If the names are not sorted and unique, or there are none.
        """
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
                is the task axis.
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
        present = ops.cast(ops.convert_to_tensor(present), "bool")
        _check_task_axis("present", present.shape, shape[-1])
        return ops.broadcast_to(present, shape)


class LossBalancer(Balancer):
    """A method that needs the losses only: it turns T losses into one objective.

    The weight of a task is the derivative of the objective by its loss, so that one backward pass
    serves all tasks. A subclass writes `_objective(losses, present)`.
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
        losses = ops.convert_to_tensor(losses)
        if len(losses.shape) != 1:
            raise ValueError(
                f"`losses` should have one axis, the tasks. Received: `losses.shape={losses.shape}`"
            )
        _check_task_axis("losses", losses.shape, len(self.task_names) or losses.shape[0])
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


class GradientBalancer(Balancer):
    """A method that needs the Gramian of the task gradients: it turns (T, T) into T weights.

    The shared variables move along Σᵢ wᵢ ∇Lᵢ. A subclass writes
    `_weights(gramian, losses, present)`, which never sees a non-finite number: absent tasks and
    tasks without a finite gradient are out of `present`, with zeros in their rows and columns.

    Args:
        wrt: `"parameters"` for the gradients by the shared variables, `"features"` for those by the
            tensors where the shared part ends: one backward pass through it instead of T.
        every: The weights are computed each `every`-th step and kept in between.
    """

    needs = frozenset({"gramian"})
    # Whether the weights are a convex combination. Decides what equal weights are: 1/T or 1.
    convex: bool = False

    def __init__(self, *, wrt: str = "parameters", every: int = 1) -> None:
        _check_level(wrt)
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(
                f"`every` should be an integer of at least 1. Received: `every={every!r}`"
            )
        self.wrt = wrt
        self.every = every

    def weights(self, gramian: Any, losses: Any = None, present: Any = None) -> Any:
        """The tasks' weights.

        Works before `build` too, on a NumPy array or a tensor. One task alone, or one present, gets
        weight 1. Weights that cannot be made finite are replaced by equal ones.

        Args:
            gramian: (..., T, T) inner products of the task gradients, float32 or float64.
            losses: (..., T) losses, for methods whose `needs` has `"losses"`.
            present: (T,) or (..., T) booleans; None where all tasks are present. Absent tasks are
                left out: they get weight 0, and equal weights are shared among the others.

        Returns:
            (..., T) weights in the precision of `gramian`, NumPy for NumPy.

        Raises:
            ValueError: If a shape or the dtype does not fit.
        """
        is_numpy = not ops.is_tensor(gramian) and not isinstance(gramian, keras.Variable)
        gramian = ops.convert_to_tensor(np.asarray(gramian) if is_numpy else gramian)
        self._check_gramian(gramian)
        dtype, shape = gramian.dtype, tuple(gramian.shape[:-1])
        if losses is not None:
            losses = ops.cast(ops.convert_to_tensor(losses), dtype)
            _check_task_axis("losses", losses.shape, shape[-1])
        present = self._present(present, shape)

        finite = ops.isfinite(gramian)
        usable = ops.diagonal(finite, axis1=-2, axis2=-1)
        if present is not None:
            usable = ops.logical_and(usable, present)
        pairs = ops.logical_and(usable[..., :, None], usable[..., None, :])
        gramian = ops.where(ops.logical_and(pairs, finite), gramian, 0.0)
        ones = ops.cast(usable, dtype)
        count = ops.sum(ones, axis=-1, keepdims=True)
        equal = ones / ops.maximum(count, 1.0) if self.convex else ones
        if shape[-1] == 1:
            weights = equal
        else:
            weights = self._weights(gramian, losses, usable)
            solved = ops.all(ops.isfinite(weights), axis=-1, keepdims=True)
            weights = ops.where(ops.logical_and(solved, count > 1.0), weights * ones, equal)
        return ops.convert_to_numpy(weights) if is_numpy else weights

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} should define `_weights`.")

    def _check_gramian(self, gramian: Any) -> None:
        shape = tuple(gramian.shape)
        if len(shape) < 2 or shape[-1] is None or shape[-1] != shape[-2] or shape[-1] == 0:
            raise ValueError(
                "`gramian` should have the shape (..., T, T), with T known and at least 1. "
                f"Received: `gramian.shape={shape}`"
            )
        if self.built and shape[-1] != len(self.task_names):
            raise ValueError(
                f"`gramian` should have one row for each of the tasks {list(self.task_names)}. "
                f"Received: `gramian.shape={shape}`"
            )
        dtype = keras.backend.standardize_dtype(gramian.dtype)
        if dtype not in ("float32", "float64"):
            raise ValueError(
                f"`gramian` should be float32 or float64. Received: `gramian.dtype={dtype}`"
            )

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"wrt": self.wrt, "every": self.every}


class JacobianBalancer(Balancer):
    """A method that needs the task gradients themselves and combines them entry by entry.

    A subclass writes `_combine(jacobian, present)`. The rows of absent tasks, and of tasks whose
    gradient is not finite, are zero there and out of `present`.

    Args:
        wrt: `"parameters"` or `"features"`, as for `GradientBalancer`.
        every: Only 1. There are no T weights that could be kept for the next step, and the combined
            gradient of one batch is not the gradient of the next.
    """

    needs = frozenset({"jacobian"})

    def __init__(self, *, wrt: str = "parameters", every: int = 1) -> None:
        _check_level(wrt)
        if every != 1:
            raise ValueError(
                f"`every` should be 1 for {type(self).__name__}, which combines gradients entry by "
                f"entry: no weights to keep for the next step. Received: `every={every!r}`"
            )
        self.wrt = wrt
        self.every = every

    def combine(self, jacobian: Sequence[Any], present: Any = None) -> list[Any]:
        """The combined gradient of each shared variable.

        Args:
            jacobian: For each shared variable a tensor (T, *shape): a row per task.
            present: (T,) booleans; None where all tasks are present.

        Returns:
            For each shared variable a tensor (*shape). With one task present, its own gradient.

        Raises:
            ValueError: If the rows are not one per task.
        """
        jacobian = [ops.convert_to_tensor(rows) for rows in jacobian]
        if not jacobian:
            return []
        size = len(self.task_names) or jacobian[0].shape[0]
        for rows in jacobian:
            if len(rows.shape) < 1 or rows.shape[0] != size:
                raise ValueError(
                    f"`jacobian` should have {size} rows, one per task, for each variable. "
                    f"Received: a tensor of shape {tuple(rows.shape)}"
                )
        usable = self._present(present, (size,))
        for rows in jacobian:
            finite = ops.all(ops.isfinite(ops.reshape(rows, (size, -1))), axis=-1)
            usable = finite if usable is None else ops.logical_and(usable, finite)
        jacobian = [
            ops.where(ops.reshape(usable, (size,) + (1,) * (len(rows.shape) - 1)), rows, 0.0)
            for rows in jacobian
        ]
        alone = ops.sum(ops.cast(usable, "int32")) <= 1
        return [
            ops.where(alone, ops.sum(rows, axis=0), combined)
            for rows, combined in zip(jacobian, self._combine(jacobian, usable), strict=True)
        ]

    def _combine(self, jacobian: list[Any], present: Any) -> Iterable[Any]:
        raise NotImplementedError(f"{type(self).__name__} should define `_combine`.")

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"wrt": self.wrt, "every": self.every}


def _check_level(wrt: str) -> None:
    if wrt not in LEVELS:
        raise ValueError(f"`wrt` should be one of {list(LEVELS)}. Received: `wrt={wrt!r}`")


def _check_task_axis(name: str, shape: Sequence[int], size: int) -> None:
    if len(shape) < 1 or shape[-1] != size:
        raise ValueError(
            f"`{name}` should have {size} entries, one per task, in its last axis. "
            f"Received: `{name}.shape={tuple(shape)}`"
        )
