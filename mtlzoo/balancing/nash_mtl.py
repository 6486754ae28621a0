"""Nash-MTL: the bargain of the tasks."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.bargaining import fair_weights
from mtlzoo.balancing.directions import in_unit_lengths, product
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.layers.arguments import check_number


@keras.saving.register_keras_serializable(package="mtlzoo")
class NashMTL(GradientBalancer):
    """Moves along the direction that the tasks would agree on in Nash's bargaining.

    Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik & Fetaya, *Multi-Task Learning as a
    Bargaining Game*, ICML 2022. The direction maximises Σᵢ log gᵢ·d among those of a given length;
    it is Σᵢ αᵢ gᵢ with the solution α > 0 of

        G α = 1/α,     w = ‖G‖^½ α,     then shortened where |Σᵢ wᵢ gᵢ| > max_norm

    with Frobenius' norm ‖G‖. The weights have the scale of a **sum**: a common factor of all
    gradients does not change them, and before it is shortened the update has the length
    (T ‖G‖)^½. Every task makes progress, gᵢ·Σⱼ wⱼ gⱼ = ‖G‖/wᵢ > 0, and a factor of one gradient
    alone changes the length of the update but not its direction.

    Where a weighted mean of the gradients is zero there is no solution: then the weights are those
    of a slightly changed Gramian, large but finite, and the update is zero but for rounding. A
    zero gradient is left out, and has the mean weight of the others.

    Args:
        max_norm: Positive number, the greatest length of the update; `None` or 0 for any length.
            Defaults to 1.0, as in the authors' code.
        **options: `wrt`, `every` and `groups`, see `GradientBalancer`. The paper has `every` from 1
            to 50.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import NashMTL

    NashMTL(max_norm=None).weights(np.diag([3.0, 4.0]))  # about [1.29, 1.12]
    ```

    Differences from the paper:
        The paper's G α = 1/α gives an update of the length √T, whatever the gradients; the factor
        ‖G‖^½ is that of the authors' code, which divides G by ‖G‖ first. Their sequence of up to 20
        convex programs starts from the last step's weights and may end early; here the weights are
        the minimum of one convex function, exact to rounding, and nothing is remembered. Their
        program also multiplies the gradients of the tasks' own variables by the weights; here those
        are as they are. With `wrt="features"` it is the length by the features that is limited, and
        with `groups` that of each group.
    """

    def __init__(self, max_norm: float | None = 1.0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if max_norm is not None:
            max_norm = check_number("max_norm", max_norm, "None or a number of at least 0", 0.0)
        self.max_norm = max_norm

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        weights = fair_weights(gramian, 1.0, present)
        lengths, _, cosines = in_unit_lengths(ops.cast(gramian, weights.dtype))
        # In units of the longest gradient, so that squares of squares do not overflow.
        longest = ops.max(lengths, axis=-1, keepdims=True)
        shares = ops.divide_no_nan(lengths, longest)
        inside = cosines * shares[..., :, None] * shares[..., None, :]
        norm = ops.sqrt(ops.sqrt(ops.sum(inside * inside, axis=(-2, -1))))[..., None]
        # Zero gradients only: nothing is to be scaled.
        weights = weights * ops.where(longest > 0.0, longest * norm, 1.0)
        if not self.max_norm:
            return ops.cast(weights, gramian.dtype)
        parts = weights * lengths
        square = ops.sum(parts * product(cosines, parts), -1, keepdims=True)
        length = ops.sqrt(ops.relu(square))
        weights = weights * (self.max_norm / ops.maximum(length, self.max_norm))
        return ops.cast(weights, gramian.dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"max_norm": self.max_norm, **super().get_config()}
