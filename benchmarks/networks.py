"""Small networks, and their training steps, that several measurements share."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf


def fully_connected(inputs: keras.KerasTensor, units: tuple[int, ...]) -> keras.KerasTensor:
    """Layers of these widths."""
    hidden = inputs
    for width in units:
        hidden = keras.layers.Dense(width, activation="relu")(hidden)
    return hidden


def convolutions(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Three convolutions that halve the picture each, and a layer of 128."""
    hidden = inputs
    for filters in (16, 32, 64):
        hidden = keras.layers.Conv2D(filters, 3, 2, "same", activation="relu")(hidden)
    return keras.layers.Dense(128, "relu")(keras.layers.Flatten()(hidden))


def training_step(model: keras.Model, batch: int) -> Callable:
    """A function that takes a training step of a compiled model on random rows and labels, by the
    function that `fit` calls.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *model.inputs[0].shape[1:])).astype("float32")
    y = {name: rng.normal(size=(batch, 1)).astype("float32") for name in model.output}
    iterator = iter(tf.data.Dataset.from_tensors((x, y)).cache().repeat())
    model.make_train_function()
    return lambda: model.train_function(iterator)
