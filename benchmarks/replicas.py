"""What a step costs on replicas: `mirrored` on one device against none, and on two against one.

The batch is the same everywhere, so that two replicas have half of it each. The devices are logical
CPUs, parts of the same processor: what is measured is the cost of doing a step twice with half the
rows, and of the reductions between, and not how much faster two processors are. One process has one
strategy object only. So there are two, and the first, on one device, measures steps without a
strategy and on `mirrored` in turns; between its measurements the second, on two devices, has its
own, while the other waits. Ratios are of measurements in the same round, their median and
quartiles.

    python -m benchmarks.replicas [--tasks=4] [--rounds=30]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from benchmarks.networks import fully_connected
from mtlzoo import MultiTaskModel, PCGrad, Regression, distribution

FLAGS = flags.FLAGS
flags.DEFINE_integer("tasks", 4, "Number of tasks.")
flags.DEFINE_integer("rounds", 30, "Rounds of measurements.")
flags.DEFINE_integer("steps", 4, "Training steps in each measurement.")
flags.DEFINE_integer("batch", 256, "Rows in a batch, on all replicas together.")
flags.DEFINE_integer("devices", 0, "What the recipe's own processes are told.")

BALANCERS: dict[str, Callable] = {
    "equal": lambda: "equal",
    "uncertainty": lambda: "uncertainty",
    "pcgrad": PCGrad,
    "pcgrad, features": lambda: PCGrad(wrt="features"),
}
NONE, ONE, TWO = "none", "mirrored on 1", "mirrored on 2"


def main(argv):
    """Measure and print, or be one of the processes that measure."""
    del argv
    logging.set_verbosity(logging.ERROR)
    if FLAGS.devices:
        serve(FLAGS.devices)
    else:
        report(measure())


# --- A process that measures ---------------------------------------------------------------------


def serve(devices: int) -> None:
    """Take the steps that are asked for on the standard input, and print how long one took."""
    strategy = distribution.strategy("mirrored", devices=[f"CPU:{i}" for i in range(devices)])
    kinds = {NONE: distribution.strategy("one"), ONE: strategy} if devices == 1 else {TWO: strategy}
    steps = {(kind, name): step_of(kinds[kind], name) for kind in kinds for name in BALANCERS}
    for step in steps.values():
        for _ in range(3):
            step()
    print("ready", flush=True)
    for line in sys.stdin:
        kind, name = json.loads(line)
        started, used = time.perf_counter(), time.process_time()
        for _ in range(FLAGS.steps):
            steps[kind, name]()
        ended, used = time.perf_counter() - started, time.process_time() - used
        print(json.dumps([ended / FLAGS.steps, used / FLAGS.steps]), flush=True)


def step_of(strategy: tf.distribute.Strategy, name: str) -> Callable:
    """A function that takes a training step, by the function that `fit` calls."""
    kinds = [Regression(f"t{i}", metrics=[]) for i in range(FLAGS.tasks)]
    with strategy.scope():
        inputs = keras.Input((256,))
        hidden = fully_connected(inputs, (512, 512, 256))
        outputs = {kind.name: kind.head(fully_connected(hidden, (64,))) for kind in kinds}
        model = MultiTaskModel(inputs, outputs, tasks=kinds)
        model.compile(keras.optimizers.SGD(1e-3), balancer=BALANCERS[name](), jit_compile=False)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(FLAGS.batch, 256)).astype("float32")
    y = {kind.name: rng.normal(size=(FLAGS.batch, 1)).astype("float32") for kind in kinds}
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(FLAGS.batch).cache().repeat()
    batches = iter(strategy.experimental_distribute_dataset(rows))
    model.make_train_function()
    return lambda: model.train_function(batches)


# --- What is compared ----------------------------------------------------------------------------


def measure() -> dict[tuple[str, str], np.ndarray]:
    """By kind of strategy and balancer, wall and CPU seconds of a step, `(rounds, 2)`."""
    same = [f"--{name}={FLAGS[name].value}" for name in ("tasks", "steps", "batch")]
    command = [sys.executable, "-m", "benchmarks.replicas", *same]
    processes = [
        subprocess.Popen(
            [*command, f"--devices={devices}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        for devices in (1, 2)
    ]
    try:
        for process in processes:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("A process that measures has ended before it was ready.")
        asked = {NONE: processes[0], ONE: processes[0], TWO: processes[1]}
        found: dict = {(kind, name): [] for kind in asked for name in BALANCERS}
        order = random.Random(0)
        for _ in range(FLAGS.rounds):
            # In another order each time: what runs before leaves its mark on the caches.
            for case in order.sample(list(found), len(found)):
                process = asked[case[0]]
                process.stdin.write(json.dumps(case) + "\n")
                found[case].append(json.loads(process.stdout.readline()))
    finally:
        for process in processes:
            process.kill()
    return {case: np.array(times) for case, times in found.items()}


def report(found: dict[tuple[str, str], np.ndarray]) -> None:
    """Print times and ratios."""
    print(f"{FLAGS.tasks} tasks, {FLAGS.batch} rows, {FLAGS.rounds} rounds of {FLAGS.steps} steps")
    for column, what in enumerate(("wall time", "CPU time")):
        print(f"\n{what} of a step: ms without a strategy, and ratios (quartiles)")
        print(f"{'':<18}{'none, ms':>10}{f'{ONE} / none':>28}{f'{TWO} / {ONE}':>32}")
        for name in BALANCERS:
            none, one, two = (found[kind, name][:, column] for kind in (NONE, ONE, TWO))
            print(
                f"{name:<18}{1e3 * np.median(none):>10.2f}{spread(one / none):>28}"
                f"{spread(two / one):>32}"
            )


def spread(ratios: np.ndarray) -> str:
    """The median and the quartiles."""
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    app.run(main)
