"""MoDo: weights that follow the products of two independent samples of the gradients."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_positive
from mtlzoo.balancing.directions import product
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.simplex import move_on_simplex
from mtlzoo.layers.arguments import check_number


@keras.saving.register_keras_serializable(package="mtlzoo")
class MoDo(GradientBalancer):
    """Takes one small step towards the shortest mean of the gradients in each step of training.

    Chen, Fernando, Ying & Chen, *Three-Way Trade-Off in Multi-Objective Learning: Optimization,
    Generalization and Conflict-Avoidance*, NeurIPS 2023 and JMLR 25, 2024. With the gradients g and
    g' of two independent parts of the batch, M = ⟨gᵢ, g'ⱼ⟩ and Π the projection onto the simplex,

        λ ← Π(λ − learning_rate · (M λ + regularization · λ))

    and the update is Σᵢ λᵢ ∇Lᵢ with the new λ and the whole batch. M is not symmetric, and its
    expectation is the Gramian of the expected gradients; that of one batch would add the noise of
    the gradients to its diagonal. The weights are a **convex combination**: their sum is 1.

    The two parts are the rows with even and with odd places, which change their roles in each step.
    A task without labels in one of them has a product of zero in that step. A zero gradient does
    not move λ but by the regularization, and an absent task keeps its λ.

    Args:
        learning_rate: Positive number, γ of the paper; it is for squared gradient norms of about 1.
            Defaults to 0.1.
        regularization: Number of at least 0, ρ of the paper, which draws λ to equal weights.
            Defaults to 0.1.
        **options: `wrt`, which must be `"parameters"` (the parts have no row in common at which
            features could be compared), `every` and `groups`, see `GradientBalancer`.

    State: `lambda` (T,), 1/T at the start.

    Shapes: products (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import MoDo

    MoDo(regularization=0.0).weights(np.diag([1.0, 3.0]))  # array([0.55, 0.45])
    ```

    Differences from the paper:
        Both parts come out of one batch, each half as large, and the update is that of the whole
        batch; the authors' programs take the two parts for it, or a third one.
    """

    needs = frozenset({"gramian", "n_batches"})
    n_batches = 2
    averages = True

    def __init__(
        self,
        learning_rate: float = 0.1,
        regularization: float = 0.1,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        self.check_parameters_level()
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.regularization = check_number(
            "regularization", regularization, "a number of at least 0", 0.0
        )

    def create_variables(self) -> None:
        """Creates `lambda`."""
        size = len(self.task_names)
        start = keras.initializers.Constant(1.0 / size)
        self.multipliers = self.add_variable("lambda", (*self.lead, size), start)

    def _advance(self, gramian: Any, losses: Any, present: Any) -> tuple[Any, dict[str, Any]]:
        old = self._preferred(None, present, gramian.dtype)
        if self.built:
            old = ops.broadcast_to(ops.cast(self.multipliers, gramian.dtype), old.shape)
        slope = product(gramian, old) + self.regularization * old
        new, shares = move_on_simplex(old, self.learning_rate * slope, present)
        return shares, {"lambda": new} if self.built else {}

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "learning_rate": self.learning_rate,
            "regularization": self.regularization,
            **super().get_config(),
        }
