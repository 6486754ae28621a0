"""A forward pass after the update, for methods that look at what the update did."""

from collections.abc import Sequence
from typing import Any

import keras

from mtlzoo.models.balancer_state import BalancerState
from mtlzoo.models.failures import read


class Moved:
    """The state that a forward pass in training moves, as it is now: statistics of normalization,
    generators of dropout, states of recurrent layers.

    Args:
        layers: the layers that the pass calls, those inside others included.
    """

    def __init__(self, layers: Sequence[keras.layers.Layer]) -> None:
        layers = [layer for layer in layers if not isinstance(layer, BalancerState)]
        moved = [v for layer in layers for v in layer._non_trainable_variables]
        moved += [
            v for layer in layers for v in layer.variables if v.name == "seed_generator_state"
        ]
        metrics = [m for layer in layers for m in getattr(layer, "_metrics", ())]
        moved += [v for metric in metrics for v in metric.variables]
        moved += recurrent_states(layers)
        self.values = [(v, read(v)) for v in {id(v): v for v in moved}.values()]

    def restore(self) -> list[tuple[keras.Variable, Any]]:
        """Give the variables the values that they had; returns those that they have until then."""
        after = [(v, read(v)) for v, _ in self.values]
        assign(self.values)
        return after


def assign(values: Sequence[tuple[keras.Variable, Any]]) -> None:
    """Give variables values."""
    for variable, value in values:
        variable.assign(value)


def recurrent_states(layers: Sequence[keras.layers.Layer]) -> list[keras.Variable]:
    """The states of stateful recurrent layers, which Keras counts among no variables.

    Args:
        layers: the layers, those inside others included.
    """
    states = keras.tree.flatten([getattr(layer, "states", None) for layer in layers])
    return [state for state in states if isinstance(state, keras.Variable)]


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
        self.before = Moved(model._flatten_layers(include_self=False))

    def __call__(self, x: Any) -> Any:
        """The outputs for `x` with the variables of now, as in training."""
        after = self.before.restore()
        outputs = self.model(x, training=True)
        assign(after)
        return outputs
