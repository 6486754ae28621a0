"""A bank of expert networks, computed together."""

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count, check_rate, check_units
from mtlzoo.layers.positions import to_positions, to_rows, with_mask


@keras.saving.register_keras_serializable(package="mtlzoo")
class Experts(keras.layers.Layer):
    r"""`num_experts` fully connected networks of equal shape on the same features.

    On sequences and maps they run at each position.

    $$f_k(x) = a(\ldots a(x W_k^{(1)} + b_k^{(1)}) \ldots W_k^{(n)} + b_k^{(n)}),
    \quad k = 1, \ldots, K.$$

    All experts are computed together: the first layer is one product with a kernel of width
    `num_experts * units[0]`, the others are batched over the experts. On a CPU a loop over eight
    experts took 1.7 times as long as this layer, batched products for every layer 1.4 times
    (`python -m benchmarks.experts`); in a whole model the difference is smaller, and may turn
    (`python -m benchmarks.mixtures`).

    Args:
        num_experts: int, the number of experts.
        units: the widths of each expert's layers.
        activation: activation after each layer, a Keras activation or its name. Defaults to
            `"relu"`.
        kernel_initializer: a Keras initializer, applied to each expert on its own. Defaults to
            `"glorot_uniform"`.
        dropout: rate of the dropout after each layer. Defaults to 0.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, ..., features)` in, `(batch, ..., num_experts, units[-1])` out.

    Raises:
        ValueError: if there is no expert or no layer, or an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import Experts

    Experts(4, units=(16, 8))(np.ones((2, 3), "float32")).shape  # (2, 4, 8)
    ```
    """

    def __init__(
        self,
        num_experts: int,
        units: Sequence[int],
        activation: Any = "relu",
        kernel_initializer: Any = "glorot_uniform",
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_experts = check_count("num_experts", num_experts)
        self.units = check_units("units", units)
        if not self.units:
            raise ValueError("`units` should have at least one layer. Received: units=()")
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        if not isinstance(self.kernel_initializer, keras.initializers.Initializer):
            raise ValueError(
                "`kernel_initializer` should be a Keras initializer or its name, of which each "
                "expert gets one of its own. "
                f"Received: kernel_initializer={kernel_initializer!r}"
            )
        self.dropout = check_rate("dropout", dropout)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)
        self.supports_masking = True
        count = len(self.units) if dropout else 0
        self._dropouts = [
            keras.layers.Dropout(dropout, dtype=self.dtype_policy) for _ in range(count)
        ]

    def build(self, input_shape: Any) -> None:
        """Make one kernel and one bias for each layer."""
        width = input_shape[-1]
        if width is None:
            raise ValueError(
                "The features of `Experts` should have shape (None, ..., F), with F known. "
                f"Received: shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: width})
        self.kernels, self.biases = [], []
        for i, units in enumerate(self.units):
            # Kernels differ, so each needs an initializer with a seed of its own.
            shape = (width, self.num_experts * units) if i == 0 else None
            self.kernels.append(
                self.add_weight(
                    name=f"kernel_{i}",
                    shape=shape or (self.num_experts, width, units),
                    initializer=self._initializer(i, width, units),
                )
            )
            self.biases.append(
                self.add_weight(
                    name=f"bias_{i}", shape=(self.num_experts, units), initializer="zeros"
                )
            )
            width = units

    def _initializer(self, index: int, width: int, units: int):
        config = self.kernel_initializer.get_config()
        first = index * self.num_experts

        def initialize(shape, dtype=None):
            kernels = []
            for k in range(self.num_experts):
                seed = config.get("seed")
                changed = {} if seed is None else {"seed": _offset(seed, first + k)}
                one = self.kernel_initializer.from_config({**config, **changed})
                kernels.append(one((width, units), dtype=dtype))
            return ops.stack(kernels) if index else ops.concatenate(kernels, -1)

        return initialize

    def call(self, features: Any, training: bool | None = None) -> Any:
        """All experts' outputs."""
        hidden = ops.matmul(to_rows(features), self.kernels[0])
        hidden = ops.reshape(hidden, (-1, self.num_experts, self.units[0]))
        for i in range(len(self.units)):
            if i > 0:
                hidden = ops.einsum("beu,euv->bev", hidden, self.kernels[i])
            hidden = self.activation(hidden + self.biases[i])
            if self._dropouts:
                hidden = self._dropouts[i](hidden, training=training)
        return to_positions(hidden, features)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, ..., num_experts, units[-1])`."""
        return (*input_shape[:-1], self.num_experts, self.units[-1])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "units": list(self.units),
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable(package="mtlzoo")
class Mix(keras.Operation):
    """One node of a graph, where the operations of `mix` would be many, and which keeps a mask."""

    def call(self, weights: Any, *banks: Any) -> Any:
        """The mixture."""
        for _ in range(len(banks[0].shape) - 1 - len(weights.shape)):
            weights = ops.expand_dims(weights, -2)  # the same at all positions of a row
        ends = [0, *itertools.accumulate(bank.shape[-2] for bank in banks)]
        parts = [
            _weighed(weights[..., start:end], bank)
            for (start, end), bank in zip(itertools.pairwise(ends), banks, strict=True)
        ]
        return with_mask(functools.reduce(operator.add, parts), banks[0])

    def compute_output_spec(self, weights: Any, *banks: Any) -> keras.KerasTensor:
        """Of shape `(batch, ..., units)`."""
        shape = (*banks[0].shape[:-2], banks[0].shape[-1])
        return with_mask(keras.KerasTensor(shape, dtype=banks[0].dtype), banks[0])


def mix(weights: Any, *banks: Any) -> Any:
    """The mixture of experts for each row, or each position of a sequence or a map.

    It is one product of a row with a matrix for each bank, so that banks are not copied together:
    an einsum took 1.6 to 2 times as long, forward and backward on a CPU. As one node it leaves the
    order of a model's layers, and with it that of an optimizer's variables in files, as it was with
    an einsum.

    Args:
        weights: `(batch, ..., experts)`, of the experts of all banks, bank by bank; or
            `(batch, experts)` for all positions of a row.
        *banks: `(batch, ..., experts of the bank, units)`.

    Returns:
        `(batch, ..., units)`.
    """
    return Mix()(weights, *banks)


@keras.saving.register_keras_serializable(package="mtlzoo")
class ExpertStack(keras.layers.Layer):
    """A bank of the outputs of experts that are networks of their own.

    Args:
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of `(batch, ..., units)` in, `(batch, ..., num_experts, units)` out, with the mask of
        the first.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, outputs: Any) -> Any:
        """The bank."""
        return ops.stack(outputs, axis=-2)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the first."""
        return previous_mask[0] if isinstance(previous_mask, list) else previous_mask

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, ..., num_experts, units)`."""
        return (*input_shape[0][:-1], len(input_shape), input_shape[0][-1])


def _weighed(weights: Any, bank: Any) -> Any:
    """The weighted sum of the experts of one bank."""
    if bank.shape[-2] == 1:
        return ops.squeeze(bank, -2) * weights
    return ops.squeeze(ops.matmul(ops.expand_dims(weights, -2), bank), -2)


def _offset(seed: int, k: int) -> int:
    return (seed + k) % 2**31
