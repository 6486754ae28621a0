"""RLW: random weights in each step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import check_seed, to_numbers
from mtlzoo.balancing.loss_balancer import LossBalancer
from mtlzoo.balancing.softmax import softmax_of_present
from mtlzoo.layers.hashing import random_bits

DISTRIBUTIONS = ("normal", "uniform", "dirichlet", "bernoulli", "constrained_bernoulli")


@keras.saving.register_keras_serializable(package="mtlzoo")
class RLW(LossBalancer):
    """Draws new weights of the losses in each step.

    Lin, Ye, Zhang & Tsang, *Reasonable Effectiveness of Random Weighting: A Litmus Test for
    Multi-Task Learning*, TMLR 2022. The objective is Σᵢ wᵢ Lᵢ over the tasks present in the batch,
    with

        w = softmax(x)        xᵢ from the standard normal distribution, or uniform in (0, 1)
        w from Dirichlet(1)   all weights of that sum are equally likely
        w = b / Σₖ bₖ         bᵢ 0 or 1 with probability ½ each, at least one of them 1; or exactly
                              one of them 1 ("constrained")

    The weights are a **mean**: their sum is 1, and each one's expectation 1/n.

    Args:
        distribution: `"normal"`, `"uniform"`, `"dirichlet"`, `"bernoulli"` or
            `"constrained_bernoulli"`. Defaults to `"normal"`.
        seed: Integer; with the step it decides the weights, the same in every mode and replica.
            Defaults to 0.

    Raises:
        ValueError: If an argument is none of these.

    Example:
    ```python
    from mtlzoo.balancing import RLW

    float(RLW().objective([2.0, 2.0]))  # 2.0, whatever the weights
    ```

    Differences from the paper:
        LibMTL takes the softmax of a sample from Dirichlet(1) too, which makes it more even, and
        does not divide the 0 and 1 of `"bernoulli"` by their sum.
    """

    def __init__(self, distribution: str = "normal", seed: int = 0) -> None:
        if distribution not in DISTRIBUTIONS:
            raise ValueError(
                f"`distribution` should be one of {list(DISTRIBUTIONS)}. "
                f"Received: `distribution={distribution!r}`"
            )
        self.distribution = distribution
        self.seed = check_seed(seed)

    def weights(self, present: Any, dtype: str = "float32") -> Any:
        """The weights (T,) of the present step.

        Args:
            present: (T,) booleans; the weights of the others are 0.
            dtype: The precision of the result. Defaults to `"float32"`.
        """
        wide = "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"
        return ops.cast(self._drawn(ops.cast(to_numbers("present", present), "bool"), wide), dtype)

    def _drawn(self, present: Any, dtype: str) -> Any:
        size = present.shape[-1]
        bits = random_bits(self.seed, 0 if self.step is None else self.step, (2, size))
        if self.distribution == "bernoulli":
            return _share(_some(bits[0], present), dtype)
        uniform = _uniform(bits, dtype)
        if self.distribution == "constrained_bernoulli":
            first = ops.where(present, uniform[0], 2.0)
            lead = ops.logical_and(present, first <= ops.min(first))
            return _share(lead, dtype)
        if self.distribution == "dirichlet":
            # Independent exponential variables by their sum.
            return _share(ops.where(present, -ops.log(uniform[0]), 0.0), dtype)
        if self.distribution == "uniform":
            return softmax_of_present(uniform[0], present)
        # Box & Muller, "A Note on the Generation of Random Normal Deviates", 1958.
        normal = ops.sqrt(-2.0 * ops.log(uniform[0])) * ops.cos(2.0 * np.pi * uniform[1])
        return softmax_of_present(normal, present)

    def _objective(self, losses: Any, present: Any) -> Any:
        weights = self.weights(present, losses.dtype)
        return ops.sum(ops.where(present, weights * losses, 0.0))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"distribution": self.distribution, "seed": self.seed}


def _uniform(bits: Any, dtype: Any) -> Any:
    """Numbers strictly between 0 and 1: the upper 23 bits, which float32 holds with the half."""
    return (ops.cast(ops.right_shift(bits, np.uint32(9)), dtype) + 0.5) * 2.0**-23


def _some(bits: Any, present: Any) -> Any:
    """A subset of the tasks that are present, all but the empty one equally likely.

    Each of the 32 bits of a task is one draw for it. The first draw in which a task is chosen
    counts, as if the others had been thrown away; if none is (once in 2^64 steps or less often,
    for two tasks), all are.
    """
    draws = ops.right_shift(bits, np.arange(32, dtype="uint32")[:, None])
    chosen = ops.logical_and(ops.equal(ops.bitwise_and(draws, np.uint32(1)), 1), present)
    found = ops.any(chosen, axis=-1)
    first = ops.equal(np.arange(32), ops.argmax(ops.cast(found, "int32")))
    subset = ops.any(ops.logical_and(chosen, first[:, None]), axis=0)
    return ops.where(ops.any(found), subset, present)


def _share(parts: Any, dtype: Any) -> Any:
    """Parts that are not negative, by their sum."""
    parts = ops.cast(parts, dtype)
    return ops.divide_no_nan(parts, ops.sum(parts))
