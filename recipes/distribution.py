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
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from mtlzoo import MMoE, PCGrad, data
from recipes import local_workers, strategies
from recipes.comparison import write
from recipes.training import print_aligned

_OUT = flags.DEFINE_string("out", "runs/distribution", "Folder to write to.")
_EPOCHS = flags.DEFINE_integer("epochs", 2, "Epochs of each job.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 100, "Steps in an epoch, at most.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.05, "That of SGD.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights and of the order of rows.")
_JOBS = flags.DEFINE_list("jobs", ["one", "two", "processes"], "Which jobs are done.")
_ONLY = flags.DEFINE_bool("only", False, "Do one job, in this process, on --strategy.")

ONE, TWO, PROCESSES = "one", "two", "processes"
NAMES = {ONE: "one device", TWO: "two devices", PROCESSES: "two processes"}


def main(argv) -> None:
    logging.set_verbosity(logging.ERROR)
    if _ONLY.value:
        strategies.on_chosen(lambda _: train(pathlib.Path(_OUT.value)), argv)
        return
    out = pathlib.Path(_OUT.value)
    found = {}
    for job in dict.fromkeys([ONE, *_JOBS.value]):
        run_processes(out / job, arguments(job), 2 if job == PROCESSES else 1)
        found[job] = read(out / job)
    report = compare(found)
    print_table(report)
    write(out, report)
    print(f"\nWritten to {out / 'results.json'}")


# --- Processes -----------------------------------------------------------------------------------


def arguments(job: str) -> list[str]:
    """The flags that say what a job runs on."""
    if job == ONE:
        return ["--strategy=one"]
    if job == TWO:
        devices = flags.FLAGS.devices or ["CPU:0", "CPU:1"]
        return ["--strategy=mirrored", f"--devices={','.join(devices)}"]
    if job == PROCESSES:
        return ["--strategy=multi_worker"]
    raise ValueError(f"`--jobs` should be among {list(NAMES)}. Received: {job!r}")


def run_processes(out: pathlib.Path, chosen: Sequence[str], workers: int) -> None:
    """Do a job in new processes.

    Args:
        out: the folder that the job writes to.
        chosen: the flags that say what it runs on.
        workers: how many processes, each of which is told of the others by `TF_CONFIG`.

    Raises:
        RuntimeError: if one of them fails or is ended; the others are ended then.
    """
    same = ("epochs", "steps", "batch_size", "learning_rate", "seed")
    command = [sys.executable, "-m", "recipes.distribution", "--only", f"--out={out}", *chosen]
    command += [f"--{name}={flags.FLAGS[name].value}" for name in same]
    environments = [{}] if workers == 1 else local_workers.environments(workers)
    inherited = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    out.mkdir(parents=True, exist_ok=True)
    logs = [out / f"process_{index}.log" for index in range(workers)]
    started = []
    try:
        for log, added in zip(logs, environments, strict=True):
            with log.open("w") as errors:
                process = subprocess.Popen(command, env={**inherited, **added}, stderr=errors)
            started.append(process)
        while any(process.poll() is None for process in started):
            if any(process.poll() for process in started):
                break
            time.sleep(0.1)
    finally:
        killed = [process for process in started if process.poll() is None]
        for process in killed:
            process.kill()
    for process, log in zip(started, logs, strict=True):
        code = process.wait()
        if code and process not in killed:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else "failed"
            raise RuntimeError(f"{' '.join(command)} {how}, see {log}:\n{log.read_text()[-3000:]}")


# --- One job -------------------------------------------------------------------------------------


class StepTimes(keras.callbacks.Callback):
    """How long each step took, in seconds."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch, logs=None):
        """Look at the clock."""
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Look again."""
        self.seconds.append(time.perf_counter() - self._started)


def train(out: pathlib.Path) -> None:
    """Train, and write weights and what was logged to the folder `out`."""
    census = data.load("census_income", batch_size=_BATCH_SIZE.value, seed=_SEED.value)
    keras.utils.set_random_seed(_SEED.value)
    with strategies.scope():
        # Without dropout, of which every replica draws the same mask for other rows.
        model = MMoE(
            census.inputs, census.tasks, num_experts=4, expert_units=(32,), tower_units=(16,)
        )
        model.compile(
            keras.optimizers.SGD(_LEARNING_RATE.value),
            balancer=PCGrad(wrt="features"),
            metrics={task.name: [] for task in census.tasks},
            jit_compile=False,
        )
    times = StepTimes()
    history = model.fit(
        census.train.take(_STEPS.value),
        validation_data=census.valid,
        epochs=_EPOCHS.value,
        shuffle=False,  # the data set reshuffles itself
        callbacks=[times],
        verbose=0,
    ).history
    strategy = model.distribute_strategy
    out.mkdir(parents=True, exist_ok=True)
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


# --- Compare -------------------------------------------------------------------------------------


def compare(found: dict[str, dict]) -> dict[str, dict]:
    """By job what ran, and how far it is from one device.

    Args:
        found: by job, what `read` gives.
    """
    one = found[ONE]
    report = {}
    for job, each in found.items():
        losses = [np.subtract(each["losses"][key], values) for key, values in one["losses"].items()]
        weights = [a - b for a, b in zip(each["weights"], one["weights"], strict=True)]
        report[NAMES[job]] = {
            **{key: each[key] for key in ("strategy", "replicas", "step, ms")},
            "loss": each["losses"]["loss"][-1],
            "difference of weights": max(float(np.abs(d).max()) for d in weights),
            "difference of losses": max(float(np.abs(d).max()) for d in losses),
        }
    return report


def print_table(report: dict[str, dict]) -> None:
    """Print a line for each job."""
    rows = [["", "strategy", "replicas", "last loss", "max |dw|", "max |d loss|", "ms per step"]]
    for name, each in report.items():
        rows.append(
            [
                name,
                each["strategy"],
                str(each["replicas"]),
                f"{each['loss']:.6f}",
                f"{each['difference of weights']:.1e}",
                f"{each['difference of losses']:.1e}",
                f"{each['step, ms']:.1f}",
            ]
        )
    print()
    print_aligned(rows)
    print("\nmax: the largest difference from one device, of any weight and of any logged loss")


if __name__ == "__main__":
    app.run(main)  # not `strategies.run`: the process that starts the others trains nothing
