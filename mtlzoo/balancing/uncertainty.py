"""Weighing losses by the uncertainty of their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.loss_balancer import LossBalancer

# What stands before exp(-s) L: a Gaussian likelihood has 1/(2 σ²), a scaled softmax 1/σ².
_FACTORS = {"regression": 0.5, "classification": 1.0}


@keras.saving.register_keras_serializable(package="mtlzoo")
class Uncertainty(LossBalancer):
    """Learns each task's noise, and weighs its loss by the inverse.

    Kendall, Gal & Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
    Geometry and Semantics*, CVPR 2018. With sᵢ = log σᵢ², trained together with the model and 0 at
    the start,

        objective = Σᵢ exp(−sᵢ) Lᵢ + sᵢ/2        for classification
                    Σᵢ exp(−sᵢ) Lᵢ/2 + sᵢ/2      for regression, by `task.loss_family`

    over the tasks present in the batch: an absent one has no term at all, so its sᵢ is not moved.
    At the start a classification loss has weight 1 and a regression loss weight ½. Where the sᵢ
    are best, every weighted loss is ½.

    State: `log_variance` (T,), trainable.

    Raises:
        ValueError: If a task has another `loss_family`, or if it is used before `build`.

    Example:
    ```python
    from types import SimpleNamespace
    from mtlzoo.balancing import Uncertainty

    balancer = Uncertainty()
    balancer.build([SimpleNamespace(name="age", loss_family="regression")])
    float(balancer.objective([3.0]))  # 1.5
    ```

    Differences from the paper:
        None in the formula. The losses need not be likelihoods; where a loss can become zero or
        negative, its sᵢ has no best value and falls without end.
    """

    def build(self, tasks: Sequence[Any], variables: Sequence[keras.Variable] = ()) -> None:
        """See `Balancer.build`; also checks the loss families."""
        for task in tasks:
            if task.loss_family not in _FACTORS:
                raise ValueError(
                    f"`loss_family` of task `{task.name}` should be one of {list(_FACTORS)} for "
                    f"uncertainty weighting. Received: `loss_family={task.loss_family!r}`"
                )
        super().build(tasks, variables)

    def create_variables(self) -> None:
        """Creates `log_variance`."""
        self.log_variance = self.add_variable(
            "log_variance", (len(self.task_names),), "zeros", trainable=True
        )

    def _objective(self, losses: Any, present: Any) -> Any:
        self.check_built()
        factors = np.array([_FACTORS[family] for family in self.loss_families])
        log_variance = ops.cast(self.log_variance, losses.dtype)
        terms = ops.cast(factors, losses.dtype) * ops.exp(-log_variance) * losses
        return ops.sum(ops.where(present, terms + 0.5 * log_variance, 0.0))
