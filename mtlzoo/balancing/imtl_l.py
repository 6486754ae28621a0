"""IMTL-L: learned scales of the losses."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.loss_balancer import LossBalancer


@keras.saving.register_keras_serializable(package="mtlzoo")
class IMTLL(LossBalancer):
    """Learns a scale for each loss that brings all of them to 1.

    The loss balance of Liu, Li, Kuang, Xue, Chen, Yang, Liao & Zhang, *Towards Impartial Multi-Task
    Learning*, ICLR 2021. With sᵢ trained together with the model and 0 at the start,

        objective = Σᵢ (exp(sᵢ) Lᵢ − sᵢ)

    over the tasks present in the batch: an absent one has no term at all, so its sᵢ is not moved.
    The weights exp(sᵢ) begin as those of the **sum** of the losses. Where the sᵢ are best, every
    weighted loss is 1. It is twice `Uncertainty` for regression, with sᵢ = −log σᵢ².

    State: `log_scale` (T,), trainable.

    Raises:
        ValueError: If it is used before `build`.

    Example:
    ```python
    from types import SimpleNamespace
    from mtlzoo.balancing import IMTLL

    balancer = IMTLL()
    balancer.build([SimpleNamespace(name="age", loss_family="regression")])
    float(balancer.objective([3.0]))  # 3.0
    ```

    Differences from the paper:
        None in the formula. Its losses are positive; where one becomes zero or negative, its sᵢ
        has no best value and rises without end. The paper's gradient balance is another balancer.
    """

    def create_variables(self) -> None:
        """Creates `log_scale`."""
        self.log_scale = self.add_variable(
            "log_scale", (len(self.task_names),), "zeros", trainable=True
        )

    def _objective(self, losses: Any, present: Any) -> Any:
        self.check_built()
        log_scale = ops.cast(self.log_scale, losses.dtype)
        return ops.sum(ops.where(present, ops.exp(log_scale) * losses - log_scale, 0.0))
