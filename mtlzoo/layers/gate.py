"""What all gates of a mixture of experts have in common."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtlzoo.layers.arguments import check_count, check_number, check_units
from mtlzoo.layers.positions import to_positions, to_rows

# Below this, probabilities count as 0 and sums as empty.
TINY = 1e-6


class Gate(keras.layers.Layer):
    r"""Base of the gates: how much of each expert goes into a mixture, for each row.

    A mixture of the zoo takes as `gate`:

    * `"softmax"`: all experts, weighed by a softmax (a plain `keras.layers.Dense`);
    * `"top_k"`: the two best, or the only one there is, see `TopKGate`;
    * `"dselect_k"`: at most two, chosen smoothly, see `DSelectKGate`;
    * a gate of any of these classes, or of a subclass of this one, with arguments of its own and
      without a number of experts. Each task gets one like it, with the model's `dtype`.

    In training a gate adds two losses, each with its weight. The *importance* of an expert is the
    sum of its weights over the batch; the squared coefficient of variation of importances (Shazeer
    et al., 2017) keeps all experts in use. The mean entropy of the rows (of the selectors, in
    `DSelectKGate`) makes the gate decide. With $n$ experts and the weights $g_{bi}$ of row $b$,

    $$\lambda_\text{imp}\, \frac{\mathrm{Var}_i(I_i)}{\mathrm{Mean}_i(I_i)^2}, \quad
    I_i = \sum_b g_{bi}, \qquad
    \lambda_\text{ent}\, \frac1B \sum_b \Big(-\sum_i g_{bi} \log g_{bi}\Big).$$

    They are added to the objective as regularization is, whichever balancer weighs the tasks, and
    on several replicas they are the mean of the replicas' terms, by their rows.

    With `hidden_units` a gate reads hidden layers instead of the features,
    $\mathrm{relu}(\ldots \mathrm{relu}(x V_1 + c_1) \ldots V_n + c_n)$. So does `_weights` of a
    subclass, which finds their width in `self.width` after `super().build`.

    Args:
        num_experts: int, the number of experts; `None` in the `gate` of a mixture, which knows it.
        importance_weight: number from 0, weight of the loss that keeps experts in use. Defaults
            to 0.
        entropy_weight: number from 0, weight of the entropy. Defaults to 0.
        hidden_units: widths of fully connected layers before the gate's own product, each with a
            bias and a rectifier. Defaults to `()`, none.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, ..., features)` in, `(batch, ..., num_experts)` out: each position of a sequence
        or a map counts as a row.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    import keras
    from keras import ops
    from mtlzoo import MMoE, Regression
    from mtlzoo.layers import Gate

    @keras.saving.register_keras_serializable(package="my_project")
    class FirstExpert(Gate):
        def _weights(self, features, training):
            first = ops.one_hot(0, self.num_experts, dtype=features.dtype)
            return ops.zeros_like(features[:, :1]) + first

    model = MMoE(keras.Input((8,)), [Regression("a"), Regression("b")], gate=FirstExpert())
    ```

    References:
        Shazeer et al., *Outrageously Large Neural Networks: The Sparsely-Gated
        Mixture-of-Experts Layer*, ICLR 2017.

    *Differences from the paper*: without its second balancing loss, that of the load, and all
    experts are computed, also those of weight 0: shapes stay static, and no time is saved.
    """

    def __init__(
        self,
        num_experts: int | None = None,
        *,
        importance_weight: float = 0.0,
        entropy_weight: float = 0.0,
        hidden_units: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_experts is not None:
            check_count("num_experts", num_experts)
        self.num_experts = num_experts
        self.importance_weight = check_weight("importance_weight", importance_weight)
        self.entropy_weight = check_weight("entropy_weight", entropy_weight)
        self.hidden_units = check_units("hidden_units", hidden_units)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Check what the variables are made for, and make the hidden layers."""
        if self.num_experts is None:
            raise ValueError(
                "`num_experts` should be given to a gate outside of a mixture. "
                "Received: num_experts=None"
            )
        if input_shape[-1] is None:
            raise ValueError(
                f"The features of `{type(self).__name__}` should have shape (None, ..., F), with "
                f"F known. Received: shape={tuple(input_shape)}"
            )
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})
        self.width = input_shape[-1]
        self.hidden_kernels, self.hidden_biases = [], []
        for i, units in enumerate(self.hidden_units):
            kernel = self.add_weight(
                name=f"hidden_kernel_{i}", shape=(self.width, units), initializer="glorot_uniform"
            )
            bias = self.add_weight(name=f"hidden_bias_{i}", shape=(units,), initializer="zeros")
            self.hidden_kernels.append(kernel)
            self.hidden_biases.append(bias)
            self.width = units

    def call(self, features: Any, training: bool | None = None) -> Any:
        """The weight of each expert for each row."""
        weights = self._weights(self._hidden(to_rows(features)), bool(training))
        if training:
            self._regularize(weights, weights)
        return to_positions(ops.cast(weights, self.compute_dtype), features)

    def _weights(self, features: Any, training: bool) -> Any:
        raise NotImplementedError

    def _hidden(self, rows: Any) -> Any:
        for kernel, bias in zip(self.hidden_kernels, self.hidden_biases, strict=True):
            rows = ops.relu(ops.matmul(rows, kernel) + bias)
        return rows

    def _regularize(self, weights: Any, distributions: Any) -> None:
        """Add the losses of `weights` `(batch, num_experts)`, and of what decides."""
        if self.importance_weight:
            self.add_loss(self.importance_weight * importance_loss(weights))
        if self.entropy_weight:
            self.add_loss(self.entropy_weight * mean_entropy(distributions))

    def _precise(self, logits: Any) -> Any:
        """In half precision, logits cannot tell experts apart finely, nor losses be summed."""
        return ops.cast(logits, "float64" if self.compute_dtype == "float64" else "float32")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`(batch, ..., num_experts)`."""
        return (*input_shape[:-1], self.num_experts)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_experts": self.num_experts,
            "importance_weight": self.importance_weight,
            "entropy_weight": self.entropy_weight,
            "hidden_units": list(self.hidden_units),
        }

    def scaled(self, scale: float) -> "Gate":
        """A new gate like this one, with hidden layers of other widths.

        Args:
            scale: positive number, factor of `hidden_units`, which become at least 1.
        """
        config = self.get_config()
        if self.hidden_units:
            config["hidden_units"] = [max(1, round(units * scale)) for units in self.hidden_units]
        return type(self).from_config(config)


def importance_loss(weights: Any) -> Any:
    """The squared coefficient of variation of the experts' sums of weights over the batch.

    Args:
        weights: `(batch, num_experts)`.
    """
    importance = ops.sum(weights, axis=0)
    # Of no rows at all, as a replica may have, it is 0.
    return ops.var(importance) / (ops.mean(importance) ** 2 + TINY**2)


def mean_entropy(distributions: Any) -> Any:
    """The entropy of what stands along the last axis, in nats: summed over the axes between, mean
    over the rows.

    Args:
        distributions: `(batch, ..., num_experts)`.
    """
    logs = ops.log(ops.maximum(distributions, TINY))
    return -mean_over_rows(distributions * logs)


def mean_over_rows(values: Any) -> Any:
    """The sum of `values`, divided by the number of rows, if there are any."""
    rows = ops.cast(ops.shape(values)[0], values.dtype)
    return ops.sum(values) / ops.maximum(rows, 1)


def check_weight(argument: str, weight: float) -> float:
    """A finite number that is not negative.

    Raises:
        ValueError: naming the argument, for anything else.
    """
    return check_number(argument, weight, "a finite number that is not negative", 0)
