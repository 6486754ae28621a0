"""A forward pass after the update, for methods that look at what the update did."""

from typing import Any

import keras

from mtlzoo.models.balancer_state import BalancerState
from mtlzoo.models.failures import read


class SecondForward:
    """Runs a model once more on the same batch, and leaves no trace of it.

    It starts where the first pass did: dropout draws the same masks again, and recurrent layers go
    on from the same state. What a forward pass moves, statistics of normalization among it, is
    afterwards as it was after the first pass.

    Args:
        model: the model, before its first forward pass of the step.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        layers = model._flatten_layers(include_self=False)
        layers = [layer for layer in layers if not isinstance(layer, BalancerState)]
        moved = [v for layer in layers for v in layer._non_trainable_variables]
        moved += [v for v in model.variables if v.name == "seed_generator_state"]
        # Keras counts the state of recurrent layers among no variables.
        states = keras.tree.flatten([getattr(layer, "states", None) for layer in layers])
        moved += [v for v in states if isinstance(v, keras.Variable)]
        self.before = [(v, read(v)) for v in {id(v): v for v in moved}.values()]

    def __call__(self, x: Any) -> Any:
        """The outputs for `x` with the variables of now, as in training."""
        after = [(v, read(v)) for v, _ in self.before]
        for variable, value in self.before:
            variable.assign(value)
        outputs = self.model(x, training=True)
        for variable, value in after:
            variable.assign(value)
        return outputs
