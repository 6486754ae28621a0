"""How best to form the Gramian of task gradients: by pairs where they lie, or from a stack.

Prints CPU times of both for the shared variables of `benchmarks.step_time`, run in turns.

    python -m benchmarks.gramian [--tasks=2,4,8,16]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from mtlzoo.gramian import columns, gramian

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", ["2", "4", "8", "16"], "Numbers of tasks.")
flags.DEFINE_integer("rounds", 20, "Rounds of measurements; the medians are compared.")

SHAPES = [(256, 512), (512,), (512, 512), (512,), (512, 256), (256,)]


def stacked(rows):
    """Every variable's gradients stacked into a matrix first."""
    columns = [
        tf.stack([tf.reshape(g, [-1]) for g in column]) for column in zip(*rows, strict=True)
    ]
    return tf.add_n([tf.matmul(m, m, transpose_b=True) for m in columns])


def ours(rows):
    """What the training step does."""
    return gramian(columns(rows))


def main(argv):
    """Measure and print."""
    del argv
    for tasks in map(int, FLAGS.tasks):
        rows = [[tf.random.normal(shape) for shape in SHAPES] for _ in range(tasks)]
        functions = {"mtlzoo": tf.function(ours), "stacked": tf.function(stacked)}
        times = {name: [] for name in functions}
        for i in range(FLAGS.rounds + 2):
            for name, function in functions.items():
                start = time.process_time()
                function(rows)
                if i > 1:
                    times[name].append(time.process_time() - start)
        mine, stack = (np.median(times[name]) * 1e3 for name in functions)
        print(f"T = {tasks}: {mine:.2f} ms, stacked {stack:.2f} ms, {stack / mine:.1f} times")


if __name__ == "__main__":
    app.run(main)
