"""STCH: a smooth maximum of the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_positive, check_preference
from mtlzoo.balancing.loss_balancer import LossBalancer
from mtlzoo.balancing.lower_bounds import above_bounds, check_bounds
from mtlzoo.balancing.softmax import largest_present


@keras.saving.register_keras_serializable(package="mtlzoo")
class STCH(LossBalancer):
    """Minimises a smooth maximum of the weighted losses.

    Lin, Zhang, Yang, Liu, Wang & Zhang, *Smooth Tchebycheff Scalarization for Multi-Objective
    Optimization*, ICML 2024. With the preference λ and the ideal losses z,

        objective = μ log Σᵢ exp(λᵢ (Lᵢ − zᵢ) / μ)

    over the n tasks present in the batch. A task's weight is λᵢ times its part of the softmax of
    the λᵢ (Lᵢ − zᵢ)/μ: a **mean of the λᵢ Lᵢ**, so that equal preferences make the sum of the
    weights 1/n. As μ → 0 the largest weighted loss is minimised alone; then every Pareto optimum
    is the minimum for some λ, which is not so for weighted sums. For large μ all λᵢ Lᵢ count
    equally. A loss below zᵢ is no exception.

    Args:
        mu: Positive number, the width within which losses count as equally large. Defaults to 1.
        preference: Dict by task name of numbers that are not negative, used with the sum 1 over the
            tasks present: the larger, the smaller the task's loss in the end. Defaults to `None`,
            equal.
        ideal: Dict by task name of the losses that cannot be undercut, times their `loss_weights`
            as all losses here are. Defaults to `None`, zeros.

    Raises:
        ValueError: If an argument is out of its range, or with a dict if it is used before `build`.

    Example:
    ```python
    from mtlzoo.balancing import STCH

    float(STCH(mu=0.01).objective([1.0, 3.0]))  # 1.5
    ```

    Differences from the paper:
        None in the formula. In its experiments on multi-task learning, and in LibMTL, Lᵢ − zᵢ is
        the logarithm of the loss divided by its mean in an epoch after some of warm-up with
        Σᵢ log Lᵢ, all λᵢ are 1 and the objective is multiplied by T. Here the losses are used as
        they are: bring them to one scale first, with `loss_weights`.
    """

    numbers_by_task = ("preference", "ideal")

    def __init__(
        self,
        mu: float = 1.0,
        preference: Mapping[str, float] | None = None,
        ideal: Mapping[str, float] | None = None,
    ) -> None:
        self.mu = check_positive("mu", mu)
        self.preference = check_preference(preference)
        self.ideal = check_bounds("ideal", ideal)

    def _objective(self, losses: Any, present: Any) -> Any:
        wanted = self._preferred(self.preference, present, losses.dtype)
        above = wanted * above_bounds(self, "ideal", self.ideal, losses)
        largest = largest_present(above, present)
        powers = ops.where(present, ops.exp((above - largest) / self.mu), 0.0)
        total = ops.sum(powers)
        smooth = self.mu * ops.log(ops.where(total > 0.0, total, 1.0)) + largest[0]
        return ops.where(ops.any(present), smooth, 0.0)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"mu": self.mu, "preference": self.preference, "ideal": self.ideal}
