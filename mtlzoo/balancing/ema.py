"""Moving averages of the weights of another method."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.balancer import Balancer
from mtlzoo.balancing.by_name import Identifier, get
from mtlzoo.balancing.gradient_balancer import GradientBalancer
from mtlzoo.layers.arguments import check_rate


@keras.saving.register_keras_serializable(package="mtlzoo")
class EMA(GradientBalancer):
    """Smooths the weights of another gradient balancer over the steps.

    Zhou, Zhang, Jiang, Zhong, Gu & Zhu, *On the Convergence of Stochastic Multi-Objective Gradient
    Manipulation and Beyond*, NeurIPS 2022 (CR-MOGM). With the method's weights λ̂ₖ in step k,

        λₖ = decay · λₖ₋₁ + (1 − decay) · λ̂ₖ,   λ₁ = λ̂₁

    so that the weights depend less on the noise of one batch. They have the scale of the method's
    weights. An absent task keeps its average, and one that comes later starts with its own first
    weight; in such a step the averages of a method with the scale of a mean get the sum of its own
    weights, and where one of them is negative its own weights are used. What the method promises
    for one step, such as no conflict, holds for averages only as far as the weights stay what they
    are.

    Args:
        balancer: A gradient balancer, or its name; its `wrt`, `every` and `groups` are
            those of the whole.
        decay: Number from 0 to below 1. Defaults to 0.9.

    State: `average` (T,) and `seen` (T,), 1 for tasks that have an average, or (groups, T) each;
        that of `balancer`, under names that begin with `balancer_`.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import EMA, MGDA

    EMA(MGDA(), decay=0.5).weights(np.diag([1.0, 4.0]))  # array([0.8, 0.2]), as in a first step
    ```

    Differences from the paper:
        Its decay grows as the learning rate falls; here it stays. With `every`, a step is one that
        computes weights.
    """

    def __init__(self, balancer: Identifier, decay: float = 0.9) -> None:
        inner = get(balancer)
        if not isinstance(inner, GradientBalancer):
            raise ValueError(
                f"`balancer` should be a `GradientBalancer`. Received: `balancer={balancer!r}`"
            )
        super().__init__(wrt=inner.wrt, every=inner.every, groups=inner.groups)
        self.balancer = inner
        self.decay = check_rate("decay", decay)
        self.needs = inner.needs
        self.averages = inner.averages
        self.weighs_heads = inner.weighs_heads
        self.n_batches = inner.n_batches

    @property
    def parts(self) -> dict[str, Balancer]:
        """`balancer`."""
        return {"balancer": self.balancer}

    @property
    def learned(self) -> dict[str, keras.Variable]:
        """The averages, and what `balancer` remembers."""
        inside = self.named(self.balancer, self.balancer.learned)
        own = {n: v for n, v in self._variables.items() if n in ("average", "seen")}
        return {**own, **inside}

    def create_variables(self) -> None:
        """Creates `average` and `seen`."""
        shape = (*self.lead, len(self.task_names))
        self.average = self.add_variable("average", shape, "zeros")
        self.seen = self.add_variable("seen", shape, "zeros")

    def _advance(self, gramian: Any, losses: Any, present: Any) -> tuple[Any, dict[str, Any]]:
        weights, inside = self.balancer.advance(gramian, losses, present)
        if not self.built:
            return weights, {}
        average = ops.cast(self.average, weights.dtype)
        seen = ops.cast(self.seen, weights.dtype)
        decay = self.decay * seen
        new = decay * average + (1.0 - decay) * weights
        used = ops.where(present, new, 0.0)
        if self.averages:  # what absent tasks have of the averages is shared among the others
            have, wanted = (ops.sum(w, axis=-1, keepdims=True) for w in (used, weights))
            shared = used * (wanted / ops.where(have > 0.0, have, 1.0))
            sound = ops.all(used >= 0.0, axis=-1, keepdims=True) & (have > 0.0)
            known = ops.logical_and(present, seen > 0.0)
            everyone = ops.all(known, axis=-1, keepdims=True)
            used = ops.where(everyone, used, ops.where(sound, shared, weights))
        state = {
            "average": ops.where(present, new, average),
            "seen": ops.where(present, 1.0, seen),
        }
        return used, {**state, **self.named(self.balancer, inside)}

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "balancer": keras.saving.serialize_keras_object(self.balancer),
            "decay": self.decay,
        }

    def __repr__(self) -> str:
        return f"EMA({self.balancer!r}, decay={self.decay!r})"
