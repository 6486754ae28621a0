"""What bounds a step at parameters level: the matrix products of T backward passes.

Prints the time of a training step with a gradient balancer, and what part of it the matrix products
of the trunk take alone, without activations, losses, heads, Gramian or update. They run in turns.
"at once" is the same number of multiplications in T times fewer products: the gradients of all
tasks by a layer's output lie side by side.

    python -m benchmarks.products [--tasks=2,8] [--batch=256,1024]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from benchmarks.networks import fully_connected, training_step
from mtlzoo import MultiTaskModel, Regression

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", ["2", "8"], "Numbers of tasks.")
flags.DEFINE_list("batch", ["256", "1024"], "Numbers of rows in a batch.")
flags.DEFINE_integer("rounds", 15, "Rounds of measurements; the medians are compared.")
flags.DEFINE_integer("steps", 5, "Steps in each measurement.")
flags.DEFINE_integer("threads", 2, "Threads of an operation.")

INPUT, UNITS = 64, (512, 512, 256)


def step(tasks: int, batch: int):
    """A training step of `benchmarks.peers`, by MGDA."""
    inputs = keras.Input((INPUT,))
    hidden = fully_connected(inputs, UNITS)
    kinds = [Regression(f"t{i}", metrics=[]) for i in range(tasks)]
    outputs = {task.name: task.head(hidden) for task in kinds}
    model = MultiTaskModel(inputs, outputs, tasks=kinds)
    model.compile(keras.optimizers.SGD(1e-3), balancer="mgda", jit_compile=False)
    return training_step(model, batch)


def products(tasks: int, batch: int, *, at_once: bool):
    """Those of one forward pass and T backward passes of the trunk."""
    sizes = [INPUT, *UNITS]
    weights = [tf.random.normal(pair) for pair in zip(sizes, UNITS, strict=False)]
    x = tf.random.normal((batch, INPUT))
    ends = [tf.random.normal((batch, UNITS[-1])) for _ in range(tasks)]
    wide = tf.reshape(tf.stack(ends, axis=1), (batch * tasks, UNITS[-1]))

    def backward(seen, seed):
        gradients = []
        for of_layer, w in zip(reversed(seen), reversed(weights), strict=True):
            side_by_side = tf.reshape(seed, (batch, -1))
            gradients.append(tf.matmul(of_layer, side_by_side, transpose_a=True))
            if of_layer is not seen[0]:
                seed = tf.matmul(seed, w, transpose_b=True)
        return gradients

    @tf.function
    def run():
        seen = [x]
        for w in weights[:-1]:
            seen.append(tf.matmul(seen[-1], w))
        last = tf.matmul(seen[-1], weights[-1])
        return last, [backward(seen, seed) for seed in ([wide] if at_once else ends)]

    return run


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.WARNING)
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    print("tasks  rows    step, ms    its products alone    at once")
    for tasks in map(int, FLAGS.tasks):
        for batch in map(int, FLAGS.batch):
            runs = {
                "step": step(tasks, batch),
                "alone": products(tasks, batch, at_once=False),
                "at once": products(tasks, batch, at_once=True),
            }
            times = {name: [] for name in runs}
            for i in range(FLAGS.rounds + 2):
                for name, run in runs.items():
                    start = time.perf_counter()
                    for _ in range(FLAGS.steps):
                        run()
                    if i > 1:
                        times[name].append((time.perf_counter() - start) / FLAGS.steps)
            of_step, alone, at_once = (float(np.median(of_case)) for of_case in times.values())
            print(
                f"{tasks:5}{batch:6}{of_step * 1e3:12.1f}{alone / of_step:22.2f}"
                f"{at_once / of_step:11.2f}",
                flush=True,
            )
            keras.backend.clear_session()


if __name__ == "__main__":
    app.run(main)
