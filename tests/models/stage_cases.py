"""Networks in stages, and what the tests of the models that are made of them share."""

import json

import keras
import numpy as np

from mtlzoo import Regression, SemanticSegmentation


def conv_backbone(pooled=False, norm=False):
    """Maps of 8, 8 and 4 pixels, of 2, 4 and 4 channels; the last may be averaged."""
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="one")(image)
    if norm:
        x = keras.layers.BatchNormalization(synchronized=True, name="norm")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="two")(x)
    x = keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="three")(x)
    if pooled:
        x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, x, name="backbone")


def conv_tasks():
    """One task of pixels and one of rows."""
    return [SemanticSegmentation("parts", 3), Regression("size")]


def conv_data(rows=4):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 8, 8, 3)).astype("float32")
    y = {
        "parts": rng.integers(0, 3, (rows, 4, 4)),
        "size": rng.normal(size=rows).astype("float32"),
    }
    return x, y


def conv_model(architecture, **arguments):
    keras.utils.set_random_seed(1)
    arguments = {"backbone": conv_backbone(), "stages": ["one", "two", "three"], **arguments}
    return architecture(keras.Input((8, 8, 3), name="image"), conv_tasks(), **arguments)


def values(model):
    """All variables in double precision, by path."""
    return {v.path: np.array(v, "float64") for v in model.variables}


def randomized(model, seed=0, low=0.1, high=0.6):
    """Other values in all variables, so that nothing is a zero or a one by chance."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        sign = 1 if "variance" in variable.path else rng.choice([-1, 1], size=variable.shape)
        variable.assign(sign * rng.uniform(low, high, size=variable.shape))
    return model


def batch_norm(x, found, layer):
    """Batch normalization with the statistics that it holds."""
    scaled = x - found[f"{layer}/moving_mean"]
    scaled = scaled / np.sqrt(found[f"{layer}/moving_variance"] + 1e-5)
    return scaled * found[f"{layer}/gamma"] + found[f"{layer}/beta"]


def assert_predicts(model, x, expected):
    for name, value in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


def assert_rebuilt(model, x):
    """The config survives JSON and gives the same graph."""
    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(config)
    rebuilt = json.loads(json.dumps(again.get_config()))
    for key, value in config.items():
        if key != "backbone":  # Keras writes functional models differently from time to time
            assert rebuilt[key] == value, key
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]
    again.set_weights(model.get_weights())
    for name, value in model.predict(x, verbose=0).items():
        np.testing.assert_array_equal(again.predict(x, verbose=0)[name], value)
