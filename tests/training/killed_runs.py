"""Trainings that are killed and started again, in processes of their own.

    python tests/training/killed_runs.py one NAME BACKUP OUT [EPOCH.STEP]
    python tests/training/killed_runs.py several FOLDER NAME...
    python tests/training/killed_runs.py replicas FOLDER NAME...

The first trains one setting, with backups if BACKUP is a path, and kills itself after a step. The
second trains several in the same way, once without an interruption and once with some kills, each
in a fork of a process that has only imported TensorFlow, and prints a line of JSON for each. The
third does so on two logical devices, and goes on from there on one, too.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import traceback
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from killed_settings import SETTINGS

from mtlzoo.training import Backup

KILLS = ["0.3", "1.4", "1.9", "2.7"]  # epoch and step, of 10 or so; a backup is made every 3


class Kill(keras.callbacks.Callback):
    """Ends the process after a step, as if the machine had gone."""

    def __init__(self, when: str):
        super().__init__()
        self.when = tuple(int(number) for number in when.split("."))

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) >= self.when:
            os.kill(os.getpid(), signal.SIGKILL)


class Seen(keras.callbacks.Callback):
    """What other callbacks are told of the last epoch."""

    batches = ()

    def on_epoch_begin(self, epoch, logs=None):
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append((batch, logs["loss"]))


def train(
    name: str, backup: str | None, out: str, kill: str | None = None, replicas: int = 1
) -> None:
    """Train a setting, and write what came out."""
    scope = contextlib.nullcontext()
    if replicas > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
        )
        devices = [f"CPU:{i}" for i in range(replicas)]
        scope = tf.distribute.MirroredStrategy(devices).scope()
    keras.utils.set_random_seed(7)
    with scope:
        setting = SETTINGS[name]()
    seen = Seen()
    callbacks = [*setting.callbacks, seen]
    if backup:
        callbacks.append(Backup(backup, every=3, mixture=setting.mixture))
    if kill:
        callbacks.append(Kill(kill))
    history = setting.model.fit(**setting.fit, callbacks=callbacks, verbose=0)
    found = [*setting.model.variables, *setting.model.optimizer.variables]
    np.savez(out, *[keras.ops.convert_to_numpy(variable) for variable in found])
    text = json.dumps([history.epoch, history.history, setting.model.initial_losses, seen.batches])
    Path(out).with_suffix(".json").write_text(text)


def compare(one: str, other: str) -> dict:
    """The largest difference of any variable, and whether the logs are the same."""
    with np.load(one) as a, np.load(other) as b:
        assert sorted(a) == sorted(b)
        distances = [np.abs(a[k].astype("float64") - b[k].astype("float64")).max() for k in a]
        same = all(np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a)
    texts = [json.loads(Path(each).with_suffix(".json").read_text()) for each in (one, other)]
    first, second = ([*each[:3], each[3][-1:]] for each in texts)
    return {
        "difference": float(np.nanmax(distances)),
        "same": bool(same),
        "logs": json.dumps(first) == json.dumps(second),
    }


def fork(function, *arguments) -> int:
    """Call a function in a fork of this process; the signal that ended it."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "see above"
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def several(folder: str, names: list[str]) -> None:
    """Train each setting with and without kills."""
    for name in names:
        place = Path(folder, name.replace(" ", "_"))
        place.mkdir(parents=True)
        backup, whole, killed = str(place / "backup"), str(place / "a.npz"), str(place / "b.npz")
        try:
            assert fork(train, name, None, whole) == 0
            signals = [fork(train, name, backup, killed, kill) for kill in KILLS]
            assert fork(train, name, backup, killed) == 0
            result = {"kills": signals.count(signal.SIGKILL), **compare(whole, killed)}
            Path(killed).unlink()
            assert fork(train, name, backup, killed) == 0
            result["again"] = compare(whole, killed)["same"]
        except AssertionError as error:
            result = {"error": str(error)}
        print(json.dumps({"case": name, **result}), flush=True)


def on_replicas(folder: str, names: list[str]) -> None:
    """Train each setting on two devices with and without kills, and go on on one device."""
    for name in names:
        place = Path(folder, name.replace(" ", "_"))
        place.mkdir(parents=True)
        backup, whole, killed = str(place / "backup"), str(place / "a.npz"), str(place / "b.npz")
        try:
            assert fork(train, name, None, whole, None, 2) == 0
            signals = [fork(train, name, backup, killed, kill, 2) for kill in KILLS[1:3]]
            shutil.copy(backup, backup + "_of_two")
            assert fork(train, name, backup, killed, None, 2) == 0
            result = {"kills": signals.count(signal.SIGKILL), **compare(whole, killed)}
            Path(killed).unlink()
            assert fork(train, name, backup + "_of_two", killed) == 0
            result["on one"] = compare(whole, killed)["difference"]
        except AssertionError as error:
            result = {"error": str(error)}
        print(json.dumps({"case": name, **result}), flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "`shuffle=True` was passed")
    if sys.argv[1] in ("several", "replicas"):
        {"several": several, "replicas": on_replicas}[sys.argv[1]](sys.argv[2], sys.argv[3:])
    else:
        name, backup, out, *kill = sys.argv[2:]
        train(name, None if backup == "-" else backup, out, *kill)
