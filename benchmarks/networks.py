"""Small trunks that several measurements share."""

import keras


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
