"""The balancers that need the losses only."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import check_task_axis, to_numbers
from mtlzoo.balancing.balancer import Balancer


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

    @property
    def loss_part(self) -> LossBalancer:
        """This method."""
        return self

    def advance(self, losses: Any, present: Any = None) -> dict[str, Any]:
        """What the method remembers of this step, by variable name: here, nothing.

        Args:
            losses: (T,) losses, those of `objective`.
            present: (T,) booleans; None where all tasks are present.
        """
        return {}

    def after_update(self, before: Any, after: Any, present: Any = None) -> dict[str, Any]:
        """What the method learns from the losses after the update of the model, by variable name.

        It is called if `needs` has `"second_forward"`: one more forward pass on the same batch.

        Args:
            before: (T,) losses before the update, those of `objective`.
            after: (T,) losses after it.
            present: (T,) booleans; None where all tasks are present.
        """
        return {}

    def after_holdout(self, agreement: Any, present: Any = None) -> dict[str, Any]:
        """What the method learns from held-out rows after the update, by variable name.

        It is called if `needs` has `"holdout"`: half of the rows of each batch are then held out.

        Args:
            agreement: (T,) inner products of each task's gradient by the training rows, before the
                update, with the gradient of the held-out losses after it.
            present: (T,) booleans, which tasks have training labels; None for all.
        """
        return {}

    def held_out_weights(self) -> Any:
        """The factors (T,) of the held-out losses in their sum: here, ones."""
        return ops.ones(len(self.task_names))

    def objective(self, losses: Any, present: Any = None) -> Any:
        """The scalar to be minimised.

        Args:
            losses: (T,) losses in the order of `task_names`.
            present: (T,) booleans; None where all tasks are present. An absent task contributes
                nothing and its derivative is zero, whatever stands in its place.

        Returns:
            A scalar in float64 or float32, differentiable in `losses` and in `trainable_variables`.
        """
        losses = to_numbers("losses", losses)
        if len(losses.shape) != 1:
            raise ValueError(
                f"`losses` should have one axis, the tasks. Received: `losses.shape={losses.shape}`"
            )
        check_task_axis("losses", losses.shape, len(self.task_names) or losses.shape[0])
        if keras.backend.standardize_dtype(losses.dtype) != "float64":
            losses = ops.cast(losses, "float32")  # half precision, or integers
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
