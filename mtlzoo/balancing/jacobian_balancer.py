"""The balancers that need the task gradients themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_level, to_numbers
from mtlzoo.balancing.balancer import Balancer


class JacobianBalancer(Balancer):
    """A method that needs the task gradients themselves and combines them entry by entry.

    A subclass writes `_combine(jacobian, present)`. The rows of absent tasks, and of tasks whose
    gradient is not finite, are zero there and out of `present`.

    Args:
        wrt: `"parameters"` or `"features"`, as for `GradientBalancer`. Defaults to `"parameters"`.
        every: Only 1. There are no T weights that could be kept for the next step, and the combined
            gradient of one batch is not the gradient of the next. Defaults to 1.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo.balancing import JacobianBalancer

    @keras.saving.register_keras_serializable(package="my_project")
    class Unanimous(JacobianBalancer):  # entries move only where no task is against it
        def _combine(self, jacobian, present):
            for rows in jacobian:
                total = keras.ops.sum(rows, axis=0)
                agreed = keras.ops.all(rows * total >= 0, axis=0)
                yield keras.ops.where(agreed, total, 0.0)

    Unanimous().combine([np.array([[1.0, 1.0], [2.0, -3.0]])])  # [[3., 0.]]
    ```
    """

    needs = frozenset({"jacobian"})
    # Whether the method remembers something for each entry of the task gradients.
    keeps_rows: bool = False
    _places: Mapping[int, int] = {}
    _shapes: Sequence[tuple[int, ...]] = ()

    def keeps(self, variables: Sequence[keras.Variable]) -> bool:
        """Whether these are the shared variables of last time, or it does not matter."""
        return not self.keeps_rows or [id(v) for v in variables] == list(self._places)

    def see_variables(self, variables: Sequence[keras.Variable]) -> None:
        """Remembers the shared variables by their places.

        Args:
            variables: Those of `build`.
        """
        self._places = {id(v): place for place, v in enumerate(variables)}
        self._shapes = [tuple(v.shape) for v in variables]

    def add_rows(self, name: str) -> None:
        """Makes a variable (T, *shape) of zeros for each shared variable, `<name>_0` and so on.

        Args:
            name: What their names begin with.
        """
        for place, shape in enumerate(self._shapes):
            self.add_variable(f"{name}_{place}", (len(self.task_names), *shape), "zeros")

    def rows(self, name: str, which: Sequence[int]) -> list[Any]:
        """The values of `add_rows`, for the shared variables at these places.

        Args:
            name: That of `add_rows`.
            which: Places.
        """
        return [ops.convert_to_tensor(self._variables[f"{name}_{place}"]) for place in which]

    def __init__(self, *, wrt: str = "parameters", every: int = 1) -> None:
        check_level(wrt)
        if isinstance(every, bool) or not isinstance(every, int) or every != 1:
            raise ValueError(
                f"`every` should be 1 for {type(self).__name__}, which combines gradients entry by "
                f"entry: no weights to keep for the next step. Received: every={every!r}"
            )
        self.wrt = wrt
        self.every = every

    @property
    def gradient_part(self) -> JacobianBalancer:
        """This method."""
        return self

    def combine(self, jacobian: Sequence[Any], present: Any = None) -> list[Any]:
        """The combined gradient of each shared variable.

        Args:
            jacobian: For each shared variable a tensor (T, *shape): a row per task.
            present: (T,) booleans; None where all tasks are present.

        Returns:
            For each shared variable a tensor (*shape). With one task present, its own gradient; and
            the sum of all, where squares of theirs overflow.

        Raises:
            ValueError: If the rows are not one per task.
        """
        return self.advance(jacobian, present)[0]

    def advance(
        self,
        jacobian: Sequence[Any],
        present: Any = None,
        variables: Sequence[keras.Variable] | None = None,
    ) -> tuple[list[Any], dict[str, Any]]:
        """The combined gradient, and what the method remembers of this step.

        Args:
            jacobian: See `combine`, as the next.
            present: See `combine`.
            variables: The shared variables of `jacobian`, where they are not all of `build`.

        Returns:
            What `combine` returns, and values by variable name. A value that is not finite leaves
            the variable as it is, and so does a step with fewer than two tasks. `"task_weights"`
            stands for the weights, of methods with such; one task alone has weight 1.
        """
        if not isinstance(jacobian, list | tuple):
            raise ValueError(
                "`jacobian` should be a list with a tensor (T, *shape) for each variable. "
                f"Received: `jacobian={jacobian!r}`"
            )
        jacobian = [to_numbers("jacobian", rows) for rows in jacobian]
        if not jacobian:
            return [], {}
        size = len(self.task_names) or (*jacobian[0].shape, 1)[0]
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
        which = list(range(len(jacobian)))
        if variables is not None:
            which = [self._places[id(v)] for v in variables]
        found, state = self._advance(jacobian, usable, which)
        found = list(found)
        failed = ops.logical_not(ops.all([ops.all(ops.isfinite(one)) for one in found]))
        combined = [
            ops.where(ops.logical_or(alone, failed), ops.sum(rows, axis=0), one)
            for rows, one in zip(jacobian, found, strict=True)
        ]
        if "task_weights" in state:
            own = ops.cast(usable, state["task_weights"].dtype)
            state["task_weights"] = ops.where(alone, own, state["task_weights"])
        for name, value in state.items():
            old = self._variables[name]
            sound = ops.all(ops.isfinite(value))
            if name != "task_weights":
                sound = ops.logical_and(sound, ops.logical_not(alone))
            state[name] = ops.where(sound, ops.cast(value, old.dtype), old)
        return combined, state

    def _advance(
        self, jacobian: list[Any], present: Any, which: list[int]
    ) -> tuple[Iterable[Any], dict[str, Any]]:
        """The combination, and what a method that remembers something makes of its variables.

        `which` are the places of the shared variables among those of `build`.
        """
        return self._combine(jacobian, present), {}

    def _combine(self, jacobian: list[Any], present: Any) -> Iterable[Any]:
        raise NotImplementedError(f"{type(self).__name__} should define `_combine`.")

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"wrt": self.wrt, "every": self.every}
