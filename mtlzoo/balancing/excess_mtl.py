"""ExcessMTL: more weight for the tasks that are far from their best."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_positive
from mtlzoo.balancing.jacobian_balancer import JacobianBalancer
from mtlzoo.balancing.tracking import by_rows


@keras.saving.register_keras_serializable(package="mtlzoo")
class ExcessMTL(JacobianBalancer):
    """Weighs each task by an estimate of how far its loss is above the least it could be.

    He, Zhou, Zhang, Wang & Zhao, *Robust Multi-Task Learning with Excess Risks*, ICML 2024. With
    sᵢ the sum of the squared gradients of all steps so far, entry by entry,

        Eᵢ = Σ gᵢ² / √(sᵢ + 1e-7)     over the entries of the shared variables
        wᵢ ← wᵢ exp(learning_rate · Eᵢ / Eᵢ(0)),   then divided by their sum

    and the update is Σᵢ wᵢ ∇Lᵢ, **heads included**. Noise in a task's labels raises its loss, not
    its excess over the best that could be reached, so that it does not attract weight. The weights
    are a **convex combination**: their sum is 1.

    A task that is absent keeps what is known of it. A task whose gradient is zero at its first step
    gets its Eᵢ(0) at the first step with another one.

    Args:
        learning_rate: Positive number, the step size of the weights. Defaults to 0.01, as in
            the authors' program.
        wrt: Only `"parameters"`: the features of one batch are not those of the next. Defaults to
            `"parameters"`.
        every: Only 1, see `JacobianBalancer`. Defaults to 1.

    State: `weights` (T,), 1/T at the start, `initial_risk` (T,), and for each shared variable
    `squares_<i>` (T, *shape): **T times the size of the shared part**.

    Shapes: a list of (T, *shape) in, a list of (*shape) out.

    Raises:
        ValueError: If an argument is out of its range, or it is used before `build`.

    Example:
    ```python
    from mtlzoo.balancing import ExcessMTL

    ExcessMTL(learning_rate=0.1)
    ```

    Differences from the paper:
        Eᵢ(0) is that of the first step, as in the authors' program; the paper's appendix takes the
        mean of the first epochs. At that step the ratio is 1, so that the weights stay equal.
        The authors' program multiplies the weights by T.
    """

    keeps_rows = True
    weighs_heads = True

    def __init__(
        self, learning_rate: float = 0.01, *, wrt: str = "parameters", every: int = 1
    ) -> None:
        super().__init__(wrt=wrt, every=every)
        self.check_parameters_level()
        self.learning_rate = check_positive("learning_rate", learning_rate)

    def create_variables(self) -> None:
        """Creates `weights`, `initial_risk` and the sums of squares."""
        size = len(self.task_names)
        start = keras.initializers.Constant(1.0 / size)
        self.shares = self.add_variable("weights", (size,), start)
        self.initial_risk = self.add_variable("initial_risk", (size,), "zeros")
        self.add_rows("squares")

    def _advance(
        self, jacobian: list[Any], present: Any, which: list[int]
    ) -> tuple[list[Any], dict[str, Any]]:
        self.check_built()
        dtype = jacobian[0].dtype
        size = len(self.task_names)
        risk, state = ops.zeros(size, dtype), {}
        for place, old, rows in zip(which, self.rows("squares", which), jacobian, strict=True):
            squares = ops.square(rows)  # zero for absent tasks
            total = ops.cast(old, dtype) + squares
            state[f"squares_{place}"] = total
            found = squares / ops.sqrt(total + 1e-7)  # the constant is that of the paper's program
            risk = risk + ops.sum(ops.reshape(found, (size, -1)), axis=-1)
        initial = ops.cast(self.initial_risk, dtype)
        initial = ops.where(initial > 0.0, initial, risk)
        relative = ops.divide_no_nan(risk, initial)
        # In logarithms and below the largest, so that no risk, however large, overflows.
        old = ops.cast(self.shares, dtype)
        exponent = ops.log(ops.maximum(old, 1e-30)) + self.learning_rate * relative
        exponent = ops.where(present, exponent, -float("inf"))
        highest = ops.max(exponent, keepdims=True)
        powers = ops.exp(exponent - ops.where(ops.isfinite(highest), highest, 0.0))
        # The tasks that are present share what they had.
        of_present = ops.divide_no_nan(powers, ops.sum(powers))
        kept = ops.sum(ops.where(present, old, 0.0))
        state["weights"] = ops.where(present, kept * of_present, old)
        state["initial_risk"] = ops.where(present, initial, self.initial_risk)
        state["task_weights"] = of_present
        return [ops.sum(by_rows(of_present, rows) * rows, axis=0) for rows in jacobian], state

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"learning_rate": self.learning_rate, **super().get_config()}
