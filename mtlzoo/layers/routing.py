"""Connections between sub-networks that are learned to be there or not."""

import math
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_bool, check_count
from mtlzoo.layers.gate import check_weight

# The constants of Louizos et al., 2018, which the paper on routing uses too: temperature, and the
# interval to which the concrete distribution is stretched.
BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1


@keras.saving.register_keras_serializable(package="mtlzoo")
class SubNetworkRouting(keras.layers.Layer):
    r"""Connects sub-networks to those of the next layer by learned binary variables (SNR).

    With outputs $u_i$ of the sub-networks below, the sub-network $j$ above gets

    $$v_j = \sum_i z_{ij} W_{ij} u_i \text{ ("trans")} \quad \text{or} \quad
    v_j = \sum_i z_{ij} u_i \text{ ("aver")}.$$

    Each $z_{ij}$ is a hard concrete variable (Louizos et al., 2018): in training, with
    $\epsilon \sim U(0, 1)$, drawn once for all rows of a batch,

    $$s = \sigma\big((\log \epsilon - \log(1 - \epsilon) + \log \alpha_{ij}) / \beta\big), \quad
    z_{ij} = \min(1, \max(0, s (\zeta - \gamma) + \gamma)),$$

    and elsewhere $s = \sigma(\log \alpha_{ij})$, with $\beta = 2/3$, $\gamma = -0.1$ and
    $\zeta = 1.1$. The expected number of connections,

    $$\sum_{ij} P(z_{ij} \ne 0)
    = \sum_{ij} \sigma(\log \alpha_{ij} - \beta \log(-\gamma / \zeta)),$$

    times `l0_weight` is added to the objective in training.

    Args:
        num_outputs: int, the number of sub-networks above.
        routing: `"trans"` or `"aver"`. Defaults to `"trans"`.
        l0_weight: number from 0, weight of the expected number of connections. Defaults to 0.
        sample: whether $z$ is drawn in training; without it, it is what it is elsewhere. Defaults
            to `True`.
        seed: int, seed of the draws; `None` for a random one.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, ..., sub-networks below, width)` in, `(batch, ..., num_outputs, width)` out.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import SubNetworkRouting

    routing = SubNetworkRouting(2, routing="aver")
    routing(np.ones((5, 3, 4), "float32")).shape  # (5, 2, 4)
    routing.probabilities().shape  # (3, 2)
    ```

    References:
        Ma et al., *SNR: Sub-Network Routing for Flexible Parameter Sharing in Multi-Task
        Learning*, AAAI 2019.
        Louizos et al., *Learning Sparse Neural Networks through L0 Regularization*, ICLR 2018.

    *Differences from the paper*: the matrices $W_{ij}$ are square.
    """

    def __init__(
        self,
        num_outputs: int,
        routing: str = "trans",
        l0_weight: float = 0.0,
        sample: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_outputs = check_count("num_outputs", num_outputs)
        self.routing = check_routing(routing)
        self.l0_weight = check_weight("l0_weight", l0_weight)
        self.sample = check_bool("sample", sample)
        self.seed = seed
        if sample:
            self.seed_generator = keras.random.SeedGenerator(seed)
        self.input_spec = keras.layers.InputSpec(min_ndim=3)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the variables of the connections and, where there are any, the matrices."""
        below, width = input_shape[-2:]
        if below is None or width is None:
            raise ValueError(
                "The features of `SubNetworkRouting` should have shape (None, ..., N, F), with "
                f"N and F known. Received: shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=3, axes={-2: below, -1: width})
        # A connection is as likely to be drawn below a half as above; a little noise tells them
        # apart, as Louizos et al. have it.
        self.log_alpha = self.add_weight(
            name="log_alpha",
            shape=(below, self.num_outputs),
            initializer=keras.initializers.RandomNormal(stddev=0.01),
            autocast=False,
        )
        if self.routing == "trans":
            # The scale makes each square block what Glorot's initializer makes of it alone.
            self.kernel = self.add_weight(
                name="kernel",
                shape=(below * width, self.num_outputs * width),
                initializer=keras.initializers.VarianceScaling(
                    (below + self.num_outputs) / 2, "fan_avg", "uniform"
                ),
            )

    def call(self, features: Any, training: bool | None = None) -> Any:
        """What each sub-network above gets."""
        log_alpha = ops.cast(ops.convert_to_tensor(self.log_alpha), self._precision)
        if training and self.l0_weight:
            self.add_loss(self.l0_weight * ops.sum(_probabilities(log_alpha)))
        z = self._connections(log_alpha, bool(training))
        z = ops.cast(z, self.compute_dtype)
        if self.routing == "aver":
            return ops.swapaxes(ops.matmul(ops.swapaxes(features, -1, -2), z), -1, -2)
        below, width = features.shape[-2:]
        # One wide product: the connections scale the blocks of the kernel.
        blocks = ops.reshape(self.kernel, (below, width, self.num_outputs, width))
        blocks = blocks * ops.reshape(z, (below, 1, self.num_outputs, 1))
        kernel = ops.reshape(blocks, (below * width, self.num_outputs * width))
        routed = ops.matmul(ops.reshape(features, (-1, below * width)), kernel)
        return ops.reshape(routed, (*ops.shape(features)[:-2], self.num_outputs, width))

    def _connections(self, log_alpha, training):
        scaled = log_alpha
        if training and self.sample:
            # Off the ends, where logarithms are infinite.
            uniform = keras.random.uniform(
                ops.shape(log_alpha), 1e-6, 1 - 1e-6, log_alpha.dtype, seed=self.seed_generator
            )
            scaled = (ops.log(uniform) - ops.log(1 - uniform) + log_alpha) / BETA
        return ops.clip(ops.sigmoid(scaled) * (ZETA - GAMMA) + GAMMA, 0.0, 1.0)

    @property
    def _precision(self):
        return "float64" if self.compute_dtype == "float64" else "float32"

    def probabilities(self) -> Any:
        """How likely each connection is there in training, `(sub-networks below, num_outputs)`."""
        return _probabilities(ops.cast(ops.convert_to_tensor(self.log_alpha), self._precision))

    def connections(self) -> Any:
        """How strong each connection is outside of training, `(sub-networks below,
        num_outputs)`, from 0 (not there) to 1.
        """
        log_alpha = ops.cast(ops.convert_to_tensor(self.log_alpha), self._precision)
        return self._connections(log_alpha, False)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, ..., num_outputs, width)`."""
        return (*input_shape[:-2], self.num_outputs, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_outputs": self.num_outputs,
            "routing": self.routing,
            "l0_weight": self.l0_weight,
            "sample": self.sample,
            "seed": self.seed,
        }


def _probabilities(log_alpha: Any) -> Any:
    return ops.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


def check_routing(routing: str) -> str:
    """The form of a routing.

    Raises:
        ValueError: if it is not one.
    """
    if routing in ("trans", "aver"):
        return routing
    raise ValueError(f"`routing` should be 'trans' or 'aver'. Received: routing={routing!r}")
