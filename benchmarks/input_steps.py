"""What augmenting, mixing, weighing and resampling cost, as rows per second beside the bare stream.

The rows are scenes in memory with classes of pixels, depths and normals; "layers on the image
alone" is what Keras's layers cost without the labels.

    python -m benchmarks.input_steps [--rounds=5]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from keras import layers

from mtlzoo import data
from mtlzoo.data.pipeline import batches
from mtlzoo.tasks import (
    Classification,
    DepthEstimation,
    SemanticSegmentation,
    SurfaceNormalEstimation,
)

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 5, "Rounds of measurements; the medians are compared.")
flags.DEFINE_integer("rows", 512, "Rows of the data set.")
flags.DEFINE_integer("size", 96, "Pixels of a side.")
flags.DEFINE_integer("batch_size", 32, "Rows in a batch.")

TASKS = [
    Classification("kind", 4),
    DepthEstimation("depth"),
    SurfaceNormalEstimation("normals"),
    SemanticSegmentation("parts", 9),
]


def moved() -> list[keras.layers.Layer]:
    """The usual layers for scenes."""
    return [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.05, fill_mode="constant"),
        layers.RandomZoom((-0.3, 0.0)),
    ]


def scenes() -> tf.data.Dataset:
    """Random scenes; class 3 of `kind` has one row in forty."""
    rng = np.random.default_rng(0)
    rows, size = FLAGS.rows, FLAGS.size
    y = {
        "kind": rng.choice(4, rows, p=[0.5, 0.3, 0.175, 0.025]).astype("int32"),
        "depth": rng.uniform(1, 9, (rows, size, size)).astype("float32"),
        "normals": rng.normal(size=(rows, size, size, 3)).astype("float32"),
        "parts": rng.integers(0, 9, (rows, size, size)).astype("uint8"),
    }
    x = rng.uniform(size=(rows, size, size, 3)).astype("float32")
    return batches((x, y), FLAGS.batch_size, seed=0)


def image_alone(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Keras's layers on the image, which leaves the labels behind."""
    chain = keras.Sequential(moved())
    return dataset.map(
        lambda x, y: (chain(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE
    )


def variants() -> dict[str, Callable[[tf.data.Dataset], tf.data.Dataset]]:
    """What is measured."""
    report = data.check(scenes(), TASKS, batches=None)
    weights = {"kind": data.class_weights(report, "kind")}
    size = FLAGS.batch_size
    return {
        "bare": lambda rows: rows,
        "layers on the image alone": image_alone,
        "augment, image and labels": lambda rows: data.augment(rows, TASKS, geometric=moved()),
        "mix_up": lambda rows: data.mix_up(rows, TASKS),
        "cut_mix": lambda rows: data.cut_mix(rows, TASKS),
        "weigh_classes": lambda rows: data.weigh_classes(rows, TASKS, weights),
        "resample": lambda rows: data.resample(rows, TASKS[0], report, batch_size=size),
        "ImportanceSampling": lambda rows: (
            data.ImportanceSampling(rows, TASKS, batch_size=size).dataset
        ),
    }


def main(argv):
    """Measure and print."""
    del argv
    streams = {name: make(scenes()).repeat() for name, make in variants().items()}
    rates: dict[str, list[float]] = {name: [] for name in streams}
    steps = 4 * (FLAGS.rows // FLAGS.batch_size)
    for i in range(FLAGS.rounds + 1):
        for name, stream in streams.items():
            iterator = iter(stream)  # anew, so that none is read ahead while others are measured
            next(iterator)
            start, rows = time.perf_counter(), 0
            for _ in range(steps):
                rows += len(next(iterator)[0])
            if i > 0:
                rates[name].append(rows / (time.perf_counter() - start))
            del iterator
    print(f"{'':28}rows/s    ms per batch    ratio to bare")
    bare = float(np.median(rates["bare"]))
    for name, found in rates.items():
        rate = float(np.median(found))
        milliseconds = 1000 * FLAGS.batch_size / rate
        print(f"{name:28}{rate:6.0f}{milliseconds:16.1f}{rate / bare:17.3f}", flush=True)


if __name__ == "__main__":
    app.run(main)
