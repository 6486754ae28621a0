"""The plain sum of the losses."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.loss_balancer import LossBalancer


@keras.saving.register_keras_serializable(package="mtlzoo")
class Equal(LossBalancer):
    """Minimises the sum of the losses: every task has weight 1.

    objective = Σᵢ Lᵢ, over the tasks present in the batch. This is what Keras does by itself; use
    `loss_weights` in `compile` to weigh the tasks by hand.

    Example:
    ```python
    from mtlzoo.balancing import Equal

    float(Equal().objective([1.0, 2.0, 4.0]))  # 7.0
    ```
    """

    def _objective(self, losses: Any, present: Any) -> Any:
        return ops.sum(ops.where(present, losses, 0.0))
