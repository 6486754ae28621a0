"""The sum of the logarithms of the losses."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_positive
from mtlzoo.balancing.logarithms import log_above
from mtlzoo.balancing.loss_balancer import LossBalancer


@keras.saving.register_keras_serializable(package="mtlzoo")
class ScaleInvariant(LossBalancer):
    """Minimises the sum of the logarithms of the losses, so that no unit of a loss matters.

    The baseline "SI" of Navon et al., *Multi-Task Learning as a Bargaining Game*, ICML 2022, and
    the loss balancing of Lin et al., *Dual-Balancing for Multi-Task Learning*, 2023.

        objective = Σᵢ log max(Lᵢ, epsilon),   so that wᵢ = 1/Lᵢ

    over the tasks present in the batch: the **sum** of losses that are all scaled to 1, in whatever
    unit they are measured. As losses fall, weights grow.

    A loss of at most `epsilon` has weight 0: it is as good as solved, or negative, where there is
    no logarithm.

    Args:
        epsilon: Positive number, the least loss that is told apart from 0. Defaults to 1e-8.

    Raises:
        ValueError: If `epsilon` is not positive.

    Example:
    ```python
    from mtlzoo.balancing import ScaleInvariant

    float(ScaleInvariant().objective([1.0, 1.0]))  # 0.0
    ```

    Differences from the paper:
        The code of Lin et al. adds 1e-8 to each loss before the logarithm, and so has no value for
        negative losses.
    """

    def __init__(self, epsilon: float = 1e-8) -> None:
        self.epsilon = check_positive("epsilon", epsilon)

    def _objective(self, losses: Any, present: Any) -> Any:
        return ops.sum(ops.where(present, log_above(losses, self.epsilon), 0.0))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"epsilon": self.epsilon}
