"""A method of losses and a method of gradients, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from mtlzoo.balancing.balancer import Balancer
from mtlzoo.balancing.gradient_balancer import GradientBalancer
from mtlzoo.balancing.jacobian_balancer import JacobianBalancer
from mtlzoo.balancing.loss_balancer import LossBalancer


@keras.saving.register_keras_serializable(package="mtlzoo")
class Combined(Balancer):
    """Weighs the losses by one method, then balances the gradients of the weighted losses.

    With uᵢ = ∂ objective / ∂ Lᵢ from the loss balancer and g̃ᵢ = uᵢ ∇Lᵢ,

        shared variables: Σᵢ wᵢ(G̃) g̃ᵢ with G̃ᵢⱼ = ⟨g̃ᵢ, g̃ⱼ⟩;   a task's own variables: g̃ᵢ

    IMTL of the paper is `Combined(IMTLL(), IMTLG())` (Liu et al., ICLR 2021).

    Args:
        losses: A loss balancer.
        gradients: A gradient balancer or a Jacobian balancer. Its `wrt`, `every` and `groups` are
            those of the whole.

    State: that of both, under names that begin with `losses_` and `gradients_`.

    Raises:
        ValueError: If one of them is of another kind.

    Example:
    ```python
    from mtlzoo.balancing import Combined, PCGrad, Uncertainty

    Combined(Uncertainty(), PCGrad(wrt="features"))
    ```
    """

    def __init__(self, losses: LossBalancer, gradients: Balancer) -> None:
        if not isinstance(losses, LossBalancer):
            raise ValueError(f"`losses` should be a `LossBalancer`. Received: `losses={losses!r}`")
        if not isinstance(gradients, GradientBalancer | JacobianBalancer):
            raise ValueError(
                "`gradients` should be a `GradientBalancer` or a `JacobianBalancer`. "
                f"Received: `gradients={gradients!r}`"
            )
        self.losses = losses
        self.gradients = gradients
        self.needs = losses.needs | gradients.needs
        self.every = gradients.every
        self.n_batches = gradients.n_batches

    @property
    def parts(self) -> dict[str, Balancer]:
        """`losses` and `gradients`."""
        return {"losses": self.losses, "gradients": self.gradients}

    @property
    def loss_part(self) -> LossBalancer:
        """`losses`."""
        return self.losses

    @property
    def gradient_part(self) -> Any:
        """`gradients`."""
        return self.gradients

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        serialize = keras.saving.serialize_keras_object
        return {"losses": serialize(self.losses), "gradients": serialize(self.gradients)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Combined:
        """A new, unbuilt balancer with these arguments."""
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})
