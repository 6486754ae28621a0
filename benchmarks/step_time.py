"""How much a training step costs beside plain Keras, and beside the equal-weights step.

Prints ratios of CPU time between steps that run in turns in one process, so that a noisy machine
disturbs all of them alike. The trunk is 256-512-512-256 with batch 256, each head 256-64-1.

    python -m benchmarks.step_time [--tasks=2,4,8] [--rounds=30] [--jit]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from mtlzoo import MGDA, MultiTaskModel, PCGrad, Regression

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", ["2", "4", "8"], "Numbers of tasks.")
flags.DEFINE_integer("rounds", 30, "Rounds of measurements; the medians are compared.")
flags.DEFINE_integer("steps", 4, "Training steps in each measurement.")
flags.DEFINE_bool("jit", False, "Compile the steps with XLA.")

BATCH, WIDTH = 256, 256


def graph(tasks: int):
    """The trunk and heads of the measurement."""
    inputs = keras.Input((WIDTH,))
    hidden = inputs
    for units in (512, 512, 256):
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    outputs = {
        f"t{i}": keras.layers.Dense(1, name=f"t{i}")(
            keras.layers.Dense(64, activation="relu")(hidden)
        )
        for i in range(tasks)
    }
    return inputs, outputs


def plain(tasks: int) -> keras.Model:
    """The graph as a plain Keras model with the same losses and metrics."""
    inputs, outputs = graph(tasks)
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(1e-3), loss=dict.fromkeys(outputs, "mse"), jit_compile=FLAGS.jit
    )
    return model


def ours(tasks: int, balancer) -> MultiTaskModel:
    """The graph as a multi-task model."""
    inputs, outputs = graph(tasks)
    kinds = [Regression(name, metrics=[]) for name in outputs]
    model = MultiTaskModel(inputs, outputs, tasks=kinds)
    model.compile(keras.optimizers.SGD(1e-3), balancer=balancer, jit_compile=FLAGS.jit)
    return model


def runner(model: keras.Model, tasks: int):
    """A function that runs training steps of `model`, by the function that `fit` calls."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, WIDTH)).astype("float32")
    y = {f"t{i}": rng.normal(size=(BATCH, 1)).astype("float32") for i in range(tasks)}
    iterator = iter(tf.data.Dataset.from_tensors((x, y)).cache().repeat())
    model.make_train_function()

    def run(steps: int) -> float:
        start = time.process_time()
        for _ in range(steps):
            model.train_function(iterator)
        return (time.process_time() - start) / steps

    run(3)
    return run


CASES = {
    "plain Keras": plain,
    "equal": lambda t: ours(t, "equal"),
    "pcgrad": lambda t: ours(t, PCGrad()),
    "mgda": lambda t: ours(t, MGDA()),
    "pcgrad, features": lambda t: ours(t, PCGrad(wrt="features")),
    "mgda, features": lambda t: ours(t, MGDA(wrt="features")),
    "pcgrad, every=4": lambda t: ours(t, PCGrad(every=4)),
}


def main(argv):
    """Measure and print."""
    del argv
    columns = {}
    for tasks in map(int, FLAGS.tasks):
        runs = {name: runner(make(tasks), tasks) for name, make in CASES.items()}
        times = {name: [] for name in runs}
        for _ in range(FLAGS.rounds):
            for name, run in runs.items():
                times[name].append(run(FLAGS.steps))
        columns[tasks] = {name: float(np.median(t)) for name, t in times.items()}
        keras.backend.clear_session()

    print(
        f"CPU time of one step {'with' if FLAGS.jit else 'without'} XLA: ms, ratio to plain Keras,"
    )
    print("ratio to equal weights")
    print("".ljust(20) + "".join(f"{f'T = {t}':>24}" for t in columns))
    for name in CASES:
        line = name.ljust(20)
        for column in columns.values():
            line += f"{column[name] * 1e3:10.2f}{column[name] / column['plain Keras']:7.2f}"
            line += f"{column[name] / column['equal']:7.2f}"
        print(line)
    print(
        "FLOPs, (1 + 2T)/3".ljust(20)
        + "".join(f"{(1 + 2 * t) / 3:17.2f}".ljust(24) for t in columns)
    )


if __name__ == "__main__":
    app.run(main)
