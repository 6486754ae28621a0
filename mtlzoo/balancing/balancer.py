"""What all balancers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import check_task_axis, to_numbers

NEEDS = frozenset({"losses", "gramian", "jacobian", "second_forward", "n_batches", "holdout"})


class Balancer:
    """What every balancing method has: a configuration, tasks, state and a step counter.

    A balancer is a plain Python object. The model calls `build` once with its tasks, asks for
    weights (or a combined gradient) in each training step, advances `step` after it, and calls
    `on_epoch_end` with the logs of each epoch. The state is saved with the model, by variable name.

    Methods are functions of their input and of the state, which they never assign: what a step
    learns is returned, as values by variable name, and the model keeps it if the step succeeded.

    Subclass `LossBalancer`, `GradientBalancer` or `JacobianBalancer`, register the class with
    `keras.saving.register_keras_serializable`, and return the arguments of `__init__` from
    `get_config`. Trainable state has the task axis first, so that the entries of an absent task can
    be left as they are.
    """

    needs: frozenset[str] = frozenset()  # a subset of `NEEDS`, checked when the model is compiled
    # How many independent parts of the batch it compares, of those that need `"n_batches"`: two, or
    # three with one for the update.
    n_batches: int = 1
    built: bool = False
    task_names: tuple[str, ...] = ()
    loss_families: tuple[str, ...] = ()
    step: keras.Variable = None  # made by `build`, as is the next
    task_weights: keras.Variable = None
    refreshed: keras.Variable = None  # of those that keep weights for several steps
    wrt: str = "parameters"  # what the gradients are taken by, of methods that need them
    every: int = 1  # steps between two computations of the weights
    weighs_heads: bool = False  # whether the weights multiply the gradients of the heads, too
    numbers_by_task: tuple[str, ...] = ()  # arguments that are, if given, dicts by task name
    _variables: Mapping[str, keras.Variable] = {}

    def build(self, tasks: Sequence[Any], variables: Sequence[keras.Variable] = ()) -> None:
        """Creates the state for `tasks`; does nothing to it when all is as it was last time.

        Args:
            tasks: Objects with `name` and `loss_family`, in sorted order of their names.
            variables: The model's shared variables, for methods that treat them apart. Defaults to
                none.

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
        kept = self.built and names == self.task_names and self.keeps(variables)
        self.see_variables(variables)
        if not kept:
            self.task_names = names
            for argument in self.numbers_by_task:
                given = getattr(self, argument)
                if isinstance(given, Mapping):
                    self._by_task(argument, given)
            self._variables = {}
            self.step = self.add_variable("step", (), "zeros", dtype="int")
            self.task_weights = self.add_variable("task_weights", (*self.lead, len(names)), "ones")
            self._create_kept()
            self.create_variables()
        for prefix, part in self.parts.items():
            part.built = part.built and kept
            part.build(tasks, variables)
            if not kept:
                part._share_step(self.step)
                inside = {f"{prefix}_{n}": v for n, v in part.state.items() if n != "step"}
                self._variables = {**self._variables, **inside}
        self.built = True

    def _share_step(self, step: keras.Variable) -> None:
        """Takes the step counter of the balancer that this one is part of, at any depth."""
        self.step = step
        for part in self.parts.values():
            part._share_step(step)

    @property
    def parts(self) -> Mapping[str, Balancer]:
        """The balancers that this one is made of, by the prefix of their variables' names."""
        return {}

    @property
    def whole(self) -> list[Balancer]:
        """This balancer and all those that it is made of, at any depth."""
        return [self, *(inner for part in self.parts.values() for inner in part.whole)]

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes of what is kept by task: none, or that of the variable groups."""
        return ()

    @property
    def phases(self) -> list[Balancer]:
        """The methods that are used one after the other: this one alone, or its parts."""
        return [self]

    def phase(self) -> int:
        """The place in `phases` of the method in use, read on the host."""
        return 0

    def named(self, part: Balancer, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the state of a part, or of this balancer itself, by the names in `state`.

        Args:
            part: This balancer or one of those that it is made of, at any depth.
            values: Values by the names in `part.state`.

        Raises:
            KeyError: If it is not made of `part`.
        """
        if part is self:
            return dict(values)
        for prefix, inner in self.parts.items():
            try:
                found = inner.named(part, values)
            except KeyError:
                continue
            return {f"{prefix}_{name}": value for name, value in found.items()}
        raise KeyError(part)

    def keeps(self, variables: Sequence[keras.Variable]) -> bool:
        """Whether the state is still right for these shared variables.

        Args:
            variables: Those of `build`.
        """
        return all(part.keeps(variables) for part in self.parts.values())

    def see_variables(self, variables: Sequence[keras.Variable]) -> None:
        """Looks at the shared variables, before `create_variables`: here, does nothing.

        Args:
            variables: Those of `build`.
        """

    def _create_kept(self) -> None:
        """Creates what methods need that keep weights for several steps."""

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
    def loss_part(self) -> Any:
        """What weighs the losses, heads included; None for a method of gradients alone."""
        return None

    @property
    def gradient_part(self) -> Any:
        """What balances the gradients by the shared variables; None for a method of losses."""
        return None

    @property
    def state(self) -> dict[str, keras.Variable]:
        """All state by the names under which it is saved, in order of creation."""
        return dict(self._variables)

    def check_built(self) -> None:
        """Refuses use before `build`, for methods that are nothing without their state.

        Raises:
            ValueError: If it has no tasks yet.
        """
        if not self.built:
            raise ValueError(
                f"`{type(self).__name__}` should be built with its tasks before it is used."
            )

    def check_parameters_level(self) -> None:
        """Refuses `wrt="features"`, for methods to which that would mean nothing.

        Raises:
            ValueError: If it was given.
        """
        if self.wrt != "parameters":
            raise ValueError(
                f"`wrt` should be 'parameters' for {type(self).__name__}. "
                f"Received: `wrt={self.wrt!r}`"
            )

    @property
    def variables(self) -> list[keras.Variable]:
        """All state, in order of creation."""
        return list(self._variables.values())

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The state that the model's optimizer trains."""
        return [variable for variable in self.variables if variable.trainable]

    def check_metrics(self, names: Mapping[str, Sequence[str]]) -> None:
        """Refuses metrics that an epoch's logs will not have; by default its parts do.

        Args:
            names: By task the names of its metrics.
        """
        for part in self.parts.values():
            part.check_metrics(names)

    def on_epoch_end(self, logs: Mapping[str, float]) -> None:
        """Reads the logs of a finished epoch, on the host; by default its parts do.

        Args:
            logs: The epoch's logs, with `"<task>_loss"` for every task.
        """
        for part in self.parts.values():
            part.on_epoch_end(logs)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Balancer:
        """A new, unbuilt balancer with these arguments."""
        return cls(**config)

    def __repr__(self) -> str:
        own = self.parts  # as they are, not as they are stored
        given = {k: own.get(k, v) for k, v in self.get_config().items() if v is not None}
        arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
        return f"{type(self).__name__}({arguments})"

    def _present(self, present: Any, shape: Sequence[int]) -> Any:
        """`present` as booleans of `shape` (..., T); None stays None."""
        if present is None:
            return None
        present = ops.cast(to_numbers("present", present), "bool")
        check_task_axis("present", present.shape, shape[-1])
        return ops.broadcast_to(present, shape)

    def _by_task(self, argument: str, given: Mapping[str, float]) -> np.ndarray:
        """The numbers of a dict by task name in the order of the tasks, float64.

        Raises:
            ValueError: If the names are not those of the tasks, or there are no tasks yet.
        """
        if not self.task_names:
            raise ValueError(
                f"`{type(self).__name__}` with `{argument}` should be built with its tasks before "
                "it is used."
            )
        if set(given) != set(self.task_names):
            raise ValueError(
                f"`{argument}` should have one entry for each of the tasks "
                f"{list(self.task_names)}. Received: `{argument}={given!r}`"
            )
        return np.array([given[name] for name in self.task_names], "float64")

    def _preferred(self, preference: Mapping[str, float] | None, present: Any, dtype: Any) -> Any:
        """The preference (..., T) among the tasks that are present, with the sum 1.

        Where all of them have a preference of 0, it is equal.
        """
        equal = ops.cast(present, dtype)
        wanted = equal
        if preference is not None:
            wanted = equal * ops.cast(self._by_task("preference", preference), dtype)
            none = ops.sum(wanted, axis=-1, keepdims=True) <= 0.0
            wanted = ops.where(none, equal, wanted)
        return ops.divide_no_nan(wanted, ops.sum(wanted, axis=-1, keepdims=True))
