"""MoCo: weights from gradients that are tracked over the steps."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_positive
from mtlzoo.balancing.directions import product
from mtlzoo.balancing.jacobian_balancer import JacobianBalancer
from mtlzoo.balancing.simplex import move_on_simplex
from mtlzoo.balancing.tracking import by_rows, products, track
from mtlzoo.layers.arguments import check_number


@keras.saving.register_keras_serializable(package="mtlzoo")
class MoCo(JacobianBalancer):
    """Tracks each task's gradient over the steps, and moves along a mean of the tracked ones.

    Fernando, Shen, Liu, Chaudhury, Murugesan & Chen, *Mitigating Gradient Bias in Multi-objective
    Learning: A Provably Convergent Approach*, ICLR 2023. At step k, with Π the projection onto the
    simplex,

        yᵢ ← yᵢ − tracking / k^power · (yᵢ − ∇Lᵢ)
        λ ← Π(λ − learning_rate / k^power · (Y Yᵀ + regularization · I) λ)

    and the update is Σᵢ λᵢ yᵢ, with the new values of both. The weights are a **convex
    combination**: their sum is 1. What y averages out is the noise of the batches, which biases the
    λ of a single one.

    A task that is absent keeps its yᵢ and its λᵢ, and has no part in the update.

    Args:
        tracking: From above 0 to 1, β of the paper. Defaults to 0.5.
        learning_rate: Positive number, γ of the paper; it is for squared gradient norms of about 1.
            Defaults to 0.1.
        regularization: Number of at least 0, ρ of the paper. Defaults to 0.
        power: Number of at least 0, by which both decay with the steps. Defaults to 0.5.
        wrt: Only `"parameters"`: the features of one batch are not those of the next. Defaults to
            `"parameters"`.
        every: Only 1, see `JacobianBalancer`. Defaults to 1.

    State: `lambda` (T,), 1/T at the start, `seen` (T,), `count`, the k, and for each shared
    variable `tracked_<i>` (T, *shape): **T times the size of the shared part**.

    Shapes: a list of (T, *shape) in, a list of (*shape) out.

    Raises:
        ValueError: If an argument is out of its range, or it is used before `build`.

    Example:
    ```python
    from mtlzoo.balancing import MoCo

    MoCo(learning_rate=0.05)
    ```

    Differences from the paper:
        yᵢ begins with the task's first gradient, not with zeros. The authors' program also makes
        each gradient as long as its task's loss and replaces the projection by a softmax; neither
        is in the paper's algorithm, nor here.
    """

    keeps_rows = True

    def __init__(
        self,
        tracking: float = 0.5,
        learning_rate: float = 0.1,
        regularization: float = 0.0,
        power: float = 0.5,
        *,
        wrt: str = "parameters",
        every: int = 1,
    ) -> None:
        super().__init__(wrt=wrt, every=every)
        self.check_parameters_level()
        self.tracking = check_positive("tracking", tracking)
        if tracking > 1:
            raise ValueError(f"`tracking` should be at most 1. Received: `tracking={tracking!r}`")
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.regularization = check_number(
            "regularization", regularization, "a number of at least 0", 0.0
        )
        self.power = check_number("power", power, "a number of at least 0", 0.0)

    def create_variables(self) -> None:
        """Creates `lambda`, `seen`, `count` and the tracked gradients."""
        size = len(self.task_names)
        start = keras.initializers.Constant(1.0 / size)
        self.multipliers = self.add_variable("lambda", (size,), start)
        self.seen = self.add_variable("seen", (size,), "zeros")
        self.count = self.add_variable("count", (), "zeros")
        self.add_rows("tracked")

    def _advance(
        self, jacobian: list[Any], present: Any, which: list[int]
    ) -> tuple[list[Any], dict[str, Any]]:
        self.check_built()
        dtype = jacobian[0].dtype
        decay = ops.cast(self.count + 1.0, dtype) ** -self.power
        tracked, state = track(self, jacobian, present, which, 1.0 - self.tracking * decay)
        gramian = products(tracked)
        old = ops.cast(self.multipliers, dtype)
        slope = product(gramian, old) + self.regularization * old
        new, shares = move_on_simplex(old, self.learning_rate * decay * slope, present)
        state["lambda"] = new
        state["count"] = self.count + 1.0
        state["task_weights"] = shares
        return [ops.sum(by_rows(shares, rows) * rows, axis=0) for rows in tracked], state

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "tracking": self.tracking,
            "learning_rate": self.learning_rate,
            "regularization": self.regularization,
            "power": self.power,
            **super().get_config(),
        }
