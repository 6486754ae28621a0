"""What a step on a batch with labels of one task costs, with and without selecting that task.

Prints ratios of CPU time between steps that run in turns in one process, so that a noisy machine
disturbs all of them alike. Hard sharing has a trunk of 256-512-512-256, MMoE four experts of
256-256-128; towers have 64 units, batches 256 rows. The unit is a plain Keras model of the one task
alone: its trunk or experts, gate and head.

    python -m benchmarks.task_selection [--tasks=2,4,8] [--rounds=15] [--jit]
"""

import os
import random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from mtlzoo import HardSharing, MMoE, MultiTaskModel, Regression

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", ["2", "4", "8"], "Numbers of tasks.")
flags.DEFINE_integer("rounds", 15, "Rounds of measurements; the medians are compared.")
flags.DEFINE_integer("steps", 4, "Training steps in each measurement.")
flags.DEFINE_list("balancers", ["equal", "pcgrad"], "Balancers, by name.")
flags.DEFINE_bool("jit", False, "Compile the steps with XLA.")

WIDTH, BATCH, ONE = 256, 256, "t0"
UNIT = "one task, plain Keras"


def hard_sharing(tasks: Sequence[Regression]) -> MultiTaskModel:
    """A trunk that all tasks share."""
    return HardSharing(
        keras.Input((WIDTH,)), tasks, shared_units=(512, 512, 256), tower_units=(64,)
    )


def mmoe(tasks: Sequence[Regression]) -> MultiTaskModel:
    """Experts that all tasks share, and a gate for each task."""
    return MMoE(
        keras.Input((WIDTH,)), tasks, num_experts=4, expert_units=(256, 128), tower_units=(64,)
    )


ARCHITECTURES: dict[str, Callable] = {"hard sharing": hard_sharing, "MMoE": mmoe}


def ours(make: Callable, count: int, balancer: str) -> MultiTaskModel:
    """A model of all tasks, compiled."""
    model = make([Regression(f"t{i}", metrics=[]) for i in range(count)])
    model.compile(keras.optimizers.SGD(1e-3), balancer=balancer, jit_compile=FLAGS.jit)
    return model


def plain(make: Callable, count: int) -> keras.Model:
    """The part of such a model that one task needs, as a plain Keras model."""
    whole = make([Regression(f"t{i}", metrics=[]) for i in range(count)])
    model = whole.single_task(ONE)
    model.compile(keras.optimizers.SGD(1e-3), loss={ONE: "mse"}, jit_compile=FLAGS.jit)
    return model


def batches(count: int, labelled: Sequence[str], given: Sequence[str]):
    """One batch again and again: labels of the tasks `given`, of which some count."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, WIDTH)).astype("float32")
    y = {name: rng.normal(size=(BATCH, 1)).astype("float32") for name in given}
    weight = {name: np.full(BATCH, name in labelled, "float32") for name in given}
    return iter(tf.data.Dataset.from_tensors((x, y, weight)).cache().repeat())


def runner(model: keras.Model, iterator, selected: list[str] | None = None) -> Callable:
    """A function that runs training steps, and gives the seconds of one."""
    model.make_train_function()

    def run(steps: int) -> float:
        if isinstance(model, MultiTaskModel):
            model.select_tasks(selected)
        start = time.process_time()
        for _ in range(steps):
            model.train_function(iterator)
        return (time.process_time() - start) / steps

    run(3)
    return run


def cases(make: Callable, count: int) -> dict[str, Callable]:
    """By name, what is measured."""
    names = [f"t{i}" for i in range(count)]
    found = {UNIT: runner(plain(make, count), batches(count, [ONE], [ONE]))}
    for balancer in FLAGS.balancers:
        model = ours(make, count, balancer)
        one, everything = batches(count, [ONE], names), batches(count, names, names)
        found[f"{balancer}: one task, selected"] = runner(model, one, [ONE])
        found[f"{balancer}: one task, not selected"] = runner(model, one)
        found[f"{balancer}: all tasks"] = runner(model, everything)
    return found


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.ERROR)
    print(f"CPU time of one step {'with' if FLAGS.jit else 'without'} XLA: ms, ratio to {UNIT}")
    for title, make in ARCHITECTURES.items():
        columns = {}
        for count in map(int, FLAGS.tasks):
            runs = cases(make, count)
            times: dict[str, list[float]] = {name: [] for name in runs}
            order = random.Random(0)
            for _ in range(FLAGS.rounds):
                # In another order each time: what runs before leaves its mark on the caches.
                for name in order.sample(list(runs), len(runs)):
                    times[name].append(runs[name](FLAGS.steps))
            columns[count] = {name: float(np.median(each)) for name, each in times.items()}
            keras.backend.clear_session()
        print(title.ljust(32) + "".join(f"{f'T = {count}':>18}" for count in columns))
        for name in next(iter(columns.values())):
            cells = [f"{c[name] * 1e3:11.2f}{c[name] / c[UNIT]:7.2f}" for c in columns.values()]
            print(f"  {name}".ljust(32) + "".join(cells), flush=True)


if __name__ == "__main__":
    app.run(main)
