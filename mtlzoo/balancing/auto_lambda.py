"""Auto-λ: task weights that are learned on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.adam import Moments, adam_step
from mtlzoo.balancing.arguments import check_positive
from mtlzoo.balancing.loss_balancer import LossBalancer


@keras.saving.register_keras_serializable(package="mtlzoo")
class AutoLambda(LossBalancer):
    """Learns the weights with which a training step lowers the held-out losses most.

    Liu, James, Davison & Johns, *Auto-Lambda: Disentangling Dynamic Task Relationships*, TMLR 2022.
    The lower problem is the training, θ' = θ − η Σᵢ λᵢ ∇Lᵢ(θ), **heads included**; the upper one is
    Σ Lⱼ of the primary tasks j on held-out rows, at θ'. Its derivative by λᵢ is

        −η ⟨∇Lᵢ(θ), Σⱼ ∇Lⱼ(θ') held out⟩

    and λ takes a step of Adam down it. So a task whose gradient agrees with what the primary tasks
    need on rows that were not trained on gains weight, and one that disagrees loses it.

    **The data contract**: half of each batch is held out, the rows with odd places in one step and
    those with even places in the next. From them only λ learns; losses and metrics in the logs are
    those of the others (normalization and dropout do see all rows). Where no primary task has a
    held-out label, λ stays. A step costs T + 1 backward passes
    and one forward pass more than equal weights.

    Args:
        primary: Names of the tasks that count on the held-out rows. Defaults to `None`, all tasks.
        initial: Positive number, λ at the start. Defaults to 0.1.
        learning_rate: Positive number, that of Adam for λ: about the change of a weight in a step.
            Defaults to 0.0001.

    State: `lambda` (T,); `first_moment`, `second_moment` and `moves` (T,), those of Adam.

    Raises:
        ValueError: If an argument is out of its range, `primary` does not name tasks, or it is used
            before `build`.

    Example:
    ```python
    from mtlzoo.balancing import AutoLambda

    AutoLambda(primary=["click"], learning_rate=0.001)
    ```

    Differences from the paper:
        θ' is what the model's own optimizer makes of θ in the step itself, with no step back; the
        derivative takes η as 1, which Adam does not mind. The product is computed with the
        gradients themselves, where the authors use finite differences. λ is kept at 0 or above. The
        authors draw held-out batches from the training data anew; here they are a part of each.
    """

    needs = frozenset({"losses", "holdout"})

    def __init__(
        self,
        primary: Sequence[str] | None = None,
        initial: float = 0.1,
        learning_rate: float = 1e-4,
    ) -> None:
        if primary is not None and (
            not isinstance(primary, list | tuple)
            or not primary
            or not all(isinstance(name, str) for name in primary)
        ):
            raise ValueError(
                f"`primary` should be a list of task names. Received: `primary={primary!r}`"
            )
        self.primary = None if primary is None else list(primary)
        self.initial = check_positive("initial", initial)
        self.learning_rate = check_positive("learning_rate", learning_rate)

    def create_variables(self) -> None:
        """Creates `lambda` and what Adam remembers of it."""
        for name in self.primary or ():
            if name not in self.task_names:
                raise ValueError(
                    f"`primary` should name some of the tasks {list(self.task_names)}. "
                    f"Received: {name!r}"
                )
        shape = (len(self.task_names),)
        start = keras.initializers.Constant(self.initial)
        self.multipliers = self.add_variable("lambda", shape, start)
        self.first_moment = self.add_variable("first_moment", shape, "zeros")
        self.second_moment = self.add_variable("second_moment", shape, "zeros")
        self.moves = self.add_variable("moves", shape, "zeros")

    def held_out_weights(self) -> Any:
        """1 for the primary tasks and 0 for the others, (T,)."""
        primary = self.task_names if self.primary is None else self.primary
        return ops.convert_to_tensor(np.isin(self.task_names, primary).astype("float32"))

    def after_holdout(self, agreement: Any, present: Any = None) -> dict[str, Any]:
        """What λ and its moments become.

        Args:
            agreement: (T,) inner products of each task's training gradient with the gradient of the
                held-out losses.
            present: (T,) booleans, which tasks have training labels; None for all. The weight of
                an absent one stays.
        """
        agreement = ops.convert_to_tensor(agreement)
        present = self._present(present, agreement.shape)
        if present is None:
            present = ops.ones(agreement.shape, "bool")
        state = (self.multipliers, self.first_moment, self.second_moment, self.moves)
        old, *moments = (ops.cast(variable, agreement.dtype) for variable in state)
        new, kept = adam_step(old, -agreement, Moments(*moments), self.learning_rate, present)
        return {
            "lambda": ops.relu(new),
            "first_moment": kept.first,
            "second_moment": kept.second,
            "moves": kept.count,
        }

    def _objective(self, losses: Any, present: Any) -> Any:
        self.check_built()
        weights = ops.cast(self.multipliers, losses.dtype)
        return ops.sum(ops.where(present, weights * losses, 0.0))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            "primary": self.primary,
            "initial": self.initial,
            "learning_rate": self.learning_rate,
        }
