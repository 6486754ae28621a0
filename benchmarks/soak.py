"""Whether a learner that never ends keeps its memory: an endless stream, with everything.

Rows come at a given speed through an intake that samples; the rule of the labels changes again and
again, labels of some rows come later, some rows are malformed. The learner adapts its updates,
replays, holds rows back, publishes and prunes versions, writes its state, and a server swaps in
what is published. Prints the resident memory once a minute, then the first and the last, and the
slope of a line through those from the fifth minute on.

    python -m benchmarks.soak [--minutes=30] [--rate=1000] [--every_rows=10000]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gc
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

from mtlzoo import BinaryClassification, HardSharing, Regression
from mtlzoo.online import (
    Adaptive,
    Complexity,
    HeldBack,
    Intake,
    LateLabels,
    OnlineLearner,
    Publishing,
    Quarantine,
    Reservoir,
)
from mtlzoo.serving import Server, Versions

FLAGS = flags.FLAGS
flags.DEFINE_float("minutes", 30.0, "How long.")
flags.DEFINE_integer("features", 64, "Columns of the input.")
flags.DEFINE_integer("batch_size", 64, "Rows of a mini-batch.")
flags.DEFINE_integer("rate", 1000, "Rows of the stream in a second.")
flags.DEFINE_integer("change_every", 100_000, "Rows between two changes of the rule.")
flags.DEFINE_integer("every_rows", 10_000, "Rows between two candidates for publishing.")
flags.DEFINE_bool("publish", True, "Whether versions are published and served.")
flags.DEFINE_bool("trace", False, "Whether to print where Python allocated what was not freed.")

WARM_UP = 5  # minutes until all buffers are full
LATE = 3  # one mini-batch of so many has its labels later


def rows(rng: np.random.Generator) -> Iterator[Any]:
    """Mini-batches without end."""
    count, late, number = 0, [], 0
    began = time.monotonic()
    while True:
        time.sleep(max(0.0, began + count / FLAGS.rate - time.monotonic()))
        rule = np.random.default_rng(count // FLAGS.change_every).normal(size=(FLAGS.features, 2))
        x = rng.normal(size=(FLAGS.batch_size, FLAGS.features)).astype("float32")
        both = x @ rule / np.sqrt(FLAGS.features) + rng.normal(0, 0.3, (len(x), 2))
        y = {"click": (both[:, 0] > 0).astype("int32"), "stay": both[:, 1].astype("float32")}
        ids = np.arange(count, count + len(x))
        count, number = count + len(x), number + 1
        if number % LATE:
            if not number % 50:
                x[0, 0] = np.nan
            yield {"x": x, "y": y, "id": ids}
        else:
            yield {"x": x, "y": {"stay": y["stay"]}, "id": ids}
            late.append({"y": {"click": y["click"]}, "id": ids})
            if len(late) > 20:
                yield late.pop(0)


def resident() -> float:
    """MiB of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Minutes:
    """Prints a line a minute, and stops the learner in the end."""

    def __init__(self) -> None:
        self.began, self.found = time.monotonic(), [] if FLAGS.minutes else [resident()]
        self.before = None

    def __call__(self, learner: OnlineLearner) -> None:
        minutes = (time.monotonic() - self.began) / 60
        if minutes < len(self.found):
            return
        gc.collect()
        self.found.append(resident())
        counts = learner.counts
        shown = ("read", "left_out", "updates", "drifts", "published", "quarantined")
        print(
            f"{len(self.found) - 1:6d} min {self.found[-1]:9.1f} MiB   "
            + "  ".join(f"{name} {counts[name]}" for name in shown),
            flush=True,
        )
        if FLAGS.trace:
            self._trace()
        if minutes >= FLAGS.minutes:
            learner.stop()

    def _trace(self) -> None:
        now = tracemalloc.take_snapshot()
        if self.before is not None:
            for line in now.compare_to(self.before, "lineno")[:8]:
                print("      ", line)
        self.before = now


def main(argv):
    """Learn, watch, and print."""
    del argv
    logging.set_verbosity(logging.ERROR)
    if FLAGS.trace:
        tracemalloc.start()
    keras.utils.set_random_seed(0)
    tasks = [BinaryClassification("click"), Regression("stay")]
    inputs = keras.Input((FLAGS.features,), name="features")
    model = HardSharing(inputs, tasks, shared_units=(128,), tower_units=(32,))
    model.compile("adam", balancer="pcgrad", jit_compile=False)
    with tempfile.TemporaryDirectory() as folder:
        published = Path(folder, "versions")
        versions = Versions(published, keep=3) if FLAGS.publish else None
        learner = OnlineLearner(
            model,
            Adaptive(rows=(256, 2048), complexity=Complexity(tasks)),
            batch_size=FLAGS.batch_size,
            window=2000,
            replay=Reservoir(5000, ratio=0.25),
            late_labels=LateLabels(max_rows=3000),
            held_back=HeldBack(every=20, rows=1000),
            versions=versions,
            publishing=Publishing(every_rows=FLAGS.every_rows),
            quarantine=Quarantine(Path(folder, "quarantine.jsonl"), max_bytes=2**20),
            state=Path(folder, "state.npz"),
        )
        watch = Minutes()
        with Intake(rows(np.random.default_rng(0)), 64, "sample") as intake:
            if FLAGS.publish:
                versions.publish(model)
                with Server(published, poll_seconds=1.0):
                    learner.run(intake, after_batch=watch)
            else:
                learner.run(intake, after_batch=watch)
    found = watch.found
    print(f"first {found[0]:.1f} MiB, last {found[-1]:.1f} MiB")
    later = found[WARM_UP:]
    if len(later) > 2:
        slope = np.polyfit(np.arange(len(later)), later, 1)[0]
        print(f"slope from minute {WARM_UP} on: {slope:+.2f} MiB a minute")


if __name__ == "__main__":
    app.run(main)
