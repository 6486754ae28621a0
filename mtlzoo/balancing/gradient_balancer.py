"""The balancers that need the Gramian of the task gradients."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.balancer import Balancer, check_level, check_task_axis, to_numbers


class GradientBalancer(Balancer):
    """A method that needs the Gramian of the task gradients: it turns (T, T) into T weights.

    The shared variables move along Σᵢ wᵢ ∇Lᵢ. A subclass writes
    `_weights(gramian, losses, present)`, which never sees a non-finite number: absent tasks and
    tasks without a finite gradient are out of `present`, with zeros in their rows and columns.

    Args:
        wrt: `"parameters"` for the gradients by the shared variables, `"features"` for those by the
            tensors where the shared part ends: one backward pass through it instead of T.
            Defaults to `"parameters"`.
        every: The weights are computed each `every`-th step and kept in between. Defaults to 1.

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

    needs = frozenset({"gramian"})
    # Whether the weights are a convex combination. Decides what equal weights are: 1/T or 1.
    convex: bool = False

    def __init__(self, *, wrt: str = "parameters", every: int = 1) -> None:
        check_level(wrt)
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(
                f"`every` should be an integer of at least 1. Received: `every={every!r}`"
            )
        self.wrt = wrt
        self.every = every

    def create_variables(self) -> None:
        """Which tasks were present when weights that are kept were computed, as 0 or 1."""
        if self.every > 1:
            self.refreshed = self.add_variable("refreshed", (len(self.task_names),), "zeros")

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
        if is_numpy:
            gramian = _to_array(gramian)
        gramian = ops.convert_to_tensor(gramian)
        self._check_gramian(gramian)
        dtype, shape = gramian.dtype, tuple(gramian.shape[:-1])
        if losses is not None:
            losses = ops.cast(to_numbers("losses", losses), dtype)
            check_task_axis("losses", losses.shape, shape[-1])
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


def _to_array(gramian: Any) -> Any:
    try:
        array = np.asarray(gramian)
    except ValueError:  # rows of different lengths
        array = None
    if array is None or array.dtype == object:
        raise ValueError(f"`gramian` should be a square array. Received: `gramian={gramian!r}`")
    return array
