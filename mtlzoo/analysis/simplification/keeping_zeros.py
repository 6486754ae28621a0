"""Training that leaves pruned weights zero, and that prunes step by step."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from absl import logging
from keras import ops

from mtlzoo.analysis.simplification.magnitudes import (
    check_per,
    kernels_of,
    with_biases,
    zero_least,
)
from mtlzoo.data.arguments import check_count
from mtlzoo.layers.arguments import check_rate
from mtlzoo.models.failures import read


class _Held:
    """A constraint of a variable: some of its entries are zero, the others as another one says."""

    def __init__(self, before: Any, mask: keras.Variable) -> None:
        self.before, self.mask = before, mask

    def __call__(self, value: Any) -> Any:
        """The value with zeros; called inside the step, right after the update."""
        if self.before is not None:
            value = self.before(value)
        value = ops.convert_to_tensor(value)
        return ops.where(read(self.mask), value, ops.zeros_like(value))


class KeepZeros(keras.callbacks.Callback):
    """Keeps the weights of kernels that are zero when training begins at zero.

    They are set to zero inside each step, right after the update, as Keras's constraints are; so
    that works with every balancer and optimizer, under XLA, and on several replicas. What is zero
    is read from the weights themselves, also after a model was saved and loaded, or a training
    killed and resumed. Where all that a unit reads is zero, and its bias, its bias stays zero too.
    When training ends, the zeros are there also where the optimizer then puts averages of weights
    in their place, and a training without this callback may move them again, also after one that
    failed.

    A kernel that an initializer made zero would stay so: keep it out by `scope`.

    Args:
        scope: As for `prune_weights`. Defaults to `"all"`.

    Raises:
        ValueError: When training begins, for unknown tasks and a scope without kernels.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import KeepZeros, prune_weights, sparsity_of

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=(8,))
    pruned = prune_weights(model, 0.5)
    pruned.compile("adam")
    x = np.ones((8, 4), "float32")
    pruned.fit(x, {"stay": x[:, :1]}, callbacks=[KeepZeros()], verbose=0)
    sparsity_of(pruned)  # 0.5
    ```
    """

    def __init__(self, scope: str | Sequence[str] = "all") -> None:
        super().__init__()
        self.scope = scope
        self._held: list[tuple[keras.Variable, keras.Variable]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Read from the weights what is zero, and hold it."""
        model: Any = self.model
        kernels_of(model, self.scope)  # refuses what cannot be
        pairs = with_biases(model, self.scope)
        self._held = []
        for variable in [v for pair in pairs for v in pair if v is not None]:
            if not isinstance(variable.constraint, _Held):
                with model.distribute_strategy.scope():
                    mask = keras.Variable(
                        np.ones(variable.shape, bool), dtype="bool", trainable=False
                    )
                variable.constraint = _Held(variable.constraint, mask)
            self._held.append((variable, variable.constraint.mask))
        self._hold()
        model.make_train_function(force=True)  # a step that was traced before knows nothing of them

    def _hold(self) -> None:
        """Hold what is zero now."""
        masks = {id(variable): mask for variable, mask in self._held}
        for kernel, bias in with_biases(self.model, self.scope):
            values = ops.convert_to_numpy(kernel)
            masks[id(kernel)].assign(values != 0)
            if bias is None:
                continue
            of_bias = ops.convert_to_numpy(bias)
            masks[id(bias)].assign(~_without_inputs(values, of_bias) | (of_bias != 0))

    def on_train_end(self, logs: Any = None) -> None:
        """Set once more to zero, and hold no longer."""
        for variable, mask in self._held:
            kept = ops.convert_to_numpy(mask)
            if not kept.all():
                variable.assign(np.where(kept, ops.convert_to_numpy(variable), 0))
            _let_go(variable, mask)

    def on_train_failed(self) -> None:
        """Hold no longer; `fit` calls it where it fails."""
        for variable, mask in self._held:
            _let_go(variable, mask)

    def get_state(self) -> dict[str, Any]:
        """Nothing: what is zero stands in the weights."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""


class GradualPruning(KeepZeros):
    r"""Prunes more and more weights while a model is trained (Zhu & Gupta, 2017).

    From the update $t_0$ to $t_0 + n$ of the optimizer, every `every` updates the weights of the
    least magnitude are set to zero, so many that the sparsity is

    $$s_t = s_f + (s_i - s_f) \left(1 - \frac{t - t_0}{n}\right)^3,$$

    and stay zero, as with `KeepZeros`. Many go at first, while there are many to spare, and few at
    the end. Train on after the last for some time. A callback that goes back to earlier weights
    when training ends, such as `EarlyStopping(restore_best_weights=True)`, goes back to fewer
    zeros, too.

    Args:
        sparsity: That of the end, $s_f$, from 0 to below 1.
        steps: The number of updates $n$ that pruning takes.
        begin: The update $t_0$ at which it begins, as `optimizer.iterations` counts them. Defaults
            to 0.
        every: The number of updates between two prunings. Defaults to 50.
        initial_sparsity: That of the beginning, $s_i$. Defaults to 0.
        scope: As for `prune_weights`. Defaults to `"all"`.
        per: As for `prune_weights`. Defaults to `"model"`.

    Raises:
        ValueError: For numbers out of their range.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo import HardSharing, Regression
    from mtlzoo.analysis import GradualPruning, sparsity_of

    model = HardSharing(keras.Input((4,)), [Regression("stay")], shared_units=(8,))
    model.compile("adam")
    x = np.ones((32, 4), "float32")
    pruning = GradualPruning(0.75, steps=6, every=2)
    model.fit(x, {"stay": x[:, :1]}, batch_size=4, callbacks=[pruning], verbose=0)
    sparsity_of(model)  # 0.75
    ```

    References:
        Zhu & Gupta, *To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model
        Compression*, 2017, arXiv:1710.01878.

    *Differences from the paper*: a threshold for the whole model by default, where the paper has
    one for each layer.
    """

    def __init__(
        self,
        sparsity: float,
        *,
        steps: int,
        begin: int = 0,
        every: int = 50,
        initial_sparsity: float = 0.0,
        scope: str | Sequence[str] = "all",
        per: str = "model",
    ) -> None:
        super().__init__(scope)
        self.sparsity = check_rate("sparsity", sparsity)
        self.initial_sparsity = check_rate("initial_sparsity", initial_sparsity)
        if initial_sparsity > sparsity:
            raise ValueError(
                f"`initial_sparsity` should be at most `sparsity`, {sparsity}. "
                f"Received: initial_sparsity={initial_sparsity!r}"
            )
        self.steps = check_count("steps", steps)
        self.begin = check_count("begin", begin, 0)
        self.every = check_count("every", every)
        check_per(per)
        self.per = per
        self._pruned_at = -1  # the last update after which it was done

    def sparsity_at(self, update: int) -> float:
        """The sparsity that the schedule has at an update.

        Args:
            update: As `optimizer.iterations` counts them.
        """
        if update < self.begin:
            return 0.0
        left = 1 - min(1.0, (update - self.begin) / self.steps)
        return self.sparsity + (self.initial_sparsity - self.sparsity) * left**3

    def on_train_begin(self, logs: Any = None) -> None:
        """Hold what was pruned, and prune if it is time."""
        super().on_train_begin(logs)
        now = self._updates()
        if now == 0 or now < self._pruned_at:  # another model, or the same from the start
            self._pruned_at = -1
        self._prune()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Prune if it is time."""
        self._prune()

    def on_train_end(self, logs: Any = None) -> None:
        """Say so if it ends before the last pruning."""
        super().on_train_end(logs)
        if self._updates() < self.begin + self.steps:
            logging.warning(
                "Training ended after %d updates, before `GradualPruning` was through at update "
                "%d: the sparsity is %.3f, not %.3f.",
                *(self._updates(), self.begin + self.steps),
                *(self.sparsity_at(max(self._pruned_at, 0)), self.sparsity),
            )

    def get_state(self) -> dict[str, Any]:
        """When it was done last."""
        return {"pruned_at": self._pruned_at}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        self._pruned_at = state["pruned_at"]

    def _updates(self) -> int:
        optimizer: Any = self.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        return int(ops.convert_to_numpy(inner.iterations))

    def _turn(self, update: int) -> int:
        """How many times it should have been done by an update."""
        if update < self.begin:
            return 0
        last = -(-self.steps // self.every) + 1
        if update >= self.begin + self.steps:
            return last
        return min(last, (update - self.begin) // self.every + 1)

    def _prune(self) -> None:
        now = self._updates()
        if self._turn(now) > self._turn(self._pruned_at):
            zero_least(kernels_of(self.model, self.scope), self.sparsity_at(now), self.per)
            self._hold()
            self._pruned_at = now


def _let_go(variable: keras.Variable, mask: keras.Variable) -> None:
    """Hold a variable no longer, also in a step that was traced while it was held."""
    mask.assign(np.ones(variable.shape, bool))
    if isinstance(variable.constraint, _Held):
        variable.constraint = variable.constraint.before


def _without_inputs(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Which units, as those of a bias, have zeros only in a kernel."""
    if bias.ndim == 1:
        axes = tuple(range(kernel.ndim - 1))
    elif kernel.ndim == 2:  # experts side by side
        kernel, axes = kernel.reshape(len(kernel), *bias.shape), (0,)
    else:
        axes = (1,)
    return np.all(kernel == 0, axis=axes)
