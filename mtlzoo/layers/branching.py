"""The choice of a parent among the nodes of the stage before."""

from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.layers.hashing import random_bits


@keras.saving.register_keras_serializable(package="mtlzoo")
class Branching(keras.layers.Layer):
    r"""What a child reads of its possible parents: a random mixture in training, then one of them.

    With logits $\theta$ over the P parents $y_1, \ldots, y_P$,

    $$x = \sum_i d_i y_i, \quad
    d = \mathrm{softmax}\Big(\frac{\log p + g}{\tau}\Big), \quad p = \mathrm{softmax}(\theta), \quad
    g_i = -\log(-\log u_i), \quad u_i \sim U(0, 1)$$

    in training: a draw of the Gumbel-softmax distribution for the whole batch (Jang et al., 2017).
    Otherwise $d$ is 1 for the largest $\theta_i$ and 0 for the others, and its derivative is that
    of $p$. The temperature after $s$ steps of training is

    $$\tau = \max\Big(\tau_\text{min}, \frac{\tau_0}{\sqrt{1 + \max(0, s - w)}}\Big),$$

    and in the first $w$ steps $d_i = 1/P$, so that $\theta$ has no gradient. The layer counts the
    steps, and saves their number. The noise is a hash of `seed` and that number: the same eagerly,
    in graphs, under XLA, and on every replica.

    Args:
        temperature: positive number, $\tau_0$. Defaults to 10.0.
        min_temperature: positive number, $\tau_\text{min}$. Defaults to 0.1.
        warm_up_steps: int from 0, $w$. Defaults to 0.
        seed: int, seed of the noise. Defaults to 0.
        **kwargs: those of `keras.layers.Layer`.

    Shapes:
        A list of P tensors of one shape in, one tensor of that shape out.

    Raises:
        ValueError: if an argument is out of its range, or there is no list of parents.

    Example:
    ```python
    import numpy as np
    from mtlzoo.layers import Branching

    parents = [np.zeros((2, 3), "float32"), np.ones((2, 3), "float32")]
    layer = Branching()
    layer(parents)  # zeros: the first parent, as long as all logits are 0
    layer.probabilities()  # [0.5, 0.5]
    ```
    """

    def __init__(
        self,
        temperature: float = 10.0,
        min_temperature: float = 0.1,
        warm_up_steps: int = 0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.temperature = _check_positive("temperature", temperature)
        self.min_temperature = _check_positive("min_temperature", min_temperature)
        for argument, value in {"warm_up_steps": warm_up_steps, "seed": seed}.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(
                    f"`{argument}` should be an integer from 0. Received: {argument}={value!r}"
                )
        self.warm_up_steps = warm_up_steps
        self.seed = seed
        self.supports_masking = True

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the first parent: all of them have one length."""
        return None if previous_mask is None else previous_mask[0]

    def build(self, input_shape: Any) -> None:
        """Make one logit for each parent."""
        if not isinstance(input_shape, list | tuple) or not isinstance(
            input_shape[0], list | tuple
        ):
            raise ValueError(
                "The input of `Branching` should be a list of tensors, one for each parent. "
                f"Received: shape={input_shape}"
            )
        shapes = {tuple(shape) for shape in input_shape}
        if len(shapes) > 1:
            raise ValueError(
                f"The parents of `Branching` should have one shape. Received: {sorted(shapes)}"
            )
        self.logits = self.add_weight(
            name="logits", shape=(len(input_shape),), initializer="zeros", autocast=False
        )
        # An integer, which the training step leaves alone where it puts an absent task's averages
        # back: every task's temperature is that of the same step.
        self.steps = self.add_weight(
            name="steps",
            shape=(),
            dtype="int32",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    def call(self, parents: Any, training: bool | None = None) -> Any:
        """The mixture of the parents, or the chosen one."""
        probabilities = _softmax(self.logits)
        if training:
            weights = self._draw(ops.log_softmax(self.logits))
            self.steps.assign(self.steps + 1)
        else:
            chosen = ops.one_hot(ops.argmax(self.logits), len(parents), dtype=self.logits.dtype)
            weights = chosen + (probabilities - ops.stop_gradient(probabilities))
        stacked = ops.stack(parents)
        return ops.tensordot(ops.cast(weights, stacked.dtype), stacked, axes=1)

    def _draw(self, log_probabilities: Any) -> Any:
        step = ops.convert_to_tensor(self.steps)
        uniform = _uniform(self.seed, step, tuple(log_probabilities.shape))
        gumbel = -ops.log(-ops.log(ops.cast(uniform, log_probabilities.dtype)))
        temperature = ops.cast(self._temperature(step), log_probabilities.dtype)
        drawn = _softmax((log_probabilities + gumbel) / temperature)
        equal = ops.ones_like(drawn) / drawn.shape[0]
        return ops.where(step < self.warm_up_steps, equal, drawn)

    def _temperature(self, step: Any) -> Any:
        counted = ops.cast(ops.maximum(step - self.warm_up_steps, 0), "float32")
        return ops.maximum(self.temperature / ops.sqrt(1.0 + counted), self.min_temperature)

    def current_temperature(self) -> float:
        """The temperature of the next step of training."""
        return float(ops.convert_to_numpy(self._temperature(ops.convert_to_tensor(self.steps))))

    def probabilities(self) -> np.ndarray:
        """How probable each parent is, an array `(P,)`."""
        return ops.convert_to_numpy(_softmax(self.logits))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape of a parent."""
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "min_temperature": self.min_temperature,
            "warm_up_steps": self.warm_up_steps,
            "seed": self.seed,
        }


def _softmax(logits: Any) -> Any:
    # That of Keras warns where there is a single parent.
    return ops.exp(ops.log_softmax(logits))


def _uniform(seed: int, step: Any, shape: tuple[int, ...]) -> Any:
    """Numbers between 0 and 1, both left out, another set in each step."""
    # 23 bits and a half: with more, float32 would round the largest to 1.
    whole = ops.cast(ops.right_shift(random_bits(seed, step, shape), np.uint32(9)), "float32")
    return (whole + 0.5) * 2.0**-23


def _check_positive(argument: str, value: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and 0 < value < float("inf"):
        return float(value)
    raise ValueError(f"`{argument}` should be a positive number. Received: {argument}={value!r}")
