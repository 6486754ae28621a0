"""What a swap of versions costs: how long it takes, and what requests wait meanwhile.

A server answers constant requests from some threads of this process, while versions of a model are
renamed into its folder, one after another. Prints, as medians over the swaps, the seconds from the
rename to the first answer by the new version, and the part of them that it was loaded and warmed
up; and the latency of requests before the rename, in the swap, and until the old version is freed,
in milliseconds and relative to before.

    python -m benchmarks.swaps [--swaps=10] [--threads=2] [--units=64,1024]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import shutil
import tempfile
import threading
import time
import weakref
from pathlib import Path

import keras
import numpy as np
from absl import app, flags

from mtlzoo import BinaryClassification, HardSharing, Regression
from mtlzoo.serving import Server, Versions

FLAGS = flags.FLAGS
flags.DEFINE_integer("swaps", 10, "How many swaps are measured.")
flags.DEFINE_integer("threads", 2, "How many threads ask.")
flags.DEFINE_list("units", ["64", "1024"], "Widths of the model's three layers.")
flags.DEFINE_float("poll_seconds", 0.01, "How often the server looks at the folder.")

FEATURES, ROWS = 64, 32


def stock(folder: Path, units: int) -> list[Path]:
    """Versions of a model, beside the folder that is served; the first is in it."""
    tasks = [BinaryClassification("click"), Regression("stay")]
    inputs = keras.Input((FEATURES,), name="features")
    versions = Versions(folder / "stock", keep=1)
    versions.publish(HardSharing(inputs, tasks, shared_units=(units,) * 3))
    found = []
    for number in range(1, FLAGS.swaps + 2):
        place = folder / "served" / "1" if number == 1 else folder / f"{number}"
        found.append(Path(shutil.copytree(versions.path(1), place)))
    return found[1:]


def measure(units: int) -> None:
    """Swap, and print what it cost."""
    folder = Path(tempfile.mkdtemp())
    waiting = stock(folder, units)
    x = np.zeros((ROWS, FEATURES), "float32")
    stop, answers = threading.Event(), []
    swaps, loads = [], []
    phases: dict[str, list[tuple[float, float]]] = {"before": [], "swap": [], "freeing": []}

    def ask() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            version = server.answer(x).version
            answers.append((began, time.perf_counter(), version))

    with Server(folder / "served", FLAGS.poll_seconds) as server:
        threads = [threading.Thread(target=ask) for _ in range(FLAGS.threads)]
        for thread in threads:
            thread.start()
        for number, place in enumerate(waiting, 2):
            time.sleep(1.0)
            old, count = weakref.ref(server._current), len(answers)
            renamed = time.perf_counter()
            place.rename(folder / "served" / str(number))
            while not any(version == number for *_, version in answers[count:]):
                time.sleep(0.001)
            first = min(end for _, end, version in answers[count:] if version == number)
            while old() is not None:
                time.sleep(0.001)
            freed = time.perf_counter()
            swaps.append(first - renamed)
            loads.append(server.swaps[-1].seconds)
            phases["before"].append((renamed - 0.7, renamed))
            phases["swap"].append((renamed, first))
            phases["freeing"].append((first, freed))
        stop.set()
        for thread in threads:
            thread.join()
    shutil.rmtree(folder)

    print(
        f"units {units}: swap {np.median(swaps):.3f} s ({min(swaps):.3f} to {max(swaps):.3f}), "
        f"of which {np.median(loads):.3f} s loading and warming up; {len(answers)} answers"
    )
    usual = None
    for phase, spans in phases.items():
        # A request counts where it ends or where it is under way all the time.
        each = [
            [end - began for began, end, _ in answers if begin < end and began < over]
            for begin, over in spans
        ]
        middle = 1e3 * np.median(np.concatenate(each))
        worst = 1e3 * np.median([max(latencies) for latencies in each])
        usual = usual or (middle, worst)
        print(
            f"  {phase:8} median {middle:8.2f} ms ({middle / usual[0]:6.2f} of before), "
            f"worst {worst:8.2f} ms ({worst / usual[1]:6.2f})"
        )


def main(argv):
    """Measure models of each width."""
    del argv
    for units in map(int, FLAGS.units):
        measure(units)


if __name__ == "__main__":
    app.run(main)
