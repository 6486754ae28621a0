"""Compares how strong sharing should be: `python -m recipes.dynamic_sharing`.

Trains `DynamicSharing` on the census sample with a fixed strength of 0, 0.5 and 1, with one that is
annealed from 1 to 0, with a learned one, and with one that follows the conflicts of gradients, each
with several seeds. All have the same layers, balancer, number of epochs and learning rate; the
validation part of the training data chooses each model's epoch. Prints a table of the deciding
metrics on the test data: the mean over the seeds and its spread.
"""

import functools
from typing import Any

import numpy as np

from mtlzoo import DynamicSharing, data
from recipes.parts import job, strategies
from recipes.parts.comparison import Run, over_seeds
from recipes.parts.tables import print_table, spread

FLAGS = job.define_flags(
    out="runs/dynamic_sharing",
    epochs=5,
    seeds=3,
    batch_size=256,
    learning_rate=1e-3,
    balancer=("pcgrad", "A gradient balancer, by name."),
)


def main(_) -> None:
    out = job.begin()
    strengths: dict[str, list[float]] = {}

    def note(run: Run) -> None:
        strengths.setdefault(run.name, []).append(mean_strength(run.model))

    report = over_seeds(
        lambda seed: data.load("census_income", batch_size=FLAGS.batch_size, seed=seed),
        {name: functools.partial(build, name) for name in settings(1)},
        seeds=FLAGS.seeds,
        epochs=FLAGS.epochs,
        learning_rate=FLAGS.learning_rate,
        balancer=FLAGS.balancer,
        after=note,
    )
    for name, values in strengths.items():
        report[name]["metrics"]["strength"] = spread(values)
    print_table(report)
    job.end(out, report)


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


def build(name: str, census: data.Loaded) -> DynamicSharing:
    """One of the models that are compared."""
    steps = FLAGS.epochs * int(census.train.cardinality())
    return DynamicSharing(
        census.inputs,
        census.tasks,
        units=(64, 32),
        tower_units=(16,),
        dropout=0.2,
        sharing=settings(steps)[name],
        name="sharing_" + name.replace(" ", "_").replace(".", "_"),
    )


def mean_strength(model: DynamicSharing) -> float:
    """The mean strength of sharing over stages and tasks."""
    strengths = model.sharing_strengths()
    return float(np.mean([list(of_tasks.values()) for of_tasks in strengths.values()]))


if __name__ == "__main__":
    strategies.run(main)
