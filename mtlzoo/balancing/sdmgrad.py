"""SDMGrad: towards the shortest mean of the gradients, near a preferred one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_positive, check_preference
from mtlzoo.balancing.directions import product
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.simplex import nearest_on_simplex
from mtlzoo.layers.arguments import check_count, check_number, check_rate


@keras.saving.register_keras_serializable(package="mtlzoo")
class SDMGrad(GradientBalancer):
    """Seeks the shortest mean of the gradients plus a multiple of the preferred mean.

    Xiao, Ban & Ji, *Direction-oriented Multi-objective Learning: Simple and Provable Stochastic
    Algorithms*, NeurIPS 2023. With the gradients g and g' of two independent parts of the batch,
    M = ⟨gᵢ, g'ⱼ⟩ and the preference p,

        w ← Π(w − learning_rate · v),   v ← momentum · v + M (w + strength · p)

    `iterations` times from the w of the last step, with v from 0. M is in units of ‖M‖/√T, with
    Frobenius' norm and the T tasks present, so that M is the unit matrix for gradients at right
    angles and of one length, and noise, which only adds to the norm, cannot make the steps longer.
    The update is made of the gradients of a third part,

        Σᵢ (wᵢ + strength · pᵢ) / (1 + strength) ∇Lᵢ

    The weights are a **convex combination**: their sum is 1.

    Where the gradients of a part are mostly noise, about ten times as long as what they have in
    common, M is noise, too, and the inner steps follow it: w changes by about 1 in a step and often
    ends at a corner of the simplex. A small `learning_rate` or few `iterations` average over steps.

    The three parts are the rows with places 0, 1 and 2 modulo 3, which change their roles in each
    step. A task without labels in the first or the second has products of zero in that step, and
    moves nothing shared without labels in the third. A task's own variables learn from the whole
    batch.

    Args:
        preference: Dict by task name of numbers that are not negative; their sum is made 1.
            Defaults to `None`, all equal.
        strength: Number of at least 0, λ of the paper. Defaults to 0.3.
        learning_rate: Positive number, of the inner steps. Defaults to 1.
        momentum: From 0 to below 1, of the inner steps. Defaults to 0.5.
        iterations: Positive integer, the number of inner steps. Defaults to 20.
        **options: `wrt`, which must be `"parameters"` (the parts have no row in common at which
            features could be compared), `every` and `groups`, see `GradientBalancer`.

    State: `inner_weights` (T,), 1/T at the start.

    Shapes: products (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range, or `preference` does not name the tasks.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import SDMGrad

    SDMGrad(strength=0.0).weights(np.diag([1.0, 4.0]))  # about [0.8, 0.2]
    ```

    Differences from the paper:
        All parts come out of one batch, each a third as large. The defaults are those of the
        authors' experiments, but their `learning_rate` is 10: with that w jumps from one corner of
        the simplex to another, also where all parts are the same. The authors' program has the
        square of the mean root of M's diagonal for the unit: it has no root where noise made it
        negative, and is close to zero by chance.
    """

    numbers_by_task = ("preference",)

    needs = frozenset({"gramian", "n_batches"})
    n_batches = 3
    averages = True

    def __init__(
        self,
        preference: Mapping[str, float] | None = None,
        strength: float = 0.3,
        learning_rate: float = 1.0,
        momentum: float = 0.5,
        iterations: int = 20,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        self.check_parameters_level()
        self.preference = check_preference(preference)
        self.strength = check_number("strength", strength, "a number of at least 0", 0.0)
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.momentum = check_rate("momentum", momentum)
        self.iterations = check_count("iterations", iterations)

    def create_variables(self) -> None:
        """Creates `inner_weights`."""
        size = len(self.task_names)
        start = keras.initializers.Constant(1.0 / size)
        self.inner_weights = self.add_variable("inner_weights", (*self.lead, size), start)

    def _advance(self, gramian: Any, losses: Any, present: Any) -> tuple[Any, dict[str, Any]]:
        preferred = self._preferred(self.preference, present, gramian.dtype)
        old = self._preferred(None, present, gramian.dtype)
        if self.built:
            old = ops.broadcast_to(ops.cast(self.inner_weights, gramian.dtype), old.shape)
        count = ops.sum(ops.cast(present, gramian.dtype), axis=-1)[..., None, None]
        # Relative to the largest first, so that no square overflows.
        largest = ops.max(ops.abs(gramian), axis=(-2, -1), keepdims=True)
        products = ops.divide_no_nan(gramian, largest)
        square = ops.sum(ops.square(products), axis=(-2, -1), keepdims=True)
        products = products * ops.sqrt(ops.divide_no_nan(count, square))

        def step(weights: Any, velocity: Any) -> tuple[Any, Any]:
            mean = weights + self.strength * preferred
            velocity = self.momentum * velocity + product(products, mean)
            return nearest_on_simplex(weights - self.learning_rate * velocity, present), velocity

        # Absent tasks keep their weights, and the others share the rest.
        total = ops.sum(ops.where(present, old, 0.0), axis=-1, keepdims=True)
        start = ops.where(present, ops.divide_no_nan(old, total), 0.0)
        new, _ = ops.fori_loop(
            0, self.iterations, lambda _, carry: step(*carry), (start, ops.zeros_like(old))
        )
        weights = (new + self.strength * preferred) / (1.0 + self.strength)
        if not self.built:
            return weights, {}
        return weights, {"inner_weights": ops.where(present, total * new, old)}

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "preference": self.preference,
            "strength": self.strength,
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "iterations": self.iterations,
            **super().get_config(),
        }
