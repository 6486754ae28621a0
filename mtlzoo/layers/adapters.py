"""Small layers that fit a shared network to one task."""

from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count
from mtlzoo.layers.blended_stage import Uncast, run_with


@keras.saving.register_keras_serializable(package="mtlzoo")
class BottleneckAdapter(keras.layers.Layer):
    r"""A narrow network beside the identity (Houlsby et al., 2019).

    $$y = x + a(x W_1 + b_1) W_2 + b_2,$$

    over the last axis, so that on pictures it is a pair of 1×1 convolutions.

    Args:
        units: int, the width of the bottleneck.
        activation: its activation $a$, a Keras activation or its name. Defaults to `"relu"`.
        stddev: standard deviation that both kernels start with, so that the whole starts near the
            identity. Defaults to 0.01.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(..., features)` in and out.

    Raises:
        ValueError: if `units` is no positive integer.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import BottleneckAdapter

    BottleneckAdapter(2)(np.ones((3, 8), "float32")).shape  # (3, 8)
    ```

    References:
        Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019.
        Rebuffi et al., *Efficient Parametrization of Multi-Domain Deep Neural Networks*, CVPR 2018.

    *Differences from the papers*: Rebuffi et al. put one bank of 1×1 convolutions beside the
    identity, as wide as the features and with batch normalization, where this has a bottleneck of
    two kernels and no normalization.
    """

    def __init__(
        self, units: int, activation: Any = "relu", stddev: float = 0.01, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = check_count("units", units)
        self.activation = keras.activations.get(activation)
        self.stddev = stddev
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make both kernels and biases."""
        width = input_shape[-1]
        # One initializer each: an initializer draws the same numbers each time.
        normal = keras.initializers.TruncatedNormal
        self.down_kernel = self.add_weight(
            name="down_kernel", shape=(width, self.units), initializer=normal(stddev=self.stddev)
        )
        self.down_bias = self.add_weight(name="down_bias", shape=(self.units,), initializer="zeros")
        self.up_kernel = self.add_weight(
            name="up_kernel", shape=(self.units, width), initializer=normal(stddev=self.stddev)
        )
        self.up_bias = self.add_weight(name="up_bias", shape=(width,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """The input, and what the bottleneck adds."""
        hidden = self.activation(ops.matmul(inputs, self.down_kernel) + self.down_bias)
        return inputs + ops.matmul(hidden, self.up_kernel) + self.up_bias

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """That of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "stddev": self.stddev,
        }


@keras.saving.register_keras_serializable(package="mtlzoo")
class LowRankUpdate(keras.layers.Layer):
    r"""Runs a layer with an update of low rank to its kernel (Hu et al., 2022).

    $$W' = W + \frac{s}{r} A B, \quad
    A \in \mathbb{R}^{m \times r},\ B \in \mathbb{R}^{r \times n}.$$

    The kernel is taken as a matrix whose columns are the n outputs, so that the kernel of a
    convolution has m = window × input channels. Several of these layers may hold one and the same
    `layer`, which then is shared, with an update for each. A model that Keras saves layer by layer
    would lose that: `AdapterSharing` keeps it, a graph of your own does not.

    Args:
        layer: a built Keras layer with a `kernel` whose last axis is that of its outputs, such as
            `Dense`, `EinsumDense`, `Conv1D` or `Conv2D`.
        rank: int, the rank $r$. Defaults to 4.
        scale: the factor $s$, the paper's alpha. Defaults to 1.0.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        Those of `layer`.

    Raises:
        ValueError: if the layer has no kernel, or `rank` is no positive integer.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo.layers import LowRankUpdate

    dense = keras.layers.Dense(5)
    dense.build((None, 8))
    LowRankUpdate(dense, rank=2)(np.ones((3, 8), "float32")).shape  # (3, 5)
    ```

    References:
        Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR 2022.
    """

    def __init__(
        self, layer: keras.layers.Layer, rank: int = 4, scale: float = 1.0, **kwargs: Any
    ) -> None:
        # The layer casts for itself.
        super().__init__(autocast=False, **kwargs)
        if getattr(layer, "kernel", None) is None:
            raise ValueError(
                f"`layer` should be a built layer with a kernel. Received: layer={layer!r}"
            )
        self.layer = layer
        self.rank = check_count("rank", rank)
        self.scale = scale
        self._uncast = Uncast(name="uncast", dtype=self.variable_dtype)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make A, random, and B, zero: the layer starts as it is."""
        *window, outputs = self.layer.kernel.shape
        size = 1
        for extent in window:
            size *= extent
        self.a = self.add_weight(name="a", shape=(size, self.rank), initializer="he_normal")
        self.b = self.add_weight(name="b", shape=(self.rank, outputs), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """The output of the layer with the updated kernel."""
        # In mixed precision the sum is cast, not its terms.
        values = self._uncast(read=self._values)
        outputs, _ = run_with(values, self.layer, self, inputs)
        return outputs

    def _values(self) -> list:
        update = ops.matmul(ops.convert_to_tensor(self.a), ops.convert_to_tensor(self.b))
        update = ops.reshape(update, self.layer.kernel.shape) * (self.scale / self.rank)
        values = [(v, ops.convert_to_tensor(v)) for v in self.layer.variables]
        return [value + update if v is self.layer.kernel else value for v, value in values]

    def compute_output_spec(self, inputs: Any) -> Any:
        """That of the layer."""
        return self.layer.compute_output_spec(inputs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
            "rank": self.rank,
            "scale": self.scale,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LowRankUpdate":
        """The layer of a config, with new variables."""
        layer = keras.saving.deserialize_keras_object(config["layer"])
        return cls(**{**config, "layer": layer})
