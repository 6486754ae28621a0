"""DB-MTL: logarithms of the losses, and gradients of one length."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.combined import Combined
from mtlzoo.balancing.jacobian_balancer import JacobianBalancer
from mtlzoo.balancing.scale_invariant import ScaleInvariant
from mtlzoo.balancing.tracking import by_rows, products, track
from mtlzoo.layers.arguments import check_number, check_rate


@keras.saving.register_keras_serializable(package="mtlzoo")
class DBMTL(Combined):
    """Takes the logarithm of each loss, and makes all tracked gradients as long as the longest.

    Lin, Jiang, Ye, Zhang, Chen, Chen, Liu & Kwok, *Dual-Balancing for Multi-Task Learning*, 2023.
    At step k,

        ĝᵢ ← dₖ ĝᵢ + (1 − dₖ) ∇ log Lᵢ,   dₖ = decay / k^power
        Δθ ∝ Σᵢ maxⱼ|ĝⱼ| / |ĝᵢ| · ĝᵢ

    for the shared variables; a task's own ones follow ∇ log Lᵢ. The update is a **sum** of T
    gradients as long as the longest: neither the unit of a loss nor the length of a gradient
    decides.

    A zero ĝᵢ has no direction and adds nothing. An absent task keeps its ĝᵢ, and has no part in the
    update.

    Args:
        decay: From 0 (only this step's gradients) to below 1. Defaults to 0.9.
        power: Number of at least 0, by which the decay falls with the steps. Defaults to 0.5.

    State: `gradients_seen` (T,), `gradients_count`, the k, and for each shared variable
    `gradients_tracked_<i>` (T, *shape): **T times the size of the shared part**.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    from mtlzoo.balancing import DBMTL

    DBMTL(decay=0.5)
    ```

    Differences from the paper:
        ĝᵢ begins with the task's first gradient, not with zeros. A loss of at most 1e-8 has weight
        0 (see `ScaleInvariant`), where the paper adds 1e-8 to all.
    """

    def __init__(self, decay: float = 0.9, power: float = 0.5) -> None:
        super().__init__(ScaleInvariant(), LongestNorm(decay, power))
        self.decay = decay
        self.power = power

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"decay": self.decay, "power": self.power}


@keras.saving.register_keras_serializable(package="mtlzoo")
class LongestNorm(JacobianBalancer):
    """Tracks the gradients, and makes each as long as the longest: a part of `DBMTL`."""

    keeps_rows = True

    def __init__(self, decay: float, power: float) -> None:
        super().__init__()
        self.decay = check_rate("decay", decay)
        self.power = check_number("power", power, "a number of at least 0", 0.0)

    def create_variables(self) -> None:
        """Creates `seen`, `count` and the tracked gradients."""
        self.count = self.add_variable("count", (), "zeros")
        self.seen = self.add_variable("seen", (len(self.task_names),), "zeros")
        self.add_rows("tracked")

    def _advance(
        self, jacobian: list[Any], present: Any, which: list[int]
    ) -> tuple[list[Any], dict[str, Any]]:
        self.check_built()
        dtype = jacobian[0].dtype
        decay = self.decay * ops.cast(self.count + 1.0, dtype) ** -self.power
        tracked, state = track(self, jacobian, present, which, decay)
        lengths = ops.sqrt(ops.relu(ops.diagonal(products(tracked))))
        lengths = ops.where(present, lengths, 0.0)
        weights = ops.divide_no_nan(ops.max(lengths), lengths)
        state["count"] = self.count + 1.0
        state["task_weights"] = weights
        return [ops.sum(by_rows(weights, rows) * rows, axis=0) for rows in tracked], state

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"decay": self.decay, "power": self.power}
