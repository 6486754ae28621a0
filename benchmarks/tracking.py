"""What it costs to keep the products of the tasks' gradients, and to judge a training's health.

Prints ratios of CPU time between trainings by `fit` that run in turns in one process: without
tracking, with `track_gramian` and the callback `GramianHistory`, and with `TrainingHealth`. The
trunk is 256-512-512-256 with batch 256, each head 256-64-1.

    python -m benchmarks.tracking [--tasks=2,4,8] [--rounds=20] [--jit]
"""

import os
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from benchmarks.networks import fully_connected
from mtlzoo import MultiTaskModel, Regression
from mtlzoo.analysis import GramianHistory, TrainingHealth

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", ["2", "4", "8"], "Numbers of tasks.")
flags.DEFINE_integer("rounds", 20, "Rounds of measurements; the medians are compared.")
flags.DEFINE_integer("steps", 100, "Training steps of an epoch, of which a round has one.")
flags.DEFINE_bool("jit", False, "Compile the steps with XLA.")

ROWS = np.random.default_rng(0).normal(size=(256, 256)).astype("float32")
# The balancer, what is tracked, and the callback.
CASES = {
    "pcgrad": ("pcgrad", None, None),
    "pcgrad, shared, history": ("pcgrad", "shared", GramianHistory),
    "pcgrad, groups, history": ("pcgrad", "groups", GramianHistory),
    "pcgrad, groups, health": ("pcgrad", "groups", TrainingHealth),
    "the same with a probe": ("pcgrad", "groups", lambda: TrainingHealth(probe=ROWS)),
    "equal": ("equal", None, None),
    "equal, groups, history": ("equal", "groups", GramianHistory),
    "equal, groups, health": ("equal", "groups", TrainingHealth),
}


def trained(tasks: int, balancer: str, level: str | None, callback):
    """A function that trains one epoch and gives the seconds of a step."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((256,))
    hidden = fully_connected(inputs, (512, 512, 256))
    kinds = [Regression(f"t{i}", metrics=[]) for i in range(tasks)]
    towers = {kind.name: keras.layers.Dense(64, activation="relu")(hidden) for kind in kinds}
    outputs = {kind.name: kind.head(towers[kind.name]) for kind in kinds}
    model = MultiTaskModel(inputs, outputs, tasks=kinds)
    model.compile(
        keras.optimizers.SGD(1e-3), balancer=balancer, jit_compile=FLAGS.jit, track_gramian=level
    )
    rng = np.random.default_rng(1)
    y = {name: rng.normal(size=(256, 1)).astype("float32") for name in outputs}
    data = tf.data.Dataset.from_tensors((ROWS, y)).repeat(FLAGS.steps).cache()
    callbacks = [callback()] if callback else []

    def run() -> float:
        start = time.process_time()
        model.fit(data, verbose=0, callbacks=callbacks)
        return (time.process_time() - start) / FLAGS.steps

    run()
    return run


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.ERROR)  # what health has to say of random labels
    found = {}
    for tasks in map(int, FLAGS.tasks):
        runs = {name: trained(tasks, *case) for name, case in CASES.items()}
        times: dict[str, list[float]] = {name: [] for name in runs}
        order = random.Random(0)
        for _ in range(FLAGS.rounds):
            for name in order.sample(list(runs), len(runs)):
                times[name].append(runs[name]())
        found[tasks] = times
        keras.backend.clear_session()
    print(f"CPU time of one step {'with' if FLAGS.jit else 'without'} XLA: ms, and what it is more")
    print("than without tracking: the median of the rounds' ratios")
    print("".ljust(26) + "".join(f"{f'T = {t}':>18}" for t in found))
    for name, (balancer, _, _) in CASES.items():
        line = name.ljust(26)
        for times in found.values():
            ratio = np.median(np.array(times[name]) / np.array(times[balancer]))
            line += f"{np.median(times[name]) * 1e3:10.2f}{100 * (ratio - 1):+7.1f} %"
        print(line)


if __name__ == "__main__":
    app.run(main)
