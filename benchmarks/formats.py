"""Which architectures can be written in which formats, and how far the answers are then.

Writes a small model of every architecture with three tasks (a binary one, one of five classes, a
regression; for AITM and ESMM three binary ones) as a SavedModel, a LiteRT, an ONNX and an OpenVINO
file, runs each by the runtime of its format, and prints a table for docs/exporting.md: the largest
difference of an answer, over seven random rows together and the first one alone.

    python -m benchmarks.formats [--only=MMoE,PLE]
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pathlib
import tempfile

import numpy as np
from absl import app, flags, logging

from benchmarks.parameters import ARCHITECTURES
from mtlzoo import BinaryClassification, Classification, Regression, export

FLAGS = flags.FLAGS
flags.DEFINE_list("only", None, "Architectures to try. Defaults to all.")

SUFFIXES = {"tf_saved_model": "", "litert": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
ROWS = 7


def tasks(name: str) -> list:
    """Three tasks that an architecture takes."""
    if name in ("AITM", "ESMM"):
        return [BinaryClassification(task) for task in ("click", "kind", "stay")]
    return [
        BinaryClassification("click"),
        Classification("kind", num_classes=5),
        Regression("stay"),
    ]


def tried(name: str, form: str) -> str:
    """The largest difference in a format, or why there is none."""
    model = ARCHITECTURES[name](tasks(name))
    rng = np.random.default_rng(0)
    rows = {x.name: rng.normal(size=(ROWS, *x.shape[1:])).astype("float32") for x in model.inputs}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"model{SUFFIXES[form]}")
        try:
            found = export.compare(export.save(model, path, format=form), model, rows)
        except ValueError as error:
            return str(error)
    others = any(share > 0 for share in found.changed.values())
    return f"{found.worst:.0e}" + (", other classes" if others else "")


def main(argv):
    """Try them all."""
    del argv
    logging.set_verbosity(logging.ERROR)  # TensorFlow's export has a notice for each signature
    print("| model | " + " | ".join(f"`{form}`" for form in export.names()) + " |")
    print("|---|" + "--:|" * len(export.names()))
    for name in FLAGS.only or ARCHITECTURES:
        cells = [tried(name, form) for form in export.names()]
        print(f"| `{name}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    app.run(main)
