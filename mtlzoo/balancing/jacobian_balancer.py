"""The balancers that need the task gradients themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from keras import ops

from mtlzoo.balancing.balancer import Balancer, check_level, to_numbers


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

    def __init__(self, *, wrt: str = "parameters", every: int = 1) -> None:
        check_level(wrt)
        if isinstance(every, bool) or not isinstance(every, int) or every != 1:
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
        if not isinstance(jacobian, list | tuple):
            raise ValueError(
                "`jacobian` should be a list with a tensor (T, *shape) for each variable. "
                f"Received: `jacobian={jacobian!r}`"
            )
        jacobian = [to_numbers("jacobian", rows) for rows in jacobian]
        if not jacobian:
            return []
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
        return [
            ops.where(alone, ops.sum(rows, axis=0), combined)
            for rows, combined in zip(jacobian, self._combine(jacobian, usable), strict=True)
        ]

    def _combine(self, jacobian: list[Any], present: Any) -> Iterable[Any]:
        raise NotImplementedError(f"{type(self).__name__} should define `_combine`.")

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"wrt": self.wrt, "every": self.every}
