"""FAMO: weights that let all losses fall at one rate, from the losses alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtlzoo.balancing.adam import Moments, adam_step
from mtlzoo.balancing.arguments import check_positive
from mtlzoo.balancing.loss_balancer import LossBalancer
from mtlzoo.balancing.lower_bounds import above_bounds, check_bounds
from mtlzoo.balancing.softmax import softmax_of_present
from mtlzoo.layers.arguments import check_number

_EPSILON = 1e-8  # as in the authors' code


@keras.saving.register_keras_serializable(package="mtlzoo")
class FAMO(LossBalancer):
    """Learns weights with which the logarithms of all losses fall at about the same rate.

    Liu, Feng, Stone & Liu, *FAMO: Fast Adaptive Multitask Optimization*, NeurIPS 2023. With the
    least losses b, z = softmax(ξ), and c a constant for the derivative,

        objective = c Σᵢ zᵢ log(Lᵢ − bᵢ + 1e-8),   c = 1 / Σᵢ zᵢ/(Lᵢ − bᵢ + 1e-8)

    over the tasks present in the batch. The weights c zᵢ/(Lᵢ − bᵢ) are a **mean**: their sum is 1.
    After the update of the model, one more forward pass on the batch tells by how much each
    logarithm fell, δᵢ, and ξ takes a step of Adam along the derivative of Σᵢ zᵢ δᵢ, plus `decay`
    times ξ: a task that fell more than the others gets a smaller weight. An absent task is not in
    the softmax, and its ξᵢ stays.

    A loss below bᵢ has weight 0 and no part in c. A loss equal to bᵢ gets nearly all of the weight.
    All losses are those times `loss_weights`, and so are the bᵢ meant.

    Args:
        learning_rate: Positive number, that of Adam for ξ. Defaults to 0.025, as in the paper.
        decay: Number of at least 0, by which ξ is drawn to zero. Defaults to 0.001, as in the
            paper.
        minimum_losses: Dict by task name of the losses that cannot be undercut, b. Defaults to
            `None`, zeros.

    State: `logits` (T,), ξ; `first_moment`, `second_moment` and `moves` (T,), those of Adam.

    Raises:
        ValueError: If an argument is out of its range, or if it is used before `build`.

    Example:
    ```python
    from types import SimpleNamespace
    from mtlzoo.balancing import FAMO

    balancer = FAMO()
    balancer.build([SimpleNamespace(name=n, loss_family="regression") for n in ("a", "b")])
    balancer.after_update([1.0, 4.0], [0.9, 2.0])["logits"]  # [0.025, -0.025]: b fell faster
    ```

    Differences from the paper:
        Adam counts the steps of each task on its own, which differs only where tasks are absent.
        The authors' programs have a decay of 1e-5 or 0.01 as default, where the paper's algorithm
        has 0.001, and clip the shared gradient to the length 1: `clipnorm` of the optimizer does.
    """

    numbers_by_task = ("minimum_losses",)

    needs = frozenset({"losses", "second_forward"})

    def __init__(
        self,
        learning_rate: float = 0.025,
        decay: float = 0.001,
        minimum_losses: Mapping[str, float] | None = None,
    ) -> None:
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.decay = check_number("decay", decay, "a number of at least 0", 0.0)
        self.minimum_losses = check_bounds("minimum_losses", minimum_losses)

    def create_variables(self) -> None:
        """Creates `logits` and what Adam remembers of them."""
        shape = (len(self.task_names),)
        self.logits = self.add_variable("logits", shape, "zeros")
        self.first_moment = self.add_variable("first_moment", shape, "zeros")
        self.second_moment = self.add_variable("second_moment", shape, "zeros")
        self.moves = self.add_variable("moves", shape, "zeros")

    def after_update(self, before: Any, after: Any, present: Any = None) -> dict[str, Any]:
        """What ξ and its moments become, from the losses before and after the update.

        Args:
            before: (T,) losses before the update.
            after: (T,) losses after it. A task whose loss is no longer finite learns nothing.
            present: (T,) booleans; None where all tasks are present.
        """
        before, after = ops.convert_to_tensor(before), ops.convert_to_tensor(after)
        dtype = before.dtype
        fall = ops.log(self._above(before)) - ops.log(self._above(after))
        usable = ops.logical_and(ops.isfinite(before), ops.isfinite(after))
        if present is not None:
            usable = ops.logical_and(usable, ops.cast(present, "bool"))
        fall = ops.where(usable, fall, 0.0)
        logits = ops.cast(self.logits, dtype)
        parts = softmax_of_present(logits, usable)
        gradient = parts * (fall - ops.sum(parts * fall)) + self.decay * logits
        old = (self.first_moment, self.second_moment, self.moves)
        moments = Moments(*(ops.cast(variable, dtype) for variable in old))
        logits, new = adam_step(logits, gradient, moments, self.learning_rate, usable)
        return {
            "logits": logits,
            "first_moment": new.first,
            "second_moment": new.second,
            "moves": new.count,
        }

    def _objective(self, losses: Any, present: Any) -> Any:
        self.check_built()
        above = above_bounds(self, "minimum_losses", self.minimum_losses, losses)
        # One below its bound would make the others' weights vanish, if it had a part.
        counts = ops.logical_and(present, above >= 0.0)
        parts = softmax_of_present(ops.cast(self.logits, losses.dtype), counts)
        above = ops.where(counts, above + _EPSILON, 1.0)
        total = ops.stop_gradient(ops.sum(parts / above))
        return ops.divide_no_nan(ops.sum(parts * ops.log(above)), total)

    def _above(self, losses: Any) -> Any:
        """How far each loss is above its bound, and at least 1e-8."""
        self.check_built()
        above = above_bounds(self, "minimum_losses", self.minimum_losses, losses)
        return ops.where(above >= 0.0, above, 0.0) + _EPSILON

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "learning_rate": self.learning_rate,
            "decay": self.decay,
            "minimum_losses": self.minimum_losses,
        }
