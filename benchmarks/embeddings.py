"""What the gradients of an embedding table cost: as the rows looked up, or as dense tables.

Prints CPU times of forming the Gramian of T tasks and one plain step of the table, run in turns in
one process, and the peak memory of each in a process of its own. The table has 100 000 rows of 32
numbers; a batch looks 256 x 10 of them up.

    python -m benchmarks.embeddings [--tasks=2,4,8] [--jit]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import resource
import subprocess
import sys
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from mtlzoo.gramian import columns, combine, dense, gramian, unique

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", ["2", "4", "8"], "Numbers of tasks.")
flags.DEFINE_integer("rounds", 20, "Rounds of measurements; the medians are compared.")
flags.DEFINE_bool("jit", False, "Compile with XLA.")
flags.DEFINE_string("case", None, "Run this case alone and print its peak memory in MiB.")

ROWS, WIDTH, LOOKUPS = 100_000, 32, (256, 10)


def runner(case: str, tasks: int):
    """A function that takes one step of the table."""
    rng = np.random.default_rng(0)
    table = tf.Variable(rng.normal(size=(ROWS, WIDTH)).astype("float32"))
    ids = tf.constant(rng.integers(0, ROWS, LOOKUPS))
    heads = tf.constant(rng.normal(size=(tasks, WIDTH)).astype("float32"))

    @tf.function(jit_compile=FLAGS.jit)
    def step():
        with tf.GradientTape(persistent=True) as tape:
            features = tf.reduce_mean(tf.gather(table, ids), axis=1)
            losses = [
                tf.reduce_mean(tf.linalg.matvec(features, head) ** 2) for head in tf.unstack(heads)
            ]
        rows = [[tape.gradient(loss, table)] for loss in losses]
        if case == "dense":
            rows = [[dense(gradient) for gradient in row] for row in rows]
        found = columns(rows)
        weights = tf.unstack(tf.linalg.diag_part(gramian(found)))
        update = combine(found[0], weights, table)
        if isinstance(update, tf.IndexedSlices):
            update = unique(update)
            table.scatter_sub(tf.IndexedSlices(1e-3 * update.values, update.indices))
        else:
            table.assign_sub(1e-3 * update)

    step()
    return step


def peak(case: str, tasks: int) -> float:
    """Peak memory of one case in MiB, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.embeddings", f"--case={case}", f"--tasks={tasks}"]
    command.append(f"--jit={FLAGS.jit}")
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def main(argv):
    """Measure and print."""
    del argv
    if FLAGS.case:
        (tasks,) = map(int, FLAGS.tasks)
        step = runner(FLAGS.case, tasks)
        for _ in range(5):
            step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    # First, since a new process inherits the peak of this one.
    peaks = {
        tasks: [peak(case, tasks) for case in ("rows", "dense")] for tasks in map(int, FLAGS.tasks)
    }
    print("        CPU ms: rows   dense  ratio     peak MiB: rows   dense")
    for tasks in map(int, FLAGS.tasks):
        steps = {case: runner(case, tasks) for case in ("rows", "dense")}
        times = {case: [] for case in steps}
        for _ in range(FLAGS.rounds):
            for case, step in steps.items():
                start = time.process_time()
                step()
                times[case].append(time.process_time() - start)
        rows, whole = (np.median(times[case]) * 1e3 for case in steps)
        print(
            f"T = {tasks}  {rows:10.2f} {whole:7.2f} {whole / rows:6.1f}"
            f"  {peaks[tasks][0]:15.0f} {peaks[tasks][1]:7.0f}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
