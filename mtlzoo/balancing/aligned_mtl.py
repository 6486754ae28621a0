"""Aligned-MTL: principal components of the gradients, made equally long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import check_preference
from mtlzoo.balancing.directions import eigen, in_unit_lengths, product, rounding
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options

SCALES = ("min", "median", "rmse")


@keras.saving.register_keras_serializable(package="mtlzoo")
class AlignedMTL(GradientBalancer):
    """Turns the gradients into the nearest ones that are orthogonal and equally long.

    Senushkin, Patakin, Kuznetsov & Konushin, *Independent Component Alignment for Multi-Task
    Learning*, CVPR 2023. With the eigenvalues λ > 0 and eigenvectors V of the Gramian,

        B = √s · V diag(λ)^(−½) Vᵀ,     w = B p

    with the preference p and the scale s, so that the aligned gradients have the Gramian s·I, and
    every task gains s·pᵢ along its own. The weights have the scale of a **mean**: with `"min"` the
    update is √s |p| long, as long as the weakest component is, and for gradients that are
    orthogonal and equally long it is their mean. The weights may be negative, but the update
    conflicts with no aligned gradient. A zero gradient has the weight 0.

    Of dependent gradients only the components that are there are aligned. Which these are is
    decided on the cosines, so that a short gradient is not mistaken for a missing one, as long as
    lengths are less than 1e7-fold apart.

    Args:
        scale: s is the least eigenvalue (`"min"`), the lower median (`"median"`) or the mean
            (`"rmse"`) of those that are not zero. Defaults to `"min"`.
        preference: Dict by task name of numbers that are not negative, scaled to the sum 1.
            Defaults to `None`, equal ones.
        **options: `wrt` (with `"features"` it is the paper's Aligned-MTL-UB), `every` and `groups`,
            see `GradientBalancer`.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import AlignedMTL

    AlignedMTL().weights(np.diag([1.0, 4.0]))  # array([0.5 , 0.25])
    ```

    Differences from the paper:
        The rank is that of the cosines rather than of the Gramian, and the eigenvalues are computed
        in float64, where a Gramian in float32 has short gradients that are lost in its rounding.
        The authors' program, and LibMTL's, take a preference of 1 for each task, which makes their
        update T times as long as this mean.
    """

    numbers_by_task = ("preference",)

    averages = True

    def __init__(
        self,
        scale: str = "min",
        preference: Mapping[str, float] | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        if scale not in SCALES:
            raise ValueError(
                f"`scale` should be one of {list(SCALES)}. Received: `scale={scale!r}`"
            )
        self.scale = scale
        self.preference = check_preference(preference)

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        wanted = self._preferred(self.preference, present, gramian.dtype)
        # What rounding has left of components that are not there would be taken for small ones, so
        # it is removed while all gradients have the length one.
        limit = 16.0 * rounding(gramian)
        lengths, _, cosines = in_unit_lengths(gramian)
        values, vectors = eigen(ops.cast(cosines, "float64"))
        cosines = _from_eigen(ops.where(values > limit, values, 0.0), vectors)
        lengths = ops.cast(lengths, cosines.dtype)
        longest = ops.max(lengths, axis=-1, keepdims=True)
        shares = ops.divide_no_nan(lengths, longest)
        values, vectors = eigen(cosines * shares[..., :, None] * shares[..., None, :])
        largest = ops.max(values, axis=-1, keepdims=True)
        there = values > 16.0 * rounding(values) * largest
        scale = self._scale(values, there)
        # The eigenvalues are in units of the longest gradient's square, which cancels.
        values = ops.where(there, ops.sqrt(scale / ops.where(there, values, 1.0)), 0.0)
        parts = product(_from_eigen(values, vectors), ops.cast(wanted, values.dtype))
        return ops.cast(parts, gramian.dtype)

    def _scale(self, values: Any, there: Any) -> Any:
        """S (..., 1) out of the eigenvalues, which are in ascending order."""
        count = ops.sum(ops.cast(there, "int32"), axis=-1, keepdims=True)
        if self.scale == "rmse":
            total = ops.sum(ops.where(there, values, 0.0), axis=-1, keepdims=True)
            return ops.divide_no_nan(total, ops.cast(count, values.dtype))
        size = values.shape[-1]
        place = size - count  # of the least eigenvalue that is there
        if self.scale == "median":
            place = place + ops.floor_divide(ops.maximum(count - 1, 0), 2)
        chosen = ops.equal(np.arange(size, dtype="int32"), place)
        return ops.sum(ops.where(chosen, ops.relu(values), 0.0), axis=-1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"scale": self.scale, "preference": self.preference, **super().get_config()}


def _from_eigen(values: Any, vectors: Any) -> Any:
    """The matrix with these eigenvalues and eigenvectors."""
    return ops.matmul(vectors * values[..., None, :], ops.swapaxes(vectors, -1, -2))
