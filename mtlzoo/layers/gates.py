"""Gates by a softmax, of all experts or of the best."""

import zlib
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count
from mtlzoo.layers.dselect_k import DSelectKGate
from mtlzoo.layers.gate import Gate, check_weight


@keras.saving.register_keras_serializable(package="mtlzoo")
class SoftmaxGate(Gate):
    r"""All experts, weighed by a softmax (Jordan and Jacobs, 1994).

    $$g(x) = \mathrm{softmax}(x W).$$

    The gate of a mixture by default is the same without the losses.

    Args:
        num_experts: see `Gate`.
        importance_weight: see `Gate`. Defaults to 0.
        entropy_weight: see `Gate`. Defaults to 0.
        hidden_units: see `Gate`. Defaults to `()`.
        kernel_initializer: initializer of $W$. Defaults to `"glorot_uniform"`.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, features)` in, `(batch, num_experts)` out; each row sums to 1.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    import keras
    from mtlzoo import MMoE, Regression
    from mtlzoo.layers import SoftmaxGate

    tasks = [Regression("a"), Regression("b")]
    model = MMoE(keras.Input((8,)), tasks, gate=SoftmaxGate(importance_weight=0.01))
    ```

    References:
        Jordan and Jacobs, *Hierarchical Mixtures of Experts and the EM Algorithm*, Neural
        Computation 6, 1994.
    """

    def __init__(
        self,
        num_experts: int | None = None,
        *,
        importance_weight: float = 0.0,
        entropy_weight: float = 0.0,
        hidden_units: Sequence[int] = (),
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_experts,
            importance_weight=importance_weight,
            entropy_weight=entropy_weight,
            hidden_units=hidden_units,
            **kwargs,
        )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        """Make the kernel."""
        super().build(input_shape)
        shape = (self.width, self.num_experts)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer
        )

    def _weights(self, features: Any, training: bool) -> Any:
        return ops.softmax(self._precise(ops.matmul(features, self.kernel)), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), "kernel_initializer": initializer}


@keras.saving.register_keras_serializable(package="mtlzoo")
class TopKGate(SoftmaxGate):
    r"""The `k` best experts, weighed by a softmax over them (Shazeer et al., 2017).

    With $\epsilon \sim N(0, 1)$ for each row and expert in training and $\epsilon = 0$ elsewhere,

    $$l = x W + s\, \epsilon \odot \mathrm{softplus}(x W_\text{noise}), \quad
    g(x)_i = \frac{e^{l_i}}{\sum_{j \in \mathrm{top}_k(l)} e^{l_j}}
    \text{ if } i \in \mathrm{top}_k(l), \text{ else } 0.$$

    Of experts with equal logits the first are taken, so that exactly `k` have a weight (one far
    behind may round to 0). An expert that is not taken for any row gets no gradient; noise and
    `importance_weight` keep all of them in use.

    Args:
        num_experts: see `Gate`.
        k: int, the number of experts for each row. Defaults to 2.
        noise: number from 0, the scale $s$ of the noise; with 0 there is no $W_\text{noise}$.
            Defaults to 1, as in the paper.
        importance_weight: see `Gate`. Defaults to 0.
        entropy_weight: see `Gate`. Defaults to 0.
        hidden_units: see `Gate`. Defaults to `()`.
        kernel_initializer: initializer of $W$. Defaults to `"glorot_uniform"`.
        seed: int, seed of the noise; `None` for a random one.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, features)` in, `(batch, num_experts)` out; each row sums to 1.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import TopKGate

    weights = TopKGate(4, k=2)(np.random.normal(size=(3, 8)))
    np.count_nonzero(weights, axis=1)  # [2, 2, 2]
    ```

    References:
        Shazeer et al., *Outrageously Large Neural Networks: The Sparsely-Gated
        Mixture-of-Experts Layer*, ICLR 2017.

    *Differences from the paper*: $W$ does not start at zero, where all rows without noise would
    have the same experts; see also `Gate`.
    """

    def __init__(
        self,
        num_experts: int | None = None,
        k: int = 2,
        noise: float = 1.0,
        *,
        importance_weight: float = 0.0,
        entropy_weight: float = 0.0,
        hidden_units: Sequence[int] = (),
        kernel_initializer: Any = "glorot_uniform",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_experts,
            importance_weight=importance_weight,
            entropy_weight=entropy_weight,
            hidden_units=hidden_units,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        self.k = check_count("k", k)
        if num_experts is not None and k > num_experts:
            raise ValueError(
                f"`k` should be at most the number of experts, {num_experts}. Received: k={k}"
            )
        self.noise = check_weight("noise", noise)
        self.seed = seed
        if self.noise:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        """Make the kernels."""
        super().build(input_shape)
        if self.noise:
            self.noise_kernel = self.add_weight(
                name="noise_kernel",
                shape=(self.width, self.num_experts),
                initializer="zeros",
            )

    def _weights(self, features: Any, training: bool) -> Any:
        logits = self._precise(ops.matmul(features, self.kernel))
        if training and self.noise:
            scale = ops.softplus(self._precise(ops.matmul(features, self.noise_kernel)))
            draws = keras.random.normal(
                ops.shape(logits), dtype=logits.dtype, seed=self.seed_generator
            )
            logits += self.noise * draws * scale
        _, best = ops.top_k(logits, self.k)
        kept = ops.sum(ops.one_hot(best, self.num_experts, dtype=logits.dtype), axis=-2)
        # The largest is among the kept ones, so that the sum is at least 1.
        scores = kept * ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
        return scores / ops.sum(scores, axis=-1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "k": self.k, "noise": self.noise, "seed": self.seed}


_BY_NAME = {"top_k": TopKGate, "dselect_k": DSelectKGate}


def make_gate(gate: Any, num_experts: int, name: str, dtype: Any) -> keras.layers.Layer:
    """A gate of a mixture, with new variables.

    Args:
        gate: what the mixture was given, see `Gate`.
        num_experts: the number of experts that the mixture has.
        name: name of the layer.
        dtype: dtype policy of the layer.

    Raises:
        ValueError: if it is none of these, or for another number of experts.
    """
    if isinstance(gate, str) and gate == "softmax":
        # Files of version 0.1.0 name variables by this class.
        return keras.layers.Dense(
            num_experts, activation="softmax", use_bias=False, name=name, dtype=dtype
        )
    if isinstance(gate, str) and gate in _BY_NAME:
        of_few = {"k": min(2, num_experts)} if gate == "top_k" else {}
        return _BY_NAME[gate](num_experts, name=name, dtype=dtype, **of_few)
    if not isinstance(gate, Gate):
        raise ValueError(
            f"`gate` should be one of {['softmax', *_BY_NAME]} or a `mtlzoo.layers.Gate`. "
            f"Received: gate={gate!r}"
        )
    if gate.num_experts not in (None, num_experts):
        raise ValueError(
            f"`num_experts` of `gate` should be None or {num_experts}, that of the layer "
            f"`{name}`. Received: num_experts={gate.num_experts}"
        )
    config = gate.get_config() | {"num_experts": num_experts, "name": name, "dtype": dtype}
    if config.get("seed") is not None:
        # One and the same noise would have all gates choose the same experts.
        config["seed"] = (config["seed"] + zlib.crc32(name.encode())) % 2**31
    return type(gate).from_config(config)
