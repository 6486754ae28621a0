"""What learning from a stream costs beside a plain loop of `train_on_batch`.

All ways learn the same mini-batches, in turns, in one process. Shows the median of the rounds'
ratios of their CPU time to that of the loop; then what the parts of it cost for one mini-batch:
predictions before learning with their losses and metrics, the checks of the reader, the detectors
of drift and the scores of complexity, in milliseconds and in steps of `train_on_batch`.

    python -m benchmarks.online [--batch_size=64] [--units=256] [--rounds=7]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
from absl import app, flags, logging

from mtlzoo import BinaryClassification, HardSharing, MultiTaskModel, Regression
from mtlzoo.online import (
    Adaptive,
    Complexity,
    Decision,
    DriftDetector,
    EveryBatch,
    OnlineLearner,
    Reader,
    Reservoir,
    UpdatePolicy,
    Windows,
)

FLAGS = flags.FLAGS
flags.DEFINE_integer("batch_size", 64, "Rows of a mini-batch.")
flags.DEFINE_integer("features", 64, "Columns of the input.")
flags.DEFINE_integer("units", 256, "Width of the two shared layers.")
flags.DEFINE_integer("batches", 64, "Mini-batches in each measurement.")
flags.DEFINE_integer("rounds", 7, "Rounds of measurements.")


class Never(UpdatePolicy):
    """Predicts only."""

    def decide(self, moment):
        """Goes on collecting."""
        return Decision(0)


def tasks() -> list:
    """Two tasks."""
    return [BinaryClassification("click"), Regression("stay")]


def compiled() -> MultiTaskModel:
    """A model of two tasks."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((FLAGS.features,), name="features")
    model = HardSharing(inputs, tasks(), shared_units=(FLAGS.units,) * 2, tower_units=(32,))
    model.compile("adam", jit_compile=False)
    return model


def batches() -> Iterator[tuple]:
    """The mini-batches of one measurement."""
    rng = np.random.default_rng(0)
    for _ in range(FLAGS.batches):
        x = rng.normal(size=(FLAGS.batch_size, FLAGS.features)).astype("float32")
        # With noise: losses that fall to nothing have no usual size, and any would be drift.
        both = x[:, :2] + rng.normal(size=(len(x), 2)).astype("float32")
        yield x, {"click": (both[:, 0] > 0).astype("int32"), "stay": both[:, 1]}


def policies() -> dict[str, Callable[[], UpdatePolicy]]:
    """The ways to learn."""
    size = FLAGS.batch_size
    return {
        "online": EveryBatch,
        "batched": lambda: Windows(rows=16 * size),
        "adaptive": lambda: Adaptive(rows=(4 * size, 64 * size)),
        "adaptive, complexity": lambda: Adaptive(
            rows=(4 * size, 64 * size), complexity=Complexity(tasks())
        ),
    }


def ways(given: list[tuple]) -> dict[str, Callable[[], object]]:
    """By name what learns the mini-batches once; plain first."""
    plain = compiled()

    def loop() -> None:
        for x, y in given:
            plain.train_on_batch(x, y)

    found: dict[str, Callable[[], object]] = {"plain": loop}
    never = OnlineLearner(compiled(), Never(), batch_size=FLAGS.batch_size, most_waiting=10**9)
    found["predicting only"] = lambda: never.run(given, at_end="keep")
    for name, policy in policies().items():
        for replay in (None, 0.5):
            learner = OnlineLearner(
                compiled(),
                policy(),
                batch_size=FLAGS.batch_size,
                window=16 * FLAGS.batch_size,
                replay=replay and Reservoir(10_000, ratio=replay),
            )
            label = name + (", replay" if replay else "")
            found[label] = lambda learner=learner: learner.run(given)
    return found


def parts(given: list[tuple]) -> dict[str, Callable[[], object]]:
    """By name what does one part of the work for all mini-batches."""
    model = compiled()
    reader, complexity = Reader(model), Complexity(tasks())
    detectors = {
        name: DriftDetector(name, chunk=8 if name == "kswin" else 1)
        for name in ("adwin", "page_hinkley", "ddm", "hddm_a", "kswin")
    }
    # What `Adaptive` has by default.
    detectors["adwin by default"] = DriftDetector("adwin", chunk=4, clock=8)
    losses = np.random.default_rng(1).exponential(size=(len(given), FLAGS.batch_size))
    outputs = [model.predict_on_batch(x) for x, _ in given]
    found: dict[str, Callable[[], object]] = {
        "predict_on_batch": lambda: [model.predict_on_batch(x) for x, _ in given],
        "reader": lambda: [reader.read(element) for element in given],
        "complexity": lambda: [
            complexity.score(raw, x) for raw, (x, _) in zip(outputs, given, strict=True)
        ],
    }
    for name, detector in detectors.items():
        found[f"{name}, a task"] = lambda detector=detector: [detector.update(v) for v in losses]
    return found


def seconds(function: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    function()
    return time.process_time() - began


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.ERROR)
    given = list(batches())
    compared, apart = ways(given), parts(given)
    measured: dict[str, list[float]] = {name: [] for name in (*compared, *apart)}
    for i in range(FLAGS.rounds + 1):  # the first is for tracing
        for name, function in {**compared, **apart}.items():
            took = seconds(function)
            measured[name] += [took] if i else []
    plain = np.array(measured["plain"])
    rows = FLAGS.batch_size * FLAGS.batches
    print(f"{'':28}rows / CPU s   time / plain")
    for name in compared:
        took = np.array(measured[name])
        print(f"{name:28}{rows / np.median(took):12.0f}{np.median(took / plain):15.2f}")
    print(f"\n{'a mini-batch':28}      ms   in steps")
    for name in apart:
        took = np.array(measured[name])
        each = np.median(took) / FLAGS.batches
        print(f"{name:28}{each * 1e3:8.3f}{np.median(took / plain):11.2f}")


if __name__ == "__main__":
    app.run(main)
