"""How often detectors of drift are wrong, and how many losses they need to find a rise.

Losses are drawn at random: of one kind for a while, in which everything that is found is a false
alarm, and then half as large again. Prints the false alarms in 10 000 losses, the median of the
losses until the rise is found, in how many trials it was not, and microseconds for a loss.

    python -m benchmarks.drift [--trials=6] [--rise=1.5]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time

import numpy as np
from absl import app, flags

from mtlzoo.online import DriftDetector

FLAGS = flags.FLAGS
flags.DEFINE_integer("trials", 6, "Streams of each kind.")
flags.DEFINE_float("rise", 1.5, "What losses are multiplied with.")
flags.DEFINE_integer("before", 20_000, "Losses before the rise.")
flags.DEFINE_integer("after", 4000, "Losses after it.")

# Name, chunk and options; the second is what `Adaptive` has where nothing is said.
DETECTORS: list[tuple[str, int, dict]] = [
    ("adwin", 1, {}),
    ("adwin", 4, {"clock": 8}),
    ("adwin", 32, {"clock": 1}),
    ("page_hinkley", 1, {}),
    ("page_hinkley", 8, {}),
    ("ddm", 1, {}),
    ("hddm_a", 1, {}),
    ("hddm_w", 1, {}),
    ("kswin", 32, {}),  # it takes about a millisecond for each value
]
KINDS = {
    "exponential": lambda rng, count: rng.exponential(1.0, count),
    "log-normal, 1.5": lambda rng, count: rng.lognormal(0.0, 1.5, count),
}


def main(argv):
    """Measure and print."""
    del argv
    print("losses            detector        chunk   alarms in 10k   delay   missed   us")
    for kind, draw in KINDS.items():
        for name, chunk, options in DETECTORS:
            alarms, delays, seconds = 0, [], 0.0
            for seed in range(FLAGS.trials):
                rng = np.random.default_rng(seed)
                before, after = draw(rng, FLAGS.before), FLAGS.rise * draw(rng, FLAGS.after)
                detector = DriftDetector(name, chunk=chunk, **options)
                began = time.process_time()
                alarms += len(detector.update(before))
                delays += detector.update(after)[:1]
                seconds += time.process_time() - began
            count = FLAGS.trials * (FLAGS.before + FLAGS.after)
            delay = f"{np.median(delays):8.0f}" if delays else f"{'':8}"
            shown = name + "".join(f", {key} {value}" for key, value in options.items())
            print(
                f"{kind:18}{shown:16}{chunk:5}{alarms / FLAGS.trials / FLAGS.before * 1e4:16.2f}"
                f"{delay}{FLAGS.trials - len(delays):9}{seconds / count * 1e6:5.1f}",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
