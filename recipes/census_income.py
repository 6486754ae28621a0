"""The census benchmark of the paper on MMoE: all rows, several seeds, beside boosted trees.

    python -m mtlzoo.data census_income --download   # once: 9 MB
    python -m recipes.census_income --trees --out=runs/census_income
    python -m recipes.census_income --balancer=all --seeds=5 --out=runs/census_balancers

Trains one network per task, hard parameter sharing, MMoE, PLE and cross-stitch networks on the
official training rows of Census-Income, with the same optimizer, steps and number of units after
the inputs. The validation part of the training data chooses each model's epoch; the test data is
read once, at the end. Prints the mean and the standard deviation over seeds and draws them; with
`--trees` (needs scikit-learn) also boosted trees, on the same rows and columns.

With `--balancer=all`, or several names, it compares balancers instead of architectures: one
architecture, hard sharing or that of `--models`, with each balancer, beside single tasks and fixed
weights that the validation data chose. One name is the balancer of all multi-task models.

The data set leaves out columns that state in words who has never married. `--all_columns` takes
them in, and `education` too, for comparison with results that had them, as the paper's pair of
tasks `income` and `never_married` seems to.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import keras
from absl import flags, logging

from mtlzoo import PLE, CrossStitch, HardSharing, MMoE, MultiTaskModel, data
from mtlzoo.data.census_income.columns import EXTRA_COLUMNS
from mtlzoo.tasks import Task
from recipes.parts import balancer_report, balancers, job, plots, strategies, tables
from recipes.parts import census as census_data
from recipes.parts.boosted_trees import boosted_trees
from recipes.parts.comparison import over_seeds

FLAGS = job.define_flags(
    out="runs/census_income",
    source="full",
    data_dir=(None, "Where the full data is prepared."),
    epochs=6,
    seeds=3,
    batch_size=1024,
    learning_rate=(2e-3, "What Adam begins with; it falls to 0 along a cosine."),
)
flags.DEFINE_list("tasks", ["income", "never_married"], "Tasks; `education` is a third.")
flags.DEFINE_bool("all_columns", False, "Also read columns that tell a label.")
flags.DEFINE_integer("num_bins", 64, "Bins of each quantity, beside its value; or 0.")
flags.DEFINE_list(
    "models", None, "What is compared to single tasks. Defaults to all; of balancers, hard sharing."
)
flags.DEFINE_list("balancer", [balancers.EQUAL], balancers.FLAG_HELP)
flags.DEFINE_bool("trees", False, "Train boosted trees too, by scikit-learn.")

# Nearly all parameters lie right after the inputs, and there every network has 128 units: the
# shared layer, all experts of MMoE, all of the first level of PLE, both columns of the cross-stitch
# network. A single-task network has as many, so that all of them together have more.
TRUNK, TOWER, DROPOUT = 128, 32, 0.3


def networks(inputs: Any, tasks: list) -> dict[str, Callable[[], MultiTaskModel]]:
    """What makes each of the multi-task models that were asked for, by name."""
    expert = {"expert_units": (TRUNK // 4,), "tower_units": (TOWER,)}
    column = TRUNK // len(tasks)
    make = {
        "hard sharing": (HardSharing, {"shared_units": (TRUNK,), "tower_units": (TOWER,)}),
        "MMoE": (MMoE, {"num_experts": 4, **expert}),
        "PLE": (PLE, {"num_shared_experts": 4 - len(tasks), "num_task_experts": 1, **expert}),
        "cross-stitch": (CrossStitch, {"units": (column, TOWER)}),
    }
    return {
        name: functools.partial(
            architecture, inputs, tasks, dropout=DROPOUT, name=architecture.__name__, **arguments
        )
        for name, (architecture, arguments) in make.items()
        if FLAGS.models is None or name in FLAGS.models
    }


def single_task(census: data.Loaded, task: Task) -> MultiTaskModel:
    """The network of one task."""
    units = {"shared_units": (TRUNK,), "tower_units": (TOWER,)}
    name = f"single_task_{task.name}"
    return HardSharing(census.inputs, [task], dropout=DROPOUT, name=name, **units)


def main(_) -> None:
    out = job.begin(logging.ERROR)
    started = time.perf_counter()
    census = load(num_bins=FLAGS.num_bins)
    print(f"{census.inputs.shape[1]} features, loaded in {time.perf_counter() - started:.0f} s")

    names = balancers.named(FLAGS.balancer)
    if len(names) == 1:
        report = train_all(census, names[0])
        tables.print_table(report)
    else:
        report = balancer_report.compare(out, train_balancers(census, names))
    trees: dict[str, float] = {}
    if FLAGS.trees:
        started = time.perf_counter()
        trees = boosted_trees(load(preprocessed=False))
        found = ", ".join(f"{metric} {value:.4f}" for metric, value in trees.items())
        print(f"\nboosted trees, same columns: {found} ({time.perf_counter() - started:.0f} s)")
    picture = "metrics.png" if len(names) == 1 else "balancers.png"
    if len(names) == 1:
        plots.metrics_of_seeds(out / picture, report, trees, "boosted trees")
    job.end(out, {**report, "boosted trees": {"metrics": trees}} if trees else report, picture)


def load(**options: Any) -> data.Loaded:
    """The data with the tasks that were asked for."""
    if FLAGS.all_columns:
        options["extra_columns"] = [name for name in EXTRA_COLUMNS if name not in FLAGS.tasks]
    given = {"tasks": FLAGS.tasks, "batch_size": FLAGS.batch_size, **options}
    return census_data.load(FLAGS.source, FLAGS.data_dir, **given)


def settings(census: data.Loaded) -> dict[str, Any]:
    """How all are trained. A seed is that of weights and dropout; the order of rows goes on from
    one training to the next, and is another in each.
    """
    steps = FLAGS.epochs * int(census.train.cardinality())
    rate = keras.optimizers.schedules.CosineDecay(FLAGS.learning_rate, steps)
    return {"seeds": FLAGS.seeds, "epochs": FLAGS.epochs, "learning_rate": rate}


def train_all(census: data.Loaded, balancer: str) -> dict[str, dict]:
    """The report on single tasks and all architectures."""
    models = {
        name: lambda _, build=build: build()
        for name, build in networks(census.inputs, census.tasks).items()
    }
    given = {"single": single_task, "balancer": balancer}
    return over_seeds(lambda seed: census, models, **given, **settings(census))


def train_balancers(census: data.Loaded, names: list[str]) -> balancers.Found:
    """One architecture with each of the balancers."""
    made = networks(census.inputs, census.tasks)
    build = balancers.the_one(FLAGS.models, made, "hard sharing")
    given = (lambda seed: census, single_task, lambda _, name: build(name=name))
    return balancers.train_all(names, *given, **settings(census))


if __name__ == "__main__":
    strategies.run(main)
