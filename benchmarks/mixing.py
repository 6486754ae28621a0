"""What mixing data sets costs: `data.mix` beside tf.data's own sampling of the same data sets.

Prints rows per second of both, run in turns, as a ratio, and how memory grows over an epoch.

    python -m benchmarks.mixing [--rounds=7]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import resource
import time

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from mtlzoo import data
from mtlzoo.data.pipeline import batches
from mtlzoo.data.unifying import unify

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 7, "Rounds of measurements; the medians are compared.")
flags.DEFINE_integer("steps", 400, "Batches in each measurement.")
flags.DEFINE_integer("batch_size", 64, "Rows in a batch.")

SIZES, WEIGHTS = {"a": 40_000, "b": 8000, "c": 500}, {"a": 0.6, "b": 0.3, "c": 0.1}


def sets() -> dict[str, tf.data.Dataset]:
    """Three data sets in memory, each with labels of a task of its own."""
    rng = np.random.default_rng(0)
    return {
        name: batches(
            (rng.normal(size=(rows, 64)).astype("float32"), {name: np.ones((rows, 1), "float32")}),
            FLAGS.batch_size,
            seed=0,
        )
        for name, rows in SIZES.items()
    }


def bare(form: str) -> tf.data.Dataset:
    """TensorFlow's own sampling of the same data sets, given one form as `mix` gives it."""
    found = list(unify(sets()).values())
    if form == "rows":
        found = [dataset.unbatch() for dataset in found]
    mixed = tf.data.Dataset.sample_from_datasets(
        [dataset.repeat() for dataset in found], list(WEIGHTS.values()), seed=0
    )
    if form == "rows":
        mixed = mixed.batch(FLAGS.batch_size, drop_remainder=True)
    return mixed.prefetch(2)


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.WARNING)
    print("form     mix, rows/s    bare, rows/s    mix as a ratio    growth, MiB")
    for form in ("batches", "rows"):
        batch_size = FLAGS.batch_size if form == "rows" else None
        mixture = data.mix(sets(), WEIGHTS, form=form, batch_size=batch_size)
        iterators = {"mix": iter(mixture.dataset), "bare": iter(bare(form))}
        rates: dict[str, list[float]] = {name: [] for name in iterators}
        before = 0
        for i in range(FLAGS.rounds + 1):
            for name, iterator in iterators.items():
                start, rows = time.perf_counter(), 0
                for _ in range(FLAGS.steps):
                    rows += len(next(iterator)[0])
                if i > 0:
                    rates[name].append(rows / (time.perf_counter() - start))
            if i == 0:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        mine, other = (float(np.median(rates[name])) for name in ("mix", "bare"))
        print(f"{form:9}{mine:11.0f}{other:16.0f}{mine / other:18.2f}{growth:15.1f}", flush=True)


if __name__ == "__main__":
    app.run(main)
