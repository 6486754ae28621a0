"""What a task of its own costs in serving, beside all tasks together, and what other formats do.

Writes models with eight tasks in every format, as a whole and with one task only, and asks all of
them in turns in one process. Prints a table for docs/serving.md: the tenth percentile of the time
of a request for all tasks, and its ratio to that of the SavedModel; as ratios to it the signature
of one task, and a file of that task only; then the size of the whole file, and as a ratio to it
that of the other one.

    python -m benchmarks.serving [--models=HardSharing,MMoE,CrossStitch] [--rounds=200]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pathlib
import tempfile
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags, logging

from benchmarks.formats import SUFFIXES
from benchmarks.parameters import ARCHITECTURES
from mtlzoo import BinaryClassification, MultiTaskModel, export

FLAGS = flags.FLAGS
flags.DEFINE_list("models", ["HardSharing", "MMoE", "CrossStitch"], "Architectures to measure.")
flags.DEFINE_integer("rounds", 200, "Rounds of measurements.")
flags.DEFINE_list("batches", ["1", "256"], "Rows of a request.")

TASK = "task_0"


def fast(requests: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of each request, taken in turns: the tenth percentile, which other programs on
    the machine hardly move.
    """
    times: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(5):
        for request in requests.values():
            request()
    for _ in range(FLAGS.rounds):
        for name, request in requests.items():
            start = time.perf_counter()
            request()
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * float(np.percentile(found, 10)) for name, found in times.items()}


def size(path: pathlib.Path) -> float:
    """Of a file or folder in kilobytes, with the weights that are beside an OpenVINO file."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.stem}.*")
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e3


def measure(name: str, model: MultiTaskModel, folder: pathlib.Path) -> list[list[str]]:
    """The rows of a model in the table."""
    rng = np.random.default_rng(0)
    paths = {}
    for form, suffix in SUFFIXES.items():
        for kind, tasks in (("whole", None), ("alone", [TASK])):
            paths[form, kind] = folder / f"{name}_{kind}_{form}{suffix}"
            export.save(model, paths[form, kind], tasks, format=form)
    loaded = {key: export.load(path) for key, path in paths.items()}
    table = []
    for batch in map(int, FLAGS.batches):
        x = {"features": rng.normal(size=(batch, 100)).astype("float32")}

        def request(form, kind, signature, x=x):
            answer = loaded[form, kind].signatures[signature]
            return lambda: answer(x)

        requests = {}
        for form in SUFFIXES:
            requests[form, "whole"] = request(form, "whole", "serve")
            requests[form, "alone"] = request(form, "alone", "serve")
            if TASK in loaded[form, "whole"].signatures:
                requests[form, "signature"] = request(form, "whole", TASK)
        found = fast(requests)
        base = found["tf_saved_model", "whole"]
        for form in SUFFIXES:
            own = found[form, "whole"]
            signature = found.get((form, "signature"))
            whole, alone = (size(paths[form, kind]) for kind in ("whole", "alone"))
            table.append(
                [
                    *(f"`{name}`", f"`{form}`", f"{batch}", f"{own:.3f}", f"{own / base:.2f}"),
                    "–" if signature is None else f"{signature / own:.2f}",
                    *(f"{found[form, 'alone'] / own:.2f}", f"{whole:,.0f}", f"{alone / whole:.2f}"),
                ]
            )
    return table


def main(argv):
    """Measure and print."""
    del argv
    logging.set_verbosity(logging.ERROR)  # TensorFlow's export has a notice for each signature
    head = ["model", "format", "rows", "ms, all tasks", "of SavedModel", "signature of a task"]
    head += ["file of a task", "kB, all tasks", "file of a task"]
    print("| " + " | ".join(head) + " |\n|---|---|" + "--:|" * (len(head) - 2))
    tasks = [BinaryClassification(f"task_{i}") for i in range(8)]
    for name in FLAGS.models:
        with tempfile.TemporaryDirectory() as folder:
            for row in measure(name, ARCHITECTURES[name](tasks), pathlib.Path(folder)):
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    app.run(main)
