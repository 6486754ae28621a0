"""A gate that chooses a few experts smoothly."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.layers.arguments import check_bool, check_count
from mtlzoo.layers.gate import TINY, Gate, check_weight, mean_over_rows
from mtlzoo.layers.positions import to_positions, to_rows


@keras.saving.register_keras_serializable(package="mtlzoo")
class DSelectKGate(Gate):
    r"""At most `num_selected` experts, chosen smoothly (DSelect-k; Hazimeh et al., 2021).

    Each of the selectors writes the number of an expert with $m = \lceil \log_2 n \rceil$ digits
    between 0 and 1, each a smooth step of a real number $z$; a softmax weighs the selectors:

    $$S(t) = \begin{cases} 0 & t \le -\gamma/2 \\
    -\frac{2}{\gamma^3} t^3 + \frac{3}{2 \gamma} t + \frac12 & |t| \le \gamma/2 \\
    1 & t \ge \gamma/2, \end{cases} \qquad
    r(z)_i = \prod_{j=1}^{m} \begin{cases} S(z_j) & \text{digit } j \text{ of } i \text{ is } 1 \\
    1 - S(z_j) & \text{else,} \end{cases}$$

    $$g_i = \sum_{s} \mathrm{softmax}(\alpha)_s\, r(z^{(s)})_i.$$

    Once all digits are 0 or 1, each selector has chosen one expert; a positive `entropy_weight`
    makes it come to that. Digits that are exactly 0 or 1 get no more gradient. Where $n$ is no
    power of 2, some numbers are those of no expert: there
    $\lambda_\text{code} \sum_s (1 / \sum_{i < n} r(z^{(s)})_i - 1)$ is added in training, and
    until it is 0, rows sum to less than 1.

    Args:
        num_experts: see `Gate`.
        num_selected: int, the number of selectors. Defaults to 2.
        gamma: positive number, the width of the smooth step. Defaults to 1.
        per_example: whether $z$ and $\alpha$ are linear in the features, so that each row has
            experts of its own; else they are variables, the same for all rows. Defaults to `True`.
        importance_weight: see `Gate`. Defaults to 0.
        entropy_weight: see `Gate`; that of the selectors' entropies, summed. Defaults to 0.
        hidden_units: see `Gate`; only for each row's own experts. Defaults to `()`.
        code_weight: number from 0, the weight $\lambda_\text{code}$. Defaults to 1, as in the
            paper's program.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        `(batch, features)` in, `(batch, num_experts)` out.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
    ```python
    import keras
    from mtlzoo import MMoE, Regression
    from mtlzoo.layers import DSelectKGate

    tasks = [Regression("a"), Regression("b")]
    model = MMoE(keras.Input((8,)), tasks, gate=DSelectKGate(num_selected=2, entropy_weight=0.01))
    ```

    References:
        Hazimeh et al., *DSelect-k: Differentiable Selection in the Mixture of Experts with
        Applications to Multi-Task Learning*, NeurIPS 2021.

    *Differences from the paper*: losses are means over the rows instead of sums, that of the codes
    is 0 instead of 1 for each selector where there is nothing to mend, and the entropy has a
    constant weight instead of a schedule.
    """

    def __init__(
        self,
        num_experts: int | None = None,
        num_selected: int = 2,
        gamma: float = 1.0,
        *,
        per_example: bool = True,
        importance_weight: float = 0.0,
        entropy_weight: float = 0.0,
        hidden_units: Sequence[int] = (),
        code_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_experts,
            importance_weight=importance_weight,
            entropy_weight=entropy_weight,
            hidden_units=hidden_units,
            **kwargs,
        )
        self.num_selected = check_count("num_selected", num_selected)
        self.gamma = check_weight("gamma", gamma)
        if not self.gamma:
            raise ValueError(f"`gamma` should be positive. Received: gamma={gamma!r}")
        self.per_example = check_bool("per_example", per_example)
        if self.hidden_units and not per_example:
            raise ValueError(
                "`hidden_units` should be () where `per_example=False`: no features are read. "
                f"Received: hidden_units={hidden_units!r}"
            )
        self.code_weight = check_weight("code_weight", code_weight)

    def build(self, input_shape: Any) -> None:
        """Make the variables of codes and of selectors."""
        super().build(input_shape)
        assert self.num_experts is not None
        self.num_digits = (self.num_experts - 1).bit_length()
        numbers = np.arange(self.num_experts)[:, None]
        places = np.arange(self.num_digits)
        self._digits = (numbers >> places & 1).astype("float32")  # (num_experts, num_digits)
        # As in the paper's program: digits start near a half, where the step is steepest.
        near_half = keras.initializers.RandomUniform(-self.gamma / 100, self.gamma / 100)
        self.code_kernel = self.code_bias = None
        if self.num_digits:  # one expert needs none
            width = self.num_selected * self.num_digits
            self.code_kernel, self.code_bias = self._linear("code", width, near_half)
        initializer = keras.initializers.RandomUniform(-0.05, 0.05)
        self.selector_kernel, self.selector_bias = self._linear(
            "selector", self.num_selected, initializer
        )

    def _linear(self, name, width, initializer):
        kernel = None
        if self.per_example:
            kernel = self.add_weight(
                name=f"{name}_kernel", shape=(self.width, width), initializer=initializer
            )
        again = type(initializer).from_config(initializer.get_config())  # with draws of its own
        return kernel, self.add_weight(name=f"{name}_bias", shape=(width,), initializer=again)

    def call(self, features: Any, training: bool | None = None) -> Any:
        """The weight of each expert for each row."""
        given, features = features, self._hidden(to_rows(features))
        logits = self._affine(features, self.selector_kernel, self.selector_bias)
        # A softmax; that of Keras warns of a single selector.
        shares = ops.exp(logits - ops.logsumexp(logits, axis=-1, keepdims=True))
        shares = ops.expand_dims(shares, -1)
        selectors = self._selectors(features, shares)
        weights = ops.sum(shares * selectors, axis=1)
        if training:
            self._regularize(weights, selectors)
            if self.code_weight and self.num_experts != 2**self.num_digits:
                reached = ops.sum(selectors, axis=-1)
                penalty = 1 / ops.maximum(reached, TINY) - 1
                self.add_loss(self.code_weight * mean_over_rows(penalty))
        return to_positions(ops.cast(weights, self.compute_dtype), given)

    def _affine(self, features, kernel, bias):
        """`(batch, width)`, also where the features do not matter."""
        if kernel is None:
            zeros = ops.zeros_like(self._precise(features[:, :1]))
            return zeros + self._precise(ops.convert_to_tensor(bias))
        return self._precise(ops.matmul(features, kernel) + bias)

    def _selectors(self, features, shares):
        """`(batch, num_selected, num_experts)`: what each selector has chosen."""
        if not self.num_digits:
            return ops.ones_like(shares)
        codes = self._affine(features, self.code_kernel, self.code_bias)
        codes = ops.reshape(codes, (-1, self.num_selected, 1, self.num_digits))
        steps = smooth_step(codes, self.gamma)
        digits = ops.cast(self._digits, steps.dtype)
        factors = digits * steps + (1 - digits) * (1 - steps)
        product = factors[..., 0]
        for j in range(1, self.num_digits):  # a handful
            product = product * factors[..., j]
        return product

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_selected": self.num_selected,
            "gamma": self.gamma,
            "per_example": self.per_example,
            "code_weight": self.code_weight,
        }


def smooth_step(values: Any, gamma: float = 1.0) -> Any:
    """A cubic from 0, at `-gamma / 2` and below, to 1, at `gamma / 2` and above.

    Args:
        values: tensor.
        gamma: positive number. Defaults to 1.
    """
    t = ops.clip(values / gamma, -0.5, 0.5)
    return (1.5 - 2 * t * t) * t + 0.5
