"""Priority-constrained descent: one task leads, and the others are not to be forgotten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import is_number
from mtlzoo.balancing.directions import in_unit_lengths
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.quadratic import direction_of, shortest_step
from mtlzoo.layers.arguments import check_number, check_rate


@keras.saving.register_keras_serializable(package="mtlzoo")
class PCD(GradientBalancer):
    """Follows one task's gradient as closely as the progress of all others allows.

    Varam & AlHajri, *Not All Objectives Are Born Equal: Priority-Constrained Descent for
    Hierarchical Multi-Objective Optimization*, Transactions on Machine Learning Research 2026. With
    g̃ᵢ = gᵢ / √(vᵢ + epsilon), where vᵢ is a moving average of |gᵢ|², and g₁ that of `primary`,

        d̃ = argmin |y − g̃₁|²   over   y with g̃ⱼ·y ≥ τⱼ |g̃ⱼ|² for all j but 1
        d = d̃ |g₁| / |d̃|

    The update is **as long as the primary gradient**, however many tasks there are. How long the
    others are does not matter, only their directions do. Each of them gets at least the fraction τⱼ
    of the progress that a step along its own normalised gradient makes (before d̃ is scaled). Where
    no y does that for all, the update is the primary gradient. If that is zero, or d̃ is, so is the
    update. Another task's zero gradient gives no condition. A batch without the primary task has
    nothing to follow: the update is the mean of the gradients that are there.

    Args:
        primary: Name of the task that leads.
        tau: Number from 0 to 1, or a dict of such by the names of the other tasks. Defaults to
            0.02.
        beta: Number from 0 to below 1, how much of the moving averages stays in a step. Defaults to
            0.999.
        epsilon: Number of at least 0, added to the averages. Defaults to 1e-8.
        **options: `wrt`, `every` and `groups`, see `GradientBalancer`.

    State: `mean_squares` (T,), the averages vᵢ, and `updates` (T,), of how many steps; with
        `groups`, both have them as first axis. An absent task's entries stay as they are.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range, a name is not that of a task, or it is used
            before `build`.

    Example:
    ```python
    from types import SimpleNamespace
    import numpy as np
    from mtlzoo.balancing import PCD

    balancer = PCD("buy", tau=0.0)
    balancer.build([SimpleNamespace(name=n, loss_family="regression") for n in ("buy", "click")])
    balancer.weights(np.array([[4.0, -1.0], [-1.0, 1.0]]))  # about [1.15, 1.15]
    ```

    Differences from the paper:
        The averages of an absent task do not move, and the paper says nothing of absent tasks. Its
        program tries all sets of conditions; here the right one is found directly.
    """

    averages = True

    def __init__(
        self,
        primary: str,
        tau: float | Mapping[str, float] = 0.02,
        beta: float = 0.999,
        epsilon: float = 1e-8,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        if not isinstance(primary, str) or not primary:
            raise ValueError(
                f"`primary` should be the name of a task. Received: `primary={primary!r}`"
            )
        values = list(tau.values()) if isinstance(tau, Mapping) else [tau]
        if not all(is_number(value) and 0 <= value <= 1 for value in values):
            raise ValueError(
                "`tau` should be a number from 0 to 1, or a dict of such by task name. "
                f"Received: `tau={tau!r}`"
            )
        self.primary = primary
        self.tau = {n: float(t) for n, t in tau.items()} if isinstance(tau, Mapping) else float(tau)
        self.beta = check_rate("beta", beta)
        self.epsilon = check_number("epsilon", epsilon, "a number of at least 0", 0.0)

    def build(self, tasks: Sequence[Any], variables: Sequence[keras.Variable] = ()) -> None:
        """See `Balancer.build`; also checks the names.

        Raises:
            ValueError: If `primary` is no task, or `tau` has not the names of the others.
        """
        names = [getattr(task, "name", None) for task in tasks]
        if self.primary not in names:
            raise ValueError(
                f"`primary` should be one of the tasks {names}. "
                f"Received: `primary={self.primary!r}`"
            )
        if isinstance(self.tau, Mapping) and {*self.tau, self.primary} != set(names):
            raise ValueError(
                "`tau` should have one entry for each of the tasks "
                f"{[n for n in names if n != self.primary]}. Received: `tau={self.tau!r}`"
            )
        super().build(tasks, variables)

    def create_variables(self) -> None:
        """Creates `mean_squares` and `updates`."""
        shape = (*self.lead, len(self.task_names))
        self.mean_squares = self.add_variable("mean_squares", shape, "zeros")
        self.updates = self.add_variable("updates", shape, "zeros")

    def _advance(self, gramian: Any, losses: Any, present: Any) -> tuple[Any, dict[str, Any]]:
        self.check_built()
        ones = ops.cast(present, gramian.dtype)
        updates = ops.cast(self.updates, gramian.dtype) + ones
        squares = ops.relu(ops.diagonal(gramian, axis1=-2, axis2=-1))
        # A mean with the weights of the moving average, so that it needs no correction for its
        # first steps. In this form the rate of the first step is 1 in float32 too.
        kept = math.log(self.beta) if self.beta > 0 else -math.inf
        rate = (1.0 - self.beta) / -ops.expm1(ops.maximum(updates, 1.0) * kept)
        mean = ops.cast(self.mean_squares, gramian.dtype)
        mean = mean + ones * rate * (squares - mean)
        scales = ops.divide_no_nan(1.0, ops.sqrt(mean + self.epsilon))
        weights = self._solve(gramian, scales, present)
        return weights, {"mean_squares": mean, "updates": updates}

    def _solve(self, gramian: Any, scales: Any, present: Any) -> Any:
        leads = np.array([name == self.primary for name in self.task_names])
        dtype = keras.backend.standardize_dtype(gramian.dtype)
        tau = self.tau
        if isinstance(tau, Mapping):
            tau = ops.cast(np.array([tau.get(name, 0.0) for name in self.task_names]), dtype)
        eps = float(np.finfo(dtype).eps)
        first = ops.cast(leads, dtype)
        others = ops.cast(present, dtype) * (1.0 - first)
        lengths, inverse, cosines = in_unit_lengths(gramian)
        normalised = lengths * scales
        lead = ops.sum(first * normalised, axis=-1, keepdims=True)
        bounds = others * (tau * normalised - lead * ops.sum(first * cosines, axis=-1))
        unit = ops.max(ops.abs(bounds), axis=-1, keepdims=True)
        bounds = ops.divide_no_nan(bounds, unit)
        among = cosines * others[..., :, None] * others[..., None, :]
        moves, rest = shortest_step(among, bounds)
        # Where nothing meets all conditions, the rest is zero up to rounding; if that is large
        # because of large multipliers, the conditions that are broken tell.
        broken = bounds - ops.sum(among * moves[..., None, :], axis=-1)
        possible = ops.logical_and(
            rest > 100.0 * len(leads) * eps,
            ops.max(broken, axis=-1, keepdims=True) < 32.0 * math.sqrt(eps),
        )
        parts = first * normalised + ops.where(possible, unit * moves, 0.0)
        length, _ = direction_of(cosines, parts)
        # A length that is rounding has no direction.
        seen = length > math.sqrt(10.0 * eps) * ops.sum(parts, axis=-1, keepdims=True)
        target = ops.sum(first * lengths, axis=-1, keepdims=True)
        scale = ops.where(seen, ops.divide_no_nan(target, length), 0.0)
        ones = ops.cast(present, dtype)
        mean = ones / ops.maximum(ops.sum(ones, axis=-1, keepdims=True), 1.0)
        there = ops.any(ops.logical_and(present, leads), axis=-1, keepdims=True)
        return ops.where(there, scale * parts * inverse, mean)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        own = {"primary": self.primary, "tau": self.tau, "beta": self.beta}
        return {**own, "epsilon": self.epsilon, **super().get_config()}
