"""A method of losses and a method of gradients, one after the other."""

from __future__ import annotations

from typing import Any

import keras

from mtlzoo.balancing.balancer import Balancer
from mtlzoo.balancing.by_name import Identifier, get
from mtlzoo.balancing.gradient_balancer import GradientBalancer
from mtlzoo.balancing.jacobian_balancer import JacobianBalancer
from mtlzoo.balancing.loss_balancer import LossBalancer


@keras.saving.register_keras_serializable(package="mtlzoo")
class Combined(Balancer):
    """Weighs the losses by one method, then balances the gradients of the weighted losses.

    With uᵢ = ∂ objective / ∂ Lᵢ from the loss balancer and g̃ᵢ = uᵢ ∇Lᵢ,

        shared variables: Σᵢ wᵢ(G̃) g̃ᵢ with G̃ᵢⱼ = ⟨g̃ᵢ, g̃ⱼ⟩;   a task's own variables: g̃ᵢ

    A method of gradients that also reads losses, as `GradNorm` does, is given the Lᵢ as they are,
    without the uᵢ. IMTL of the paper is `Combined(IMTLL(), IMTLG())` (Liu et al., ICLR 2021).

    Args:
        losses: A loss balancer, or its name.
        gradients: A gradient balancer or a Jacobian balancer, or its name. Its `wrt`,
            `every` and `groups` are those of the whole.

    State: that of both, under names that begin with `losses_` and `gradients_`.

    Raises:
        ValueError: If one of them is of another kind.

    Example:
    ```python
    from mtlzoo.balancing import Combined, PCGrad, Uncertainty

    Combined("uncertainty", "pcgrad")
    Combined(Uncertainty(), PCGrad(wrt="features"))
    ```
    """

    def __init__(self, losses: Identifier, gradients: Identifier) -> None:
        of_losses, of_gradients = get(losses, "losses"), get(gradients, "gradients")
        if not isinstance(of_losses, LossBalancer):
            raise ValueError(f"`losses` should be a `LossBalancer`. Received: `losses={losses!r}`")
        if not isinstance(of_gradients, GradientBalancer | JacobianBalancer):
            raise ValueError(
                "`gradients` should be a `GradientBalancer` or a `JacobianBalancer`. "
                f"Received: `gradients={gradients!r}`"
            )
        self.losses = of_losses
        self.gradients = of_gradients
        self.needs = of_losses.needs | of_gradients.needs
        self.every = of_gradients.every
        self.n_batches = of_gradients.n_batches

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
