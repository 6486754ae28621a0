"""How much a training step costs beside plain Keras, and beside the equal-weights step.

Prints ratios of CPU time between steps that run in turns in one process, so that a noisy machine
disturbs all of them alike. The trunk is 256-512-512-256 with batch 256, each head 256-64-1; or
three convolutions on 32 x 32 pixels and a layer of 128 with batch 64, each head 128-64-1.

    python -m benchmarks.step_time [--tasks=2,4,8] [--rounds=30] [--jit]
    python -m benchmarks.step_time --methods=all [--network=cnn]
"""

import os
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable

import keras
import numpy as np
from absl import app, flags, logging

from benchmarks.networks import convolutions, fully_connected, training_step
from mtlzoo import MultiTaskModel, PCGrad, Regression, balancing

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", ["2", "4", "8"], "Numbers of tasks.")
flags.DEFINE_integer("rounds", 30, "Rounds of measurements; the medians are compared.")
flags.DEFINE_integer("steps", 4, "Training steps in each measurement.")
flags.DEFINE_bool("jit", False, "Compile the steps with XLA.")
flags.DEFINE_enum("network", "mlp", ["mlp", "cnn"], "Fully connected, or three convolutions.")
flags.DEFINE_list("methods", ["pcgrad", "mgda"], "Balancers by name, at each level; or all.")

BATCH = {"mlp": 256, "cnn": 64}


def graph(tasks: int):
    """The trunk and heads of the measurement."""
    if FLAGS.network == "cnn":
        inputs = keras.Input((32, 32, 3))
        hidden = convolutions(inputs)
    else:
        inputs = keras.Input((256,))
        hidden = fully_connected(inputs, (512, 512, 256))
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


def runner(model: keras.Model):
    """A function that runs training steps of `model`, and gives the seconds of one."""
    step = training_step(model, BATCH[FLAGS.network])

    def run(steps: int) -> float:
        start = time.process_time()
        for _ in range(steps):
            step()
        return (time.process_time() - start) / steps

    run(3)
    return run


def cases() -> dict[str, Callable]:
    """By name, functions from the number of tasks to a model."""
    found: dict[str, Callable] = {"plain Keras": plain, "equal": lambda t: ours(t, "equal")}
    names = balancing.names() if FLAGS.methods == ["all"] else FLAGS.methods
    for name in names:
        found[name] = lambda t, name=name: ours(t, name)
    for name in names:
        kind = type(balancing.get(name))
        try:
            kind(wrt="features")
        except (TypeError, ValueError):  # a method of losses, or one that needs the parameters
            continue
        found[f"{name}, features"] = lambda t, kind=kind: ours(t, kind(wrt="features"))
    if "pcgrad" in names:
        found["pcgrad, every=4"] = lambda t: ours(t, PCGrad(every=4))
    return found


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.WARNING)
    columns = {}
    for tasks in map(int, FLAGS.tasks):
        runs = {name: runner(make(tasks)) for name, make in cases().items()}
        times = {name: [] for name in runs}
        order = random.Random(0)
        for _ in range(FLAGS.rounds):
            # In another order each time: what runs before leaves its mark on the caches.
            for name in order.sample(list(runs), len(runs)):
                times[name].append(runs[name](FLAGS.steps))
        columns[tasks] = {name: float(np.median(t)) for name, t in times.items()}
        keras.backend.clear_session()

    print(
        f"CPU time of one step {'with' if FLAGS.jit else 'without'} XLA: ms, ratio to plain Keras,"
    )
    print("ratio to equal weights")
    print("".ljust(20) + "".join(f"{f'T = {t}':>24}" for t in columns))
    for name in cases():
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
