"""Which optimizer variables (momenta, moving averages, accumulators) belong to which variable.

A task without labels in a batch must not move, and neither must its optimizer slots. Keras does
not say which slot belongs to which variable, but every slot is made by the public
`add_variable_from_reference`, so listening there tells.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mtlzoo.models.optimizers import leaves


def update_beside_variables(optimizer: keras.optimizers.Optimizer, plan: Any) -> None:
    """Have an optimizer compute each variable's update where the variable is, if a plan says so.

    Keras puts slots there, and computes where the rest of the step runs.
    """
    if plan is None or not plan.on_devices:
        return
    for leaf in leaves(optimizer):
        if not isinstance(leaf.update_step, _Beside):
            leaf.update_step = _Beside(leaf.update_step)


class _Beside:
    """Updates a variable on its device."""

    def __init__(self, update_step):
        self.update_step = update_step

    def __call__(self, gradient, variable, *args, **kwargs):
        with tf.device(variable.device):
            return self.update_step(gradient, variable, *args, **kwargs)


class OptimizerSlots:
    """Listens to an optimizer while it builds its slots.

    Args:
        optimizer: a Keras optimizer that is not built yet, or one that was listened to before.

    Raises:
        ValueError: if the optimizer was built by somebody else.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self._optimizer = optimizer
        self._leaves = list(leaves(optimizer))
        for leaf in self._leaves:
            if isinstance(leaf.add_variable_from_reference, _Listener):
                continue
            if leaf.built:
                raise ValueError(
                    "`optimizer` should be a new optimizer, so that the tasks' optimizer "
                    f"variables can be told apart. Received: an optimizer that is already built, "
                    f"`{leaf.name}`"
                )
            _listen(leaf)

    def check(self, variables: list[keras.Variable]) -> None:
        """Check that the built optimizer is one for `variables`, and that every slot is known.

        Raises:
            ValueError: for an optimizer that was built for another model or balancer, or one that
                makes slots another way, as Adafactor does.
        """
        for leaf in leaves(self._optimizer):
            if leaf not in self._leaves:
                raise ValueError(
                    "`optimizer` should name its optimizers before it is built, in an "
                    "`OptimizerMap`, so that the tasks' optimizer variables can be told apart. "
                    f"Received: a `MultiOptimizer` that made `{leaf.name}` while it was built"
                )
            listener = leaf.add_variable_from_reference
            if listener.built_for is None:
                listener.built_for = list(variables)
            for variable in variables:
                if not any(variable is other for other in listener.built_for):
                    raise ValueError(
                        "`optimizer` should be a new optimizer, since it was built for other "
                        f"variables. Received: `{leaf.name}`, which does not know "
                        f"`{variable.path}`"
                    )
            known = {id(s) for slots in listener.slots.values() for s in slots}
            for variable in leaf.variables:
                if variable.shape != () and id(variable) not in known:
                    raise ValueError(
                        "`optimizer` should make its variables from those of the model, so that an "
                        f"absent task's can rest. Received: {type(leaf).__name__}, whose variable "
                        f"`{variable.path}` belongs to no variable of the model"
                    )

    @property
    def optimizer(self) -> keras.optimizers.Optimizer:
        """The optimizer."""
        return self._optimizer

    def rename(self, keys: Mapping) -> None:
        """Have the optimizer know variables by new keys, of which a moved one has another.

        Args:
            keys: by the old key the new one.
        """
        inner = getattr(self._optimizer, "inner_optimizer", None)
        for each in {id(o): o for o in [self._optimizer, inner, *self._leaves]}.values():
            if hasattr(each, "_trainable_variables_indices"):
                indices = each._trainable_variables_indices
                each._trainable_variables_indices = {keys.get(k, k): i for k, i in indices.items()}
            if hasattr(each, "_exclude_from_weight_decay"):
                excluded = each._exclude_from_weight_decay
                each._exclude_from_weight_decay = {keys.get(k, k) for k in excluded}
                each._exclude_from_weight_decay_cache = {}

    def of(self, variable: keras.Variable) -> list[keras.Variable]:
        """The slots of `variable`."""
        slots = []
        for leaf in self._leaves:
            slots += leaf.add_variable_from_reference.slots.get(id(variable), [])
        return slots


def _listen(optimizer) -> None:
    optimizer.add_variable_from_reference = _Listener(optimizer.add_variable_from_reference)


class _Listener:
    """Makes slots as before, and remembers whose they are."""

    def __init__(self, make):
        self.make = make
        self.slots: dict[int, list[keras.Variable]] = defaultdict(list)
        self.built_for: list[keras.Variable] | None = None

    def __call__(self, reference_variable, *args, **kwargs):
        slot = self.make(reference_variable, *args, **kwargs)
        self.slots[id(reference_variable)].append(slot)
        return slot
