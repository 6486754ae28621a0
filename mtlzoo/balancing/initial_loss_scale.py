"""Losses in units of what they were at the start."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.logarithms import LEAST
from mtlzoo.balancing.loss_balancer import LossBalancer


@keras.saving.register_keras_serializable(package="mtlzoo")
class InitialLossScale(LossBalancer):
    """Divides each loss by the first one of its task.

        objective = Σᵢ Lᵢ / Lᵢ(0)

    over the tasks present in the batch: the **sum** of what is left of each loss. Lᵢ(0) is the
    task's loss in the first step in which it is present, so that its term is 1 in that step,
    whenever that is; and a loss above 1e-20, so that a step without one is not the first. The
    ratio Lᵢ(t)/Lᵢ(0) is that of Chen et al., *GradNorm: Gradient Normalization for Adaptive Loss
    Balancing in Deep Multitask Networks*, ICML 2018. The first batch decides for the whole
    training, and a small one makes Lᵢ(0) a matter of chance.

    State: `initial` (T,), Lᵢ(0), 0 if unknown.

    Raises:
        ValueError: If it is used before `build`.

    Example:
    ```python
    from types import SimpleNamespace
    from mtlzoo.balancing import InitialLossScale

    balancer = InitialLossScale()
    balancer.build([SimpleNamespace(name=n, loss_family="regression") for n in ("a", "b")])
    float(balancer.objective([200.0, 0.5]))  # 2.0
    ```

    Differences from the paper:
        It has none of its own; the ratio is GradNorm's, which weighs by gradients.
    """

    def create_variables(self) -> None:
        """Creates `initial`."""
        self.initial = self.add_variable("initial", (len(self.task_names),), "zeros")

    def advance(self, losses: Any, present: Any = None) -> dict[str, Any]:
        """The first losses, with those of tasks that have none yet.

        Args:
            losses: (T,) losses.
            present: (T,) booleans; None where all tasks are present.
        """
        first = self._first(losses)
        if present is not None:
            first = ops.where(present, first, ops.cast(self.initial, first.dtype))
        return {"initial": first}

    def _objective(self, losses: Any, present: Any) -> Any:
        self.check_built()
        first = self._first(losses)
        # A loss that is not above the least has no scale yet, and weight 1 meanwhile.
        scale = ops.where(first > 0.0, first, 1.0)
        return ops.sum(ops.where(present, losses / scale, 0.0))

    def _first(self, losses: Any) -> Any:
        """The first loss of each task, this one if there was none before it; 0 if unknown."""
        losses = ops.stop_gradient(ops.convert_to_tensor(losses))
        known = ops.cast(self.initial, losses.dtype)
        usable = ops.logical_and(losses > LEAST, ops.isfinite(losses))
        return ops.where(known > 0.0, known, ops.where(usable, losses, 0.0))
