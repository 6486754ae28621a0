"""Compares how strong sharing should be: `python -m recipes.dynamic_sharing`.

Trains `DynamicSharing` on the census sample with a fixed strength of 0, 0.5 and 1, with one that is
annealed from 1 to 0, with a learned one, and with one that follows the conflicts of gradients, each
with several seeds. All have the same layers, balancer, number of epochs and learning rate; the
validation part of the training data chooses each model's epoch. Prints a table of the deciding
metrics on the test data: the mean over the seeds and its spread.
"""

import json
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import keras
from absl import app, flags

from mtlzoo import DynamicSharing, data
from recipes.training import BestEpoch, Progress

_OUT = flags.DEFINE_string("out", "runs/dynamic_sharing", "Folder to write to.")
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Epochs of each model.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Adam's learning rate.")
_BALANCER = flags.DEFINE_string("balancer", "pcgrad", "A gradient balancer, by name.")

UNITS, TOWER_UNITS, DROPOUT = (64, 32), (16,), 0.2


def main(_) -> None:
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in settings(1)}
    progress = Progress(len(results) * _SEEDS.value, _EPOCHS.value)
    for seed in range(_SEEDS.value):
        census = data.load("census_income", batch_size=_BATCH_SIZE.value, seed=seed)
        steps = _EPOCHS.value * int(census.train.cardinality())
        for name, sharing in settings(steps).items():
            results[name].append(train(name, sharing, census, seed, progress))
    print_table(results, [f"{task.name}, {task.monitor}" for task in census.tasks])
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nWritten to {out / 'results.json'}")


def settings(steps: int) -> dict[str, Any]:
    """The kinds of sharing that are compared, by name, in a training of so many steps."""
    return {
        "0": 0.0,
        "0.5": 0.5,
        "1": 1.0,
        "from 1 to 0": (1.0, 0.0, steps),
        "learned": "learned",
        "conflict": "conflict",
    }


def train(
    name: str, sharing: Any, census: data.Loaded, seed: int, progress: Progress
) -> dict[str, Any]:
    """Train one model; the validation data chooses the epoch.

    Returns:
        The deciding metrics on the test data, and the strengths of sharing at that epoch.
    """
    keras.utils.set_random_seed(seed)
    model = DynamicSharing(
        census.inputs,
        census.tasks,
        units=UNITS,
        tower_units=TOWER_UNITS,
        dropout=DROPOUT,
        sharing=sharing,
        name="dynamic_sharing",
    )
    model.compile(keras.optimizers.Adam(_LEARNING_RATE.value), balancer=_BALANCER.value)
    best = BestEpoch()
    model.fit(
        census.train,
        validation_data=census.valid,
        epochs=_EPOCHS.value,
        shuffle=False,  # the data set reshuffles itself
        callbacks=[best, progress],
        verbose=0,
    )
    logs = model.evaluate(census.test, return_dict=True, verbose=0)
    progress.finish(f"{name:<12} seed {seed}: best on validation data in epoch {best.epoch}")
    metrics = {f"{t.name}, {t.monitor}": logs[f"{t.name}_{t.monitor}"] for t in census.tasks}
    return {"test": metrics, "sharing": model.sharing_strengths(), "epoch": best.epoch}


def print_table(results: dict[str, list[dict[str, Any]]], metrics: Sequence[str]) -> None:
    """Print the mean over the seeds and its spread, the standard deviation."""
    print(f"\n{'sharing':<14}" + "".join(f"{metric:>26}" for metric in [*metrics, "strength"]))
    for name, runs in results.items():
        cells = [spread([run["test"][metric] for run in runs]) for metric in metrics]
        strengths = [
            statistics.mean(s for stage in run["sharing"].values() for s in stage.values())
            for run in runs
        ]
        print(f"{name:<14}" + "".join(f"{cell:>26}" for cell in [*cells, spread(strengths)]))


def spread(values: Sequence[float]) -> str:
    """`mean ± standard deviation`."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


if __name__ == "__main__":
    app.run(main)
