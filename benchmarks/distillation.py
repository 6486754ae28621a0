"""What a step of distillation costs: beside a pass of the teacher and a step of the student alone.

Prints milliseconds of each, run in turns, and three ratios: the step of `Distillation` over the sum
of the teacher's pass forward and the student's step; the same with labels that were precomputed,
over the student's step; and by how much precomputed labels make the step faster.

    python -m benchmarks.distillation [--rounds=7]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from mtlzoo import Classification, HardSharing, MultiTaskModel, Regression
from mtlzoo.backbones import ConvNet
from mtlzoo.training import Distillation, Hint

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 7, "Rounds of measurements; the medians are compared.")
flags.DEFINE_integer("steps", 10, "Steps in each measurement.")
flags.DEFINE_integer("batch_size", 128, "Rows in a batch.")


def columns(width: int) -> MultiTaskModel:
    """Fully connected layers on 100 columns."""
    units = (width, width)
    return HardSharing(keras.Input((100,), name="x"), tasks(), shared_units=units)


def pictures(width: int) -> MultiTaskModel:
    """Convolutions on pictures of 36 x 36."""
    trunk = ConvNet(
        (36, 36, 1), filters=(width // 8, width // 4), dense_units=(width,), name="trunk"
    )
    return HardSharing(keras.Input((36, 36, 1), name="x"), tasks(), backbone=trunk)


def tasks() -> list:
    """Two tasks without metrics, which would cost the same everywhere."""
    return [Classification("kind", 10, metrics=[]), Regression("stay", metrics=[])]


# By name what makes a network, the layer whose features are learned, and widths of both.
SETTINGS: dict[str, tuple[Callable, str, int, int]] = {
    "columns": (columns, "shared_1", 1024, 256),
    "pictures": (pictures, "trunk/conv_1", 256, 64),
}


def measured(build: Callable, layer: str, large: int, small: int) -> dict[str, float]:
    """Median seconds of a step of each kind."""
    teacher, rng = build(large), np.random.default_rng(0)
    rows = FLAGS.batch_size
    x = rng.normal(size=(rows, *teacher.input_shape[1:])).astype("float32")
    y = {"kind": rng.integers(0, 10, rows), "stay": rng.normal(size=rows).astype("float32")}
    x, y = tf.constant(x), {name: tf.constant(labels) for name, labels in y.items()}
    student = build(small)
    soft = Distillation(build(small), teacher)
    hinted = Distillation(build(small), teacher, hints=[Hint(layer, layer)])
    for model in (student, soft, hinted):
        model.compile("adam", jit_compile=False)
    known = {**soft.teacher_labels(x), **y}
    forward = tf.function(lambda: teacher(x, training=False))
    calls: dict[str, Callable] = {
        "teacher": forward,
        "student": _step(student, x, y),
        "soft": _step(soft, x, y),
        "hints": _step(hinted, x, y),
        "precomputed": _step(soft, x, known),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(FLAGS.rounds + 1):  # the first round traces
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(FLAGS.steps):
                call()
            if i > 0:
                times[name].append((time.perf_counter() - started) / FLAGS.steps)
    return {name: float(np.median(taken)) for name, taken in times.items()}


def _step(model, x, y):
    return tf.function(lambda: model.train_step((x, y)))


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.ERROR)
    print("          teacher   student   soft    hints   precomputed   soft / (t + s)"
          "   precomputed / s   soft / precomputed")  # fmt: skip
    for name, setting in SETTINGS.items():
        found = measured(*setting)
        t, s, soft, hints, known = (1e3 * seconds for seconds in found.values())
        print(
            f"{name:9}{t:8.2f}{s:10.2f}{soft:8.2f}{hints:9.2f}{known:12.2f}{soft / (t + s):16.2f}"
            f"{known / s:18.2f}{soft / known:19.2f}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
