"""Small models that the tests of presets share."""

import keras
import numpy as np

from mtlzoo import (
    PLE,
    BinaryClassification,
    Classification,
    CrossStitch,
    HardSharing,
    MMoE,
    MultiTaskModel,
    Regression,
)


def tasks():
    return [
        BinaryClassification("click"),
        Classification("kind", num_classes=3),
        Regression("stay"),
    ]


def hard_sharing(given=None, **arguments):
    arguments = {"shared_units": (16,), "tower_units": (4,), **arguments}
    return HardSharing(keras.Input((6,), name="features"), given or tasks(), **arguments)


def mmoe(given=None, **arguments):
    features = keras.Input((6,), name="features")
    return MMoE(features, given or tasks(), num_experts=2, expert_units=(5,), **arguments)


def ple(given=None, **arguments):
    features = keras.Input((6,), name="features")
    numbers = {"num_shared_experts": 1, "num_task_experts": 1, "expert_units": (5,)}
    return PLE(features, given or tasks(), **numbers, **arguments)


def cross_stitch(given=None, **arguments):
    return CrossStitch(keras.Input((6,), name="features"), given or tasks(), units=(5, 4))


def normalized(given=None, **arguments):
    """A plain graph with statistics and layers that Keras names."""
    features = keras.Input((6,), name="features")
    hidden = keras.layers.Dense(8)(features)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Dropout(0.1)(hidden)
    given = given or tasks()
    outputs = {task.name: task.head(hidden) for task in given}
    model = MultiTaskModel(features, outputs, tasks=given, **arguments)
    for variable in model.non_trainable_variables:
        if variable.name == "moving_mean":
            variable.assign(np.linspace(-1, 1, 8))
    return model


ARCHITECTURES = {
    "hard_sharing": hard_sharing,
    "mmoe": mmoe,
    "ple": ple,
    "cross_stitch": cross_stitch,
    "normalized": normalized,
}


def adapted():
    """A preprocessor that has learned words and statistics."""
    word = keras.layers.StringLookup(output_mode="one_hot", name="words")
    word.adapt(np.array(["red", "green", "blue", "red"]))
    scaled = keras.layers.Normalization(axis=-1)
    scaled.adapt(np.array([[1.0, 10.0], [3.0, 30.0]]))
    raw = {
        "color": keras.Input((), name="color", dtype="string"),
        "size": keras.Input((2,), name="size"),
    }
    joined = keras.layers.Concatenate()([word(raw["color"]), scaled(raw["size"])])
    return keras.Model(raw, joined, name="preprocessor")


def raw_tensors():
    """Two rows that `adapted` reads, one with a word that it does not know."""
    sizes = np.array([[1.0, 30.0], [2.0, 20.0]], "float32")
    rows = {"color": np.array(["green", "brown"]), "size": sizes}
    return {name: keras.ops.convert_to_tensor(values) for name, values in rows.items()}


def answers(model, rows=5):
    x = np.random.default_rng(1).normal(size=(rows, 6)).astype("float32")
    return {name: np.asarray(y) for name, y in model(x, training=False).items()}
