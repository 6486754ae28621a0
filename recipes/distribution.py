"""The same job on one device, on two, and in two processes: does it end with the same weights?

    python -m recipes.distribution --out=runs/distribution

Trains MMoE on the embedded sample of the Census-Income data with PCGrad at features level and plain
SGD: on one device; on two devices of this machine, which are two halves of the CPU unless --devices
names others; and in two processes on 127.0.0.1, which the recipe starts itself. Each has processes
of its own, one job after the other. Prints what ran, the largest differences of the final weights
and of the logged losses from those of one device, and the time of a step.

Two halves of one CPU take no less time than the whole: that they end with the same weights is what
is shown here.
"""

import json
import pathlib
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from mtlzoo import MMoE, PCGrad, data
from recipes.parts import job, local_workers, strategies
from recipes.parts.distribution_report import compare, print_table
from recipes.parts.training import StepTimes

FLAGS = job.define_flags(
    out="runs/distribution",
    epochs=(2, "Epochs of each job."),
    steps=(100, "Steps in an epoch, at most."),
    batch_size=128,
    learning_rate=(0.05, "That of SGD."),
    seed=(0, "Seed of weights and of the order of rows."),
)
flags.DEFINE_list("jobs", ["one", "two", "processes"], "Which jobs are done.")
flags.DEFINE_bool("only", False, "Do one job, in this process, on --strategy.")

ONE, TWO, PROCESSES = "one", "two", "processes"
NAMES = {ONE: "one device", TWO: "two devices", PROCESSES: "two processes"}


def main(argv) -> None:
    out = job.begin(logging.ERROR)
    if FLAGS.only:
        strategies.on_chosen(lambda _: train(pathlib.Path(FLAGS.out)), argv)
        return
    found = {}
    for name in dict.fromkeys([ONE, *FLAGS.jobs]):
        command = command_of(out / name, arguments(name))
        local_workers.run(command, out / name, 2 if name == PROCESSES else 1)
        found[NAMES[name]] = read(out / name)
    report = compare(found)
    print_table(report)
    job.end(out, report)


def arguments(job: str) -> list[str]:
    """The flags that say what a job runs on."""
    if job == ONE:
        return ["--strategy=one"]
    if job == TWO:
        devices = FLAGS.devices or ["CPU:0", "CPU:1"]
        return ["--strategy=mirrored", f"--devices={','.join(devices)}"]
    if job == PROCESSES:
        return ["--strategy=multi_worker"]
    raise ValueError(f"`--jobs` should be among {list(NAMES)}. Received: {job!r}")


def command_of(out: pathlib.Path, chosen: list[str]) -> list[str]:
    """What does a job in a process of its own.

    Args:
        out: the folder that the job writes to.
        chosen: the flags that say what it runs on.
    """
    same = ("epochs", "steps", "batch_size", "learning_rate", "seed")
    command = [sys.executable, "-m", "recipes.distribution", "--only", f"--out={out}", *chosen]
    return command + [f"--{name}={FLAGS[name].value}" for name in same]


def train(out: pathlib.Path) -> None:
    """Train, and write weights and what was logged to the folder `out`."""
    census = data.load("census_income", batch_size=FLAGS.batch_size, seed=FLAGS.seed)
    keras.utils.set_random_seed(FLAGS.seed)
    with strategies.scope():
        # Without dropout, of which every replica draws the same mask for other rows.
        model = MMoE(
            census.inputs, census.tasks, num_experts=4, expert_units=(32,), tower_units=(16,)
        )
        model.compile(
            keras.optimizers.SGD(FLAGS.learning_rate),
            balancer=PCGrad(wrt="features"),
            metrics={task.name: [] for task in census.tasks},
            jit_compile=False,
        )
    times = StepTimes()
    history = model.fit(
        census.train.take(FLAGS.steps),
        validation_data=census.valid,
        epochs=FLAGS.epochs,
        shuffle=False,  # the data set reshuffles itself
        callbacks=[times],
        verbose=0,
    ).history
    strategy = model.distribute_strategy
    np.savez(out / "weights.npz", *model.get_weights())
    report = {
        "strategy": kind_of(strategy),
        "replicas": strategy.num_replicas_in_sync,
        "step, ms": 1e3 * float(np.median(times.seconds[1:] or times.seconds)),
        "losses": history,
    }
    (out / "job.json").write_text(json.dumps(report) + "\n")


def kind_of(strategy: tf.distribute.Strategy) -> str:
    """What TensorFlow's documentation calls a strategy, without the part that all have."""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return "MultiWorkerMirrored"
    return "Mirrored" if isinstance(strategy, tf.distribute.MirroredStrategy) else "none"


def read(out: pathlib.Path) -> dict[str, Any]:
    """What `train` has written."""
    with np.load(out / "weights.npz") as weights:
        return {**json.loads((out / "job.json").read_text()), "weights": list(weights.values())}


if __name__ == "__main__":
    app.run(main)  # not `strategies.run`: the process that starts the others trains nothing
