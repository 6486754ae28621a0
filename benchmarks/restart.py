"""What surviving a kill costs: the time until a killed training trains again, and that of a backup.

Starts a training in a process of its own, kills it with SIGKILL in the middle of its second epoch,
and starts it again. Prints the seconds from the start of the process to the end of its first step
by what they were spent on, beside those of a training that begins; then how long one backup takes
beside a training step, and beside the backup of Keras's `BackupAndRestore`.

    python -m benchmarks.restart [--units=1024] [--rows=100000] [--rounds=3]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from benchmarks.networks import fully_connected, training_step
from mtlzoo import MultiTaskModel, Regression
from mtlzoo.data.pipeline import batches
from mtlzoo.training import Backup, backup_files, data_order, going_on, model_state

IMPORTED = time.time()
STARTED = float(os.environ.get("RESTART_BEGAN", IMPORTED))  # when the parent began it
FLAGS = flags.FLAGS
flags.DEFINE_integer("units", 1024, "Width of the three layers of the trunk.")
flags.DEFINE_integer("rows", 100_000, "Rows of the data.")
flags.DEFINE_integer("batch_size", 64, "Rows in a batch.")
flags.DEFINE_integer("every", 100, "Steps between two backups.")
flags.DEFINE_integer("rounds", 3, "Rounds of measurements; the medians are shown.")
flags.DEFINE_string("child", None, "Train with this file for backups; what the first starts.")
flags.DEFINE_bool("killed", False, "Whether the child kills itself.")

PARTS = ("import", "model and data", "file", "passing over data", "first step", "in all")


def model() -> MultiTaskModel:
    """Three layers, two tasks, Adam, PCGrad."""
    inputs = keras.Input((64,))
    hidden = fully_connected(inputs, (FLAGS.units,) * 3)
    tasks = [Regression("a", metrics=[]), Regression("b", metrics=[])]
    made = MultiTaskModel(inputs, {t.name: t.head(hidden) for t in tasks}, tasks=tasks)
    made.compile("adam", balancer="pcgrad", jit_compile=False)
    return made


def dataset() -> tf.data.Dataset:
    """Shuffled rows in memory."""
    x = np.random.default_rng(0).normal(size=(FLAGS.rows, 64)).astype("float32")
    return batches((x, {"a": x[:, :1], "b": x[:, 1:2]}), FLAGS.batch_size, seed=0)


class FirstStep(keras.callbacks.Callback):
    """Ends the process after its first step, or kills it in the middle of the second epoch."""

    def __init__(self, report):
        super().__init__()
        self.report, self.epoch = report, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not FLAGS.killed:
            self.report(time.time())
            os._exit(0)
        middle = FLAGS.rows // FLAGS.batch_size // 2
        if self.epoch == 1 and batch >= middle:
            os.kill(os.getpid(), signal.SIGKILL)


def child() -> None:
    """Train, and say what the time until the first step was spent on."""
    spent = {"file": 0.0, "passing over data": 0.0}

    def timed(module, name, part):
        function = getattr(module, name)

        def wrapped(*arguments):
            start = time.time()
            found = function(*arguments)
            spent[part] += time.time() - start
            return found

        setattr(module, name, wrapped)

    timed(backup_files, "read", "file")
    timed(model_state, "restore", "file")
    timed(data_order, "repeat", "passing over data")
    timed(going_on, "pass_over", "passing over data")
    trained, data = model(), dataset()
    built = time.time()

    def report(now):
        spent["import"] = IMPORTED - STARTED
        spent["model and data"] = built - IMPORTED
        spent["first step"] = now - built - spent["file"] - spent["passing over data"]
        spent["in all"] = now - STARTED
        print(json.dumps(spent), flush=True)

    callbacks = [FirstStep(report), Backup(FLAGS.child, every=FLAGS.every)]
    trained.fit(data, epochs=2, callbacks=callbacks, verbose=0)


def start(path: Path, killed: bool = False) -> dict | None:
    """Run a child; what its time was spent on."""
    names = ("units", "rows", "batch_size", "every")
    arguments = [f"--{name}={FLAGS[name].value}" for name in names]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.restart", f"--child={path}", *arguments]
        + (["--killed"] if killed else []),
        env={**os.environ, "RESTART_BEGAN": str(time.time())},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == (-signal.SIGKILL if killed else 0)
    return None if killed else json.loads(done.stdout.splitlines()[-1])


def seconds(function, times: int = 1) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - began) / times


def restart(folder: Path) -> None:
    """Print what the time until the first step is spent on."""
    killed = folder / "backup"
    start(killed, killed=True)
    runs: dict[str, list] = {"begun": [], "gone on": []}
    for i in range(FLAGS.rounds):
        runs["begun"].append(start(folder / f"none{i}"))
        runs["gone on"].append(start(killed))
    found = {
        name: {part: float(np.median([each[part] for each in run])) for part in PARTS}
        for name, run in runs.items()
    }
    steps = FLAGS.rows // FLAGS.batch_size // 2
    print(f"seconds to the first step, begun, and gone on after a kill in step {steps} of epoch 2")
    for part in PARTS:
        one, other = found["begun"][part], found["gone on"][part]
        ratio = f"{other / one:10.2f}" if one > 0 else ""
        print(f"{part:20}{one:10.2f}{other:10.2f}{ratio}", flush=True)


def backup(folder: Path) -> None:
    """Print how long a backup takes."""
    trained = model()
    own = Backup(folder / "own", every=1)
    given = own.resumes(trained, {"x": dataset(), "callbacks": [own]})
    keras_own = keras.callbacks.BackupAndRestore(folder / "keras", delete_checkpoint=False)
    for callback in (*given["callbacks"], keras_own):
        callback.set_model(trained)
    step = training_step(trained, FLAGS.batch_size)
    for _ in range(3):
        step()
    keras_own.on_train_begin()
    times: dict[str, list[float]] = {"step": [], "backup": [], "Keras": []}
    for i in range(FLAGS.rounds + 1):
        found = {
            "step": seconds(step, 20),
            "backup": seconds(lambda: own.on_train_batch_end(own._done)),
            "Keras": seconds(lambda i=i: keras_own.on_epoch_end(i)),
        }
        for name, value in found.items():
            times[name] += [value] if i else []
    step_time, own_time, keras_time = (float(np.median(times[n])) for n in times)
    size = (folder / "own").stat().st_size / 2**20
    print("    MiB   step, ms   backup, ms   in steps   of time, every 100   to Keras's")
    print(
        f"{size:7.1f}{step_time * 1e3:11.2f}{own_time * 1e3:13.2f}{own_time / step_time:11.1f}"
        f"{own_time / (own_time + 100 * step_time):20.1%}{own_time / keras_time:13.2f}"
    )


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.ERROR)
    if FLAGS.child is not None:
        child()
        return
    with tempfile.TemporaryDirectory() as folder:
        restart(Path(folder))
        backup(Path(folder))


if __name__ == "__main__":
    app.run(main)
