"""FairGrad: fair shares of progress."""

from __future__ import annotations

import math
from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.arguments import is_number
from mtlzoo.balancing.bargaining import fair_weights
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options


@keras.saving.register_keras_serializable(package="mtlzoo")
class FairGrad(GradientBalancer):
    """Shares progress among the tasks as α-fairness shares a resource among its users.

    Ban & Ji, *Fair Resource Allocation in Multi-Task Learning*, ICML 2024. The weights are the
    solution w > 0 of

        G w = w^(−1/α),   so that   gᵢ·Σⱼ wⱼ gⱼ = wᵢ^(−1/α) > 0:   every task makes progress.

    With α = 1 it is proportional fairness, the bargain of `NashMTL`; with more, those who gain
    least count more; with α = 0 all weights are 1. The weights are those of a **sum**, but of
    gradients that are c times as long they are c^(−2α/(1+α)) times as large. With α = 1 the update
    of T gradients has the length √T, whatever theirs.

    Where a weighted mean of the gradients is zero there is no solution: then the weights are those
    of a slightly changed Gramian, large but finite, and the update is zero but for rounding. A
    zero gradient is left out, and has the mean weight of the others.

    The weights are computed in float64 and returned in the precision of the Gramian. With a large
    alpha, a task that gains much from the others' gradients can have a weight that float32 rounds
    to 0: that moves neither the update nor any task's gain by more than rounding.

    Args:
        alpha: Number from 0 to 100. Defaults to 1.0.
        **options: `wrt`, `every` and `groups`, see `GradientBalancer`.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import FairGrad

    FairGrad().weights(np.diag([1.0, 4.0]))  # array([1. , 0.5])
    ```

    Differences from the paper:
        The authors' code finds the weights by SciPy's bounded least squares on the equation, which
        may end early; here they are the minimum of a convex function, exact to rounding. With
        α = 0 the paper has the mean, of which this is T times.
    """

    def __init__(self, alpha: float = 1.0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        # Beyond these, the powers of usual lengths overflow, or are all one.
        if not (is_number(alpha) and (alpha == 0 or 0.01 <= alpha <= 100.0)) or math.isnan(alpha):
            raise ValueError(
                f"`alpha` should be 0, or a number from 0.01 to 100. Received: `alpha={alpha!r}`"
            )
        self.alpha = float(alpha)

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        if self.alpha == 0.0:
            return ops.cast(present, gramian.dtype)
        weights = fair_weights(gramian, 1.0 / self.alpha, present)
        return ops.cast(weights, gramian.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"alpha": self.alpha, **super().get_config()}
