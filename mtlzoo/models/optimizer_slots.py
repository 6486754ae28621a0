"""Which optimizer variables (momenta, moving averages, accumulators) belong to which variable.

A task without labels in a batch must not move, and neither must its optimizer slots. Keras does
not say which slot belongs to which variable, but every slot is made by the public
`add_variable_from_reference`, so listening there tells.
"""

from collections import defaultdict

import keras


class OptimizerSlots:
    """Listens to an optimizer while it builds its slots.

    Args:
        optimizer: a Keras optimizer that is not built yet, or one that was listened to before.

    Raises:
        ValueError: if the optimizer was built by somebody else.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self._leaves = list(_leaves(optimizer))
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
        for leaf in self._leaves:
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

    def of(self, variable: keras.Variable) -> list[keras.Variable]:
        """The slots of `variable`."""
        slots = []
        for leaf in self._leaves:
            slots += leaf.add_variable_from_reference.slots.get(id(variable), [])
        return slots


def _leaves(optimizer):
    """The optimizers inside a `LossScaleOptimizer` or `MultiOptimizer`, or itself."""
    if hasattr(optimizer, "inner_optimizer"):
        yield from _leaves(optimizer.inner_optimizer)
    elif isinstance(getattr(optimizer, "optimizers", None), list | tuple):
        for inner in optimizer.optimizers:
            yield from _leaves(inner)
    else:
        yield optimizer


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
