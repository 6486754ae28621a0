"""GradDrop: entry by entry, only the gradients of one sign."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import check_seed, is_number
from mtlzoo.balancing.jacobian_balancer import JacobianBalancer
from mtlzoo.layers.hashing import mix, random_bits


@keras.saving.register_keras_serializable(package="mtlzoo")
class GradDrop(JacobianBalancer):
    """Keeps, in each entry of the gradient, only the tasks whose sign was drawn.

    Chen, Ngiam, Huang, Luong, Kretzschmar, Chai & Anguelov, *Just Pick a Sign: Optimizing Deep
    Multitask Models with Gradient Sign Dropout*, NeurIPS 2020. In each entry, with a uniform random
    number U,

        P = ½ (1 + Σᵢ gᵢ / Σᵢ |gᵢ|)
        Mᵢ = [gᵢ > 0][P > U] + [gᵢ < 0][P < U]
        g = Σᵢ (ℓᵢ + (1 − ℓᵢ) Mᵢ) gᵢ

    The update is the **sum** of what is kept: without conflict, the plain sum.

    Args:
        seed: Integer; with the step it decides the numbers U, the same in every mode and replica.
            Defaults to 0.
        leak: ℓ between 0 (only one sign) and 1 (the plain sum), one number or a dict by task name.
            Defaults to 0.
        wrt: `"parameters"` or `"features"`, see `JacobianBalancer`. Defaults to `"parameters"`.
        every: Only 1, see `JacobianBalancer`. Defaults to 1.

    Shapes: a list of (T, *shape) in, a list of (*shape) out.

    Raises:
        ValueError: If an argument is out of its range, or `leak` does not name the tasks.

    Example:
    ```python
    import numpy as np
    from mtlzoo.balancing import GradDrop

    GradDrop().combine([np.array([[1.0, 1.0], [2.0, -3.0]])])  # first 3., then either 1. or -3.
    ```

    Differences from the paper:
        The paper acts on the features, with P from the gradients times the sign of the features,
        summed over the batch. Here, at `"parameters"` each entry of each variable has its own U; at
        `"features"` each feature has its U, shared by the rows of the batch, so that it does not
        matter which replica has which row, and P is each row's own.
    """

    def __init__(
        self,
        seed: int = 0,
        leak: float | Mapping[str, float] = 0.0,
        *,
        wrt: str = "parameters",
        every: int = 1,
    ) -> None:
        super().__init__(wrt=wrt, every=every)
        leaks = leak.values() if isinstance(leak, Mapping) else [leak]
        if not all(is_number(value) and 0.0 <= value <= 1.0 for value in leaks):
            raise ValueError(f"`leak` should be between 0 and 1. Received: `leak={leak!r}`")
        self.seed = check_seed(seed)
        self.leak = (
            {n: float(v) for n, v in leak.items()} if isinstance(leak, Mapping) else float(leak)
        )

    def create_variables(self) -> None:
        """Checks that `leak` names the tasks; there is no state."""
        if isinstance(self.leak, dict) and set(self.leak) != set(self.task_names):
            raise ValueError(
                f"`leak` should have one entry for each of the tasks {list(self.task_names)}. "
                f"Received: `leak={self.leak!r}`"
            )

    def _combine(self, jacobian: list[Any], present: Any) -> list[Any]:
        size = jacobian[0].shape[0]
        if isinstance(self.leak, dict):
            if not self.built:
                raise ValueError("`GradDrop` with a `leak` by task should be built before use.")
            leak = np.array([self.leak[name] for name in self.task_names])
        else:
            leak = np.full(size, self.leak)
        step = 0 if self.step is None else self.step
        keys = random_bits(self.seed, step, (len(jacobian),))
        return [
            self._drop(rows, leak, self._uniform(keys[index], ops.shape(rows)[1:]))
            for index, rows in enumerate(jacobian)
        ]

    def _uniform(self, key: Any, shape: Sequence[Any]) -> Any:
        """A number in (0, 1) for each entry; at features level one for all rows of the batch."""
        if self.wrt == "features":
            shape = (1, *shape[1:])
        bits = mix(ops.add(key, ops.cast(ops.arange(math.prod(shape)), "uint32")))
        # 23 bits and a half are exact in float32, and never 0 or 1: P = 0 and P = 1 are certain.
        steps = ops.cast(ops.right_shift(bits, np.uint32(9)), "float32")
        return ops.reshape((steps + 0.5) * 2.0**-23, shape)

    def _drop(self, rows: Any, leak: np.ndarray, uniform: Any) -> Any:
        total = ops.sum(ops.abs(rows), axis=0)
        share = ops.sum(rows, axis=0) / ops.where(total > 0.0, total, 1.0)
        purity = 0.5 * (1.0 + share)
        uniform = ops.cast(uniform, rows.dtype)
        kept = ops.where(rows > 0.0, purity > uniform, purity < uniform)
        leak = ops.reshape(ops.cast(leak, rows.dtype), (-1,) + (1,) * (len(rows.shape) - 1))
        return ops.sum(ops.where(kept, rows, leak * rows), axis=0)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"seed": self.seed, "leak": self.leak, **super().get_config()}
