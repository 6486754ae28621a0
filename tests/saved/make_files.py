"""Saves small trained models with what they answer, for later versions to load:

    PYTHONPATH=tests python -m saved.make_files

writes `tests/saved/<version>/`. The files of a version are made once and stay.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pathlib

import keras
import numpy as np
from conformance.registry import Case, rows
from conformance.training import answers, copies, everything, small, train

import mtlzoo

FOLDER = pathlib.Path(__file__).parent
CASES = {
    "hard_sharing_uncertainty": Case("HardSharing", "uncertainty"),
    "mmoe_dwa": Case("MMoE", "dwa"),
    "graph_pcgrad_every_2": Case("MultiTaskModel", "pcgrad, every 2"),
}


def numbered(arrays) -> dict[str, np.ndarray]:
    """`arrays` under the keys `0`, `1`, ..."""
    return {str(i): np.asarray(array) for i, array in enumerate(arrays)}


def record(model) -> dict[str, np.ndarray]:
    """What `model` answers, all its state, and the losses of an epoch more."""
    x, y = rows(model)
    found = {f"answer_{key}": value for key, value in numbered(answers(model, x)).items()}
    found |= {f"state_{k}": v for k, v in numbered(copies(everything(model))).items()}
    logs = train(model, (x, y)).history
    return found | {f"log_{key}": np.array(values) for key, values in logs.items()}


def main() -> None:
    """Write the files of this version."""
    folder = FOLDER / mtlzoo.__version__
    folder.mkdir()
    for name, case in CASES.items():
        model = small(case, keras.optimizers.Adam(0.01))
        train(model, rows(model))
        model.save(folder / f"{name}.keras")
        np.savez_compressed(folder / f"{name}.npz", **record(model))


if __name__ == "__main__":
    main()
