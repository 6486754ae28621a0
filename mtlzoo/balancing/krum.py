"""Krum: the gradients that have most others near them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.gradient_balancer import GradientBalancer, Options


@keras.saving.register_keras_serializable(package="mtlzoo")
class Krum(GradientBalancer):
    """Takes the gradients that lie nearest to the others, and leaves out the rest.

    Blanchard, El Mhamdi, Guerraoui & Stainer, *Machine Learning with Adversaries: Byzantine
    Tolerant Gradient Descent*, NeurIPS 2017. Of n gradients of which f may be arbitrary,

        score(i) = Σ |gᵢ − gⱼ|² over the n − f − 2 others j that are nearest to i

    and the update is the **mean** of the `num_selected` gradients with the least scores: their
    weights are 1/`num_selected`, all others 0. Of equal scores, those of the first tasks count as
    less. It was made for workers with one loss; with tasks, it takes the one that is most typical.

    With n < f + 3 tasks present no score means anything, and all of them have the weight 1/n: so
    two tasks are averaged.

    Args:
        num_byzantine: Integer, f. Defaults to 0.
        num_selected: Positive integer; with more than 1 it is the paper's Multi-Krum. If fewer
            tasks are present, all of them are taken. Defaults to 1.
        **options: `wrt`, `every` and `groups`, see `GradientBalancer`.

    Shapes: Gramian (..., T, T), weights (..., T).

    Raises:
        ValueError: If an argument is out of its range, or with `num_byzantine` > 0 there are fewer
            than `num_byzantine` + 3 tasks, or fewer than `num_selected`.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import Krum

    gradients = np.array([[1.0, 0.0], [1.0, 0.5], [1.0, 1.0], [-9.0, 0.0]])
    Krum(num_byzantine=1).weights(gradients @ gradients.T)  # array([1., 0., 0., 0.])
    ```

    Differences from the paper:
        It asks for n > 2f + 2, which its guarantee needs; the rule itself needs n ≥ f + 3.
    """

    averages = True

    def __init__(
        self, num_byzantine: int = 0, num_selected: int = 1, **options: Unpack[Options]
    ) -> None:
        super().__init__(**options)
        for name, value, least in (
            ("num_byzantine", num_byzantine, 0),
            ("num_selected", num_selected, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"`{name}` should be an integer of at least {least}. "
                    f"Received: `{name}={value!r}`"
                )
        self.num_byzantine = num_byzantine
        self.num_selected = num_selected

    def build(self, tasks: Sequence[Any], variables: Sequence[keras.Variable] = ()) -> None:
        """See `Balancer.build`; also checks the number of tasks."""
        self._check_count(len(tasks))
        super().build(tasks, variables)

    def _check_count(self, count: int) -> None:
        if self.num_byzantine and count < self.num_byzantine + 3:
            raise ValueError(
                f"`num_byzantine` should be at most {max(0, count - 3)} with {count} tasks. "
                f"Received: `num_byzantine={self.num_byzantine}`"
            )
        if count < self.num_selected:
            raise ValueError(
                f"`num_selected` should be at most the number of tasks, {count}. "
                f"Received: `num_selected={self.num_selected}`"
            )

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        size, dtype = gramian.shape[-1], gramian.dtype
        self._check_count(size)
        squares = ops.relu(ops.diagonal(gramian, axis1=-2, axis2=-1))
        largest = ops.max(squares, axis=-1, keepdims=True)[..., None]
        cross = ops.divide_no_nan(gramian, largest)
        squares = ops.divide_no_nan(squares, largest[..., 0])
        distances = ops.relu(squares[..., :, None] + squares[..., None, :] - 2.0 * cross)
        far = float("inf")
        others: np.ndarray = ~np.eye(size, dtype=bool)
        there = ops.logical_and(present[..., None, :], others)
        nearest = ops.sort(ops.where(there, distances, far), axis=-1)
        count = ops.sum(ops.cast(present, "int32"), axis=-1, keepdims=True)
        counted = ops.less(np.arange(size, dtype="int32"), count - self.num_byzantine - 2)
        scores = ops.sum(ops.where(counted[..., None, :], nearest, 0.0), axis=-1)
        scores = ops.where(present, scores, far)
        # Ranks by counting, in which equal scores stand in the order of the tasks.
        first: np.ndarray = np.tril(np.ones((size, size), bool), -1)
        one, other = scores[..., :, None], scores[..., None, :]
        ahead = ops.logical_or(other < one, ops.logical_and(ops.equal(other, one), first))
        rank = ops.sum(ops.cast(ahead, "int32"), axis=-1)
        chosen = ops.logical_or(rank < self.num_selected, count < self.num_byzantine + 3)
        chosen = ops.cast(ops.logical_and(chosen, present), dtype)
        return ops.divide_no_nan(chosen, ops.sum(chosen, axis=-1, keepdims=True))

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        counts = {"num_byzantine": self.num_byzantine, "num_selected": self.num_selected}
        return {**counts, **super().get_config()}
