"""GLS: the geometric mean of the losses."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.logarithms import log_above
from mtlzoo.balancing.loss_balancer import LossBalancer


@keras.saving.register_keras_serializable(package="mtlzoo")
class GLS(LossBalancer):
    """Minimises the geometric mean of the losses.

    Chennupati, Sistu, Yogamani & Rawashdeh, *MultiNet++: Multi-Stream Feature Aggregation and
    Geometric Loss Strategy for Multi-Task Learning*, CVPR Workshops 2019.

        objective = (Πᵢ Lᵢ)^(1/n),   so that wᵢ = objective / (n Lᵢ)

    over the n tasks present in the batch: the scale of a **mean**, for equal losses 1/n each. All
    weighted losses wᵢ Lᵢ are the same, in whatever unit a loss is measured; the unit of one loss
    scales the whole update, by its n-th root.

    A loss of at most 1e-20 counts as 1e-20, with weight 0: a product with a factor of zero has no
    use for the other factors either, and their weights become small.

    Example:
    ```python
    from mtlzoo.balancing import GLS

    float(GLS().objective([1.0, 4.0]))  # 2.0
    ```

    Differences from the paper:
        None in the formula. It is computed by logarithms, so that the product does not overflow;
        the paper's losses are positive.
    """

    def _objective(self, losses: Any, present: Any) -> Any:
        ones = ops.cast(present, losses.dtype)
        count = ops.sum(ones)
        # An absent task's loss is 1 here, the logarithm of which is 0.
        mean = ops.sum(log_above(losses) * ones) / ops.maximum(count, 1.0)
        return ops.where(count > 0.0, ops.exp(mean), 0.0)
