"""Compares how strong sharing should be: `python -m recipes.dynamic_sharing`.

Trains `DynamicSharing` on the census sample with a fixed strength of 0, 0.5 and 1, with one that is
annealed from 1 to 0, with a learned one, and with one that follows the conflicts of gradients, each
with several seeds. All have the same layers, balancer, number of epochs and learning rate; the
validation part of the training data chooses each model's epoch. Prints a table of the deciding
metrics on the test data: the mean over the seeds and its spread.
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags

from mtlzoo import DynamicSharing, data
from recipes import comparison, strategies
from recipes.training import Progress

_OUT = flags.DEFINE_string("out", "runs/dynamic_sharing", "Folder to write to.")
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Epochs of each model.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Adam's learning rate.")
_BALANCER = flags.DEFINE_string("balancer", "pcgrad", "A gradient balancer, by name.")

UNITS, TOWER_UNITS, DROPOUT = (64, 32), (16,), 0.2


def main(_) -> None:
    out = pathlib.Path(_OUT.value)
    names = list(settings(1))
    results: dict[str, list[comparison.Result]] = {name: [] for name in names}
    strengths: dict[str, list[float]] = {name: [] for name in names}
    progress = Progress(len(names) * _SEEDS.value, _EPOCHS.value)
    for seed in range(_SEEDS.value):
        census = data.load("census_income", batch_size=_BATCH_SIZE.value, seed=seed)
        steps = _EPOCHS.value * int(census.train.cardinality())
        for name, sharing in settings(steps).items():
            model, result = comparison.train(
                functools.partial(build, name, sharing, census),
                census,
                epochs=_EPOCHS.value,
                learning_rate=_LEARNING_RATE.value,
                seed=seed,
                balancer=_BALANCER.value,
                progress=progress,
            )
            results[name].append(result)
            strengths[name].append(mean_strength(model))
    report = comparison.summarize(results, census.tasks)
    for name, values in strengths.items():
        report[name]["metrics"]["strength"] = comparison.spread(values)
    comparison.print_table(report)
    comparison.write(out, report)
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


def build(name: str, sharing: Any, census: data.Loaded) -> DynamicSharing:
    """One of the models that are compared."""
    return DynamicSharing(
        census.inputs,
        census.tasks,
        units=UNITS,
        tower_units=TOWER_UNITS,
        dropout=DROPOUT,
        sharing=sharing,
        name="sharing_" + name.replace(" ", "_").replace(".", "_"),
    )


def mean_strength(model: DynamicSharing) -> float:
    """The mean strength of sharing over stages and tasks."""
    strengths: Mapping[str, Mapping[str, float]] = model.sharing_strengths()
    return float(np.mean([list(of_tasks.values()) for of_tasks in strengths.values()]))


if __name__ == "__main__":
    strategies.run(main)
