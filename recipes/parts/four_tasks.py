"""Four tasks of unequal size, difficulty and cost, each with a data set of its own.

They are made of the synthetic data of the paper on MMoE: `large` and `noisy` have many rows, of
`noisy` three in ten labels are wrong and its tower is wide; `small` and `tiny` have few rows and
are each related to one of them.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import BinaryClassification, MultiTaskModel
from mtlzoo.data.synthetic_relatedness import generate

ROWS = {"large": 12_800, "noisy": 12_800, "small": 1_600, "tiny": 400}
TOWERS = {"large": (32,), "noisy": (256,), "small": (32,), "tiny": (32,)}
WRONG_LABELS = 0.3  # of the task `noisy`, in training
CORRELATION = 0.9  # of `small` with `large`, and of `tiny` with `noisy`


def labels(rows: int, seed: list[int], of_weights: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rows with the labels of all tasks: whether what the synthetic data has is above 0.

    Args:
        rows: how many.
        seed: of the rows.
        of_weights: of the functions that are to be learned.
    """
    x, first = generate(rows, CORRELATION, seed, [of_weights, 0])
    _, second = generate(rows, CORRELATION, seed, [of_weights, 1])  # of the same rows
    values = {
        "large": first["first"],
        "small": first["second"],
        "noisy": second["first"],
        "tiny": second["second"],
    }
    return x, {name: (values[name] > 0).astype("float32") for name in ROWS}


@functools.cache
def batches(name: str, seed: int, batch_size: int) -> tf.data.Dataset:
    """The training rows of a task, with its labels alone."""
    x, y = labels(ROWS[name], [seed, 1, list(ROWS).index(name)], seed)
    own = y[name]
    if name == "noisy":
        wrong = np.random.default_rng([seed, 2]).random(len(own)) < WRONG_LABELS
        own = np.where(wrong, 1 - own, own)
    x, own = tf.constant(x), tf.constant(own)
    order = tf.data.Dataset.range(ROWS[name]).shuffle(ROWS[name], seed=seed)
    places = order.batch(batch_size, drop_remainder=True)
    return places.map(lambda rows: (tf.gather(x, rows), {name: tf.gather(own, rows)}))


@functools.cache
def held_out(rows: int, seed: int, which: int) -> tf.data.Dataset:
    """Rows with the right labels of all tasks."""
    return tf.data.Dataset.from_tensor_slices(labels(rows, [seed, which], seed)).batch(1000).cache()


def network() -> MultiTaskModel:
    """One shared layer, and towers of unequal width."""
    inputs = keras.Input((100,), name="features")
    shared = keras.layers.Dense(64, activation="relu", name="shared")(inputs)
    outputs, tasks = {}, [BinaryClassification(name, metrics=["auc"]) for name in ROWS]
    for task in tasks:
        hidden = shared
        for i, units in enumerate(TOWERS[task.name]):
            tower = keras.layers.Dense(units, activation="relu", name=f"{task.name}_tower_{i}")
            hidden = tower(hidden)
        outputs[task.name] = task.head(hidden)
    return MultiTaskModel(inputs, outputs, tasks=tasks, name="four_tasks")
