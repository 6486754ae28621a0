"""GradNorm: weights that bring the gradients to lengths that suit the rates of training."""

from __future__ import annotations

from typing import Any, Unpack

import keras
from keras import ops

from mtlzoo.balancing.adam import Moments, adam_step
from mtlzoo.balancing.arguments import check_positive
from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options
from mtlzoo.balancing.logarithms import LEAST
from mtlzoo.layers.arguments import check_number


@keras.saving.register_keras_serializable(package="mtlzoo")
class GradNorm(GradientBalancer):
    """Learns weights that make the weighted gradients equally long, longer for slower tasks.

    Chen, Badrinarayanan, Lee & Rabinovich, *GradNorm: Gradient Normalization for Adaptive Loss
    Balancing in Deep Multitask Networks*, ICML 2018. With Lᵢ(0) the task's first loss,

        Gᵢ = wᵢ |gᵢ|,   rᵢ = Lᵢ/Lᵢ(0) / meanⱼ Lⱼ/Lⱼ(0),   L_grad = Σᵢ |Gᵢ − meanⱼ Gⱼ · rᵢ^alpha|

    over the tasks present in the batch. In each step the model moves by Σᵢ wᵢ ∇Lᵢ, heads included,
    with the w of the steps before; then w takes a step of Adam down L_grad, in which the targets
    meanⱼ Gⱼ rᵢ^alpha are constants, and is scaled to the sum T. So the weights have the scale of a
    **sum** and are all 1 at first. They move by about `learning_rate` in a step, so that the scale
    of a loss decides in the beginning, and a weight that should be smaller than `learning_rate`
    swings between 0 and there: use `loss_weights` for losses that are far apart.

    A weight is never below 0. A task with a zero gradient has a G of zero and draws the mean down;
    its own weight has no derivative. An absent task keeps its weight, and the others' sum is T less
    that. A loss of at most 1e-20 is not taken as Lᵢ(0), and where there is none yet, Lᵢ/Lᵢ(0) is 1;
    that of a negative loss is 0.

    Args:
        alpha: Number of at least 0: how much longer the gradient of a slow task should be. Defaults
            to 1.5, as in the paper for its networks on NYUv2.
        learning_rate: Positive number, that of Adam for the weights. Defaults to 0.025.
        **options: `wrt`, `every` and `groups`, see `GradientBalancer`. The paper takes the
            gradients by the last shared layer: `wrt="features"`, its output, comes close, and is
            cheaper.

    State: `scale` (T,), the weights; `first_moment`, `second_moment` and `moves` (T,), those of
    Adam; `initial_losses` (T,), Lᵢ(0), 0 if unknown. With `groups`, (number of groups, T).

    Shapes: Gramian (..., T, T), of which the diagonal is used, weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import GradNorm

    GradNorm().weights(np.diag([1.0, 4.0]), losses=[1.0, 1.0])  # array([1., 1.]), at the start
    ```

    Differences from the paper:
        The paper's algorithm leaves open by which optimizer w is trained; Adam does not mind that
        its derivatives are as long as the gradients. With one task in a batch, the weight is 1 and
        nothing is learned. Its weights are those of losses, heads included, but it finds them from
        the lengths of gradients, so that here it is a gradient balancer: `wrt`, `every` and
        `groups` are its options, and `Combined` takes it as the second part only, not as a
        weighting of losses for a method such as PCGrad.
    """

    needs = frozenset({"losses", "gramian"})
    weighs_heads = True

    def __init__(
        self, alpha: float = 1.5, learning_rate: float = 0.025, **options: Unpack[Options]
    ) -> None:
        super().__init__(**options)
        self.alpha = check_number("alpha", alpha, "a number of at least 0", 0.0)
        self.learning_rate = check_positive("learning_rate", learning_rate)

    def create_variables(self) -> None:
        """Creates the weights, what Adam remembers of them, and the first losses."""
        shape = (*self.lead, len(self.task_names))
        self.scale = self.add_variable("scale", shape, "ones")
        self.first_moment = self.add_variable("first_moment", shape, "zeros")
        self.second_moment = self.add_variable("second_moment", shape, "zeros")
        self.moves = self.add_variable("moves", shape, "zeros")
        self.initial_losses = self.add_variable("initial_losses", shape, "zeros")

    def _advance(self, gramian: Any, losses: Any, present: Any) -> tuple[Any, dict[str, Any]]:
        lengths = ops.sqrt(ops.relu(ops.diagonal(gramian, axis1=-2, axis2=-1)))
        if not self.built:
            return ops.ones_like(lengths), {}
        dtype = lengths.dtype
        scale = ops.broadcast_to(ops.cast(self.scale, dtype), lengths.shape)
        first, rate = self._rates(losses, present, dtype)
        target = _mean(scale * lengths, present) * rate**self.alpha
        gradient = ops.sign(scale * lengths - target) * lengths
        old = (self.first_moment, self.second_moment, self.moves)
        moments = Moments(*(ops.cast(variable, dtype) for variable in old))
        new, moments = adam_step(scale, gradient, moments, self.learning_rate, present)
        learned = {
            "scale": _rescaled(ops.relu(new), scale, present),
            "first_moment": moments.first,
            "second_moment": moments.second,
            "moves": moments.count,
            "initial_losses": first,
        }
        return scale, learned

    def _rates(self, losses: Any, present: Any, dtype: Any) -> tuple[Any, Any]:
        """The first losses, with those of this step, and the relative inverse rates of training."""
        losses = ops.broadcast_to(losses, present.shape)
        usable = ops.logical_and(ops.isfinite(losses), losses > LEAST)
        known = ops.cast(self.initial_losses, dtype)
        new = ops.where(ops.logical_and(present, usable), losses, 0.0)
        first = ops.where(known > 0.0, known, new)
        left = ops.where(ops.isfinite(losses), ops.relu(losses), 0.0)
        ratio = ops.where(first > 0.0, left / ops.where(first > 0.0, first, 1.0), 1.0)
        mean = _mean(ratio, present)
        return first, ops.where(mean > 0.0, ratio / ops.where(mean > 0.0, mean, 1.0), 1.0)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"alpha": self.alpha, "learning_rate": self.learning_rate, **super().get_config()}


def _mean(values: Any, present: Any) -> Any:
    """The mean (..., 1) over the tasks that are present."""
    ones = ops.cast(present, values.dtype)
    total = ops.sum(values * ones, axis=-1, keepdims=True)
    return total / ops.maximum(ops.sum(ones, axis=-1, keepdims=True), 1.0)


def _rescaled(new: Any, old: Any, present: Any) -> Any:
    """The new weights with a sum of T, by those that are present; the old ones if all are zero."""
    others = ops.sum(ops.where(present, 0.0, old), axis=-1, keepdims=True)
    total = ops.sum(ops.where(present, new, 0.0), axis=-1, keepdims=True)
    factor = (new.shape[-1] - others) / ops.where(total > 0.0, total, 1.0)
    return ops.where(ops.logical_and(present, total > 0.0), new * factor, old)
