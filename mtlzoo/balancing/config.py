"""ConFIG: a direction at the same angle to every gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.arguments import check_preference
from mtlzoo.balancing.directions import in_unit_lengths, product, pseudo_inverse
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options


@keras.saving.register_keras_serializable(package="mtlzoo")
class ConFIG(GradientBalancer):
    """Moves at the same angle to every gradient, as far as all of them project there.

    Liu, Chu & Thuerey, *ConFIG: Towards Conflict-free Training of Physics Informed Neural
    Networks*, ICLR 2025. With the unit gradients as the rows of U and the preference p,

        u = U⁺ p / |U⁺ p|,     update = (Σᵢ gᵢ·u) u

    so that the cosines ĝᵢ·u are proportional to pᵢ: for independent gradients all are positive, and
    no task's loss increases to first order. The weights have the scale of a **sum**, and may be
    negative: gradients at right angles and of one length are added up. The lengths of the gradients
    decide the length of the update, not its direction. A zero gradient has the weight 0. Where
    unit gradients cancel, such as g and −g, the update is zero.

    Args:
        preference: Dict by task name of numbers that are not negative: in which proportion the
            cosines stand. Defaults to `None`, equal ones.
        **options: `wrt`, `every` and `groups`, see `GradientBalancer`.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import ConFIG

    ConFIG().weights(np.diag([1.0, 9.0]))  # array([2.        , 0.66666667])
    ```

    Differences from the paper:
        It works on the Gramian, which gives the same update: U⁺ p = Uᵀ C⁺ p with C = UUᵀ. The
        variant with momentum is not here.
    """

    numbers_by_task = ("preference",)

    def __init__(
        self, preference: Mapping[str, float] | None = None, **options: Unpack[Options]
    ) -> None:
        super().__init__(**options)
        self.preference = check_preference(preference)

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        lengths, inverse, cosines = in_unit_lengths(gramian)
        wanted = self._preferred(self.preference, present, gramian.dtype)
        wanted = ops.where(lengths > 0.0, wanted, 0.0)
        parts = pseudo_inverse(cosines, wanted)
        ahead = product(cosines, parts)
        square = ops.sum(parts * ahead, axis=-1, keepdims=True)
        total = ops.sum(lengths * ahead, axis=-1, keepdims=True)
        return parts * inverse * ops.divide_no_nan(total, ops.relu(square))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"preference": self.preference, **super().get_config()}
