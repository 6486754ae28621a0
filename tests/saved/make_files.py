"""Saves small trained models with what they answer, for later versions to load:

    PYTHONPATH=tests python -m saved.make_files

writes `tests/saved/<version>/`. The files of a version are made once and stay.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pathlib

import keras
import numpy as np
from conformance.registry import TASKS, Case, make_tasks, rows
from conformance.training import answers, copies, everything, small, train

import mtlzoo
from mtlzoo import MGDA, HardSharing

FOLDER = pathlib.Path(__file__).parent


def dropout():
    """Hard sharing whose training depends on the state of a random generator."""
    keras.utils.set_random_seed(1)
    inputs = {"features": keras.Input((6,), name="features")}
    model = HardSharing(inputs, make_tasks(), shared_units=(8,), tower_units=(4,), dropout=0.3)
    model.compile(
        keras.optimizers.Adam(0.01),
        balancer=MGDA(wrt="features"),
        metrics={name: [] for name in TASKS},
        run_eagerly=True,
    )
    return model


def of(architecture: str, balancer: str):
    """A function that makes a model of the conformance suite."""
    return lambda: small(Case(architecture, balancer), keras.optimizers.Adam(0.01))


CASES = {
    "hard_sharing_uncertainty": of("HardSharing", "uncertainty"),
    "mmoe_dwa": of("MMoE", "dwa"),
    "graph_pcgrad_every_2": of("MultiTaskModel", "pcgrad, every 2"),
    "nested_grad_drop": of("a model inside a model", "grad_drop"),
    "dropout_mgda_features": dropout,
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
    for name, make in CASES.items():
        model = make()
        train(model, rows(model))
        model.save(folder / f"{name}.keras")
        np.savez_compressed(folder / f"{name}.npz", **record(model))


if __name__ == "__main__":
    main()
