"""Which units of layers with `relu` are zero for every row."""

from typing import Any

import keras
import numpy as np

from mtlzoo.layers import Experts
from mtlzoo.models.stages import as_functional, draw_again, is_network


def relu_outputs(model: Any, x: Any) -> list[tuple[keras.layers.Layer, np.ndarray]]:
    """The layers of a functional model that end in `relu`, each with which units are dead.

    Functional models inside, `Sequential`s among them, are looked into. A layer that is called
    several times has a unit that is dead only if it is so in each of the calls.

    Args:
        model: The model.
        x: A batch of inputs.

    Returns:
        For each layer a boolean for each unit, and for experts one for each unit of each of them.
    """
    found: dict[int, tuple[keras.layers.Layer, np.ndarray]] = {}

    def operation(own):
        def call(*args, **kwargs):
            if is_network(own):
                return draw_again(as_functional(own), args[0], operation)
            outputs = own(*args, **{**kwargs, **_predicting(own)})
            if _is_relu(own):
                dead = _dead(own, keras.ops.convert_to_numpy(outputs))
                if id(own) in found:
                    dead = dead & found[id(own)][1]
                found[id(own)] = own, dead
            return outputs

        return call

    draw_again(model, model._standardize_inputs(x), operation)
    return list(found.values())


def _predicting(layer) -> dict[str, bool]:
    takes = "training" in getattr(layer, "_call_context_args", {})
    return {"training": False} if takes else {}


def _is_relu(layer) -> bool:
    is_layer = isinstance(layer, keras.layers.ReLU)
    return is_layer or getattr(layer, "activation", None) is keras.activations.relu


def _dead(layer, values) -> np.ndarray:
    axes = 2 if isinstance(layer, Experts) else 1
    return (values.reshape(-1, *values.shape[-axes:]) == 0).all(axis=0)
