"""Dynamic weight average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import check_positive
from mtlzoo.balancing.loss_balancer import LossBalancer


@keras.saving.register_keras_serializable(package="mtlzoo")
class DWA(LossBalancer):
    """Gives more weight to the tasks whose loss fell least from one epoch to the next.

    Liu, Johns & Davison, *End-to-End Multi-Task Learning with Attention*, CVPR 2019. From the mean
    losses of the last two epochs,

        rᵢ = Lᵢ(t−1) / Lᵢ(t−2),   wᵢ = T · exp(rᵢ/temperature) / Σₖ exp(rₖ/temperature)

    and the objective is Σᵢ wᵢ Lᵢ over the tasks present in the batch. The weights sum to T and are
    all 1 in the first two epochs.

    Args:
        temperature: Positive number; the larger, the more even the weights. Defaults to 2,
            as in the paper.

    State: `history` (T, 2), each task's losses of the last epoch and the one before, 0 if unknown.

    Raises:
        ValueError: If `temperature` is not positive.

    Example:
    ```python
    from types import SimpleNamespace
    from mtlzoo.balancing import DWA

    balancer = DWA()
    balancer.build([SimpleNamespace(name=n, loss_family="regression") for n in ("a", "b")])
    balancer.on_epoch_end({"a_loss": 1.0, "b_loss": 1.0})
    balancer.on_epoch_end({"a_loss": 1.0, "b_loss": 0.5})
    balancer.epoch_weights()  # about [1.12, 0.88]: b fell faster
    ```

    Differences from the paper:
        A task whose loss is missing or not finite in an epoch keeps its last ratio. A ratio to a
        loss that is not positive means nothing and counts as 1.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        self.temperature = check_positive("temperature", temperature)

    def create_variables(self) -> None:
        """Creates `history`."""
        self.history = self.add_variable("history", (len(self.task_names), 2), "zeros")

    def epoch_weights(self) -> Any:
        """The weights (T,) of the current epoch, whichever tasks a batch has."""
        last, before = self.history[:, 0], self.history[:, 1]
        known = ops.logical_and(last > 0.0, before > 0.0)
        ratio = ops.where(known, last / ops.where(known, before, 1.0), 1.0)
        # A ratio that overflows would make the softmax NaN.
        ratio = ops.minimum(ratio / self.temperature, 1e30)
        return len(self.task_names) * ops.softmax(ratio)

    def on_epoch_end(self, logs: Mapping[str, float]) -> None:
        """Takes the tasks' mean losses of the epoch.

        Args:
            logs: The epoch's logs, with `"<task>_loss"` for every task that had labels.
        """
        history = np.array(ops.convert_to_numpy(self.history))
        for row, name in zip(history, self.task_names, strict=True):
            loss = logs.get(f"{name}_loss")
            if loss is not None and np.isfinite(loss):
                row[:] = loss, row[0]
        self.history.assign(history)

    def _objective(self, losses: Any, present: Any) -> Any:
        self.check_built()
        weights = ops.cast(self.epoch_weights(), losses.dtype)
        return ops.sum(ops.where(present, weights * losses, 0.0))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"temperature": self.temperature}
