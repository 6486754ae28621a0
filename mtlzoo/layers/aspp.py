"""Atrous spatial pyramid pooling."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count, check_units
from mtlzoo.layers.normalization import check_norm, normalization


@keras.saving.register_keras_serializable(package="mtlzoo")
class ASPP(keras.layers.Layer):
    r"""Sees a feature map at several scales at once (Chen et al., 2017).

    $$y = b\big([b_1(x), b_{r_1}(x), \ldots, b_{r_n}(x), \mathrm{up}(b_p(\bar x))]\big).$$

    $b_1$ is a convolution 1×1, $b_r$ one of 3×3 with rate $r$, $b_p$ one of 1×1 on the mean
    $\bar x$ over all positions, which is copied to every position; $b$ joins them by a last
    convolution 1×1. Each is followed by normalization and a rectifier.

    Args:
        filters: int, number of channels of each branch and of the output. Defaults to 256, as in
            the paper.
        rates: rates of the convolutions 3×3. Defaults to `(6, 12, 18)`, the paper's for features
            at a sixteenth of the image; it doubles them at an eighth.
        norm: `"batch"` or `"group"`. Defaults to `"batch"`.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, height, width, channels)` in, `(batch, height, width, filters)` out.

    Raises:
        ValueError: if `filters`, a rate or `norm` is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import ASPP

    ASPP(8, rates=(2, 4))(np.ones((1, 6, 6, 3), "float32")).shape  # (1, 6, 6, 8)
    ```

    References:
        Chen et al., *Rethinking Atrous Convolution for Semantic Image Segmentation*, 2017.

    *Differences from the paper*: group normalization is possible.
    """

    def __init__(
        self,
        filters: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        norm: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = check_count("filters", filters)
        self.rates = check_units("rates", rates)
        self.norm = check_norm(norm, "batch", "group")
        self.input_spec = keras.layers.InputSpec(ndim=4)
        kernels = [("point", 1, 1), *((f"rate_{i}", 3, rate) for i, rate in enumerate(self.rates))]
        self._branches = [self._unit(*kernel) for kernel in kernels]
        self._mean = self._unit("mean", 1, 1)
        self._join = self._unit("join", 1, 1)

    def _unit(self, name: str, kernel_size: int, rate: int) -> list[keras.layers.Layer]:
        convolution = keras.layers.Conv2D(
            self.filters,
            kernel_size,
            padding="same",
            dilation_rate=rate,
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv",
            dtype=self.dtype_policy,
        )
        norm = normalization(self.norm, self.filters, f"{name}_norm", self.dtype_policy)
        return [convolution, norm]

    def build(self, input_shape: Any) -> None:
        """Build the branches."""
        joined = (*input_shape[:-1], (len(self._branches) + 1) * self.filters)
        shapes = [*[input_shape] * (len(self._branches) + 1), joined]
        for (convolution, norm), shape in zip(
            [*self._branches, self._mean, self._join], shapes, strict=True
        ):
            convolution.build(shape)
            norm.build((*input_shape[:-1], self.filters))

    def call(self, features: Any, training: bool | None = None) -> Any:
        """The joined branches."""
        maps = [_run(branch, features, training) for branch in self._branches]
        mean = _run(self._mean, ops.mean(features, axis=(1, 2), keepdims=True), training)
        maps.append(ops.broadcast_to(mean, ops.shape(maps[0])))
        return _run(self._join, ops.concatenate(maps, -1), training)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, height, width, filters)`."""
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "rates": list(self.rates),
            "norm": self.norm,
        }


def _run(unit: Sequence[keras.layers.Layer], features: Any, training: bool | None) -> Any:
    convolution, norm = unit
    return ops.relu(norm(convolution(features), training=training))
