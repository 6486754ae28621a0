"""A forward pass after the update, for methods that look at what the update did."""

from typing import Any

import keras

from mtlzoo.models.balancer_state import BalancerState
from mtlzoo.models.failures import read


class SecondForward:
    """Runs a model once more on the same batch, and leaves no trace of it.

    Dropout draws the same masks again. What a forward pass moves (statistics of normalization, the
    state of random generators) is as it was after the first pass.

    Args:
        model: the model, before its first forward pass of the step.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        layers = model._flatten_layers(include_self=False)
        layers = [layer for layer in layers if not isinstance(layer, BalancerState)]
        self.moved = [v for layer in layers for v in layer._non_trainable_variables]
        self.seeds = [(v, read(v)) for v in model.variables if v.name == "seed_generator_state"]

    def __call__(self, x: Any) -> Any:
        """The outputs for `x` with the variables of now, as in training."""
        after = [(v, read(v)) for v in [*self.moved, *(seed for seed, _ in self.seeds)]]
        for seed, first in self.seeds:
            seed.assign(first)
        outputs = self.model(x, training=True)
        for variable, value in after:
            variable.assign(value)
        return outputs
