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

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from mtlzoo import PLE, CrossStitch, HardSharing, MMoE, MultiTaskModel, data
from mtlzoo.data.census_income.columns import EXTRA_COLUMNS, NUMBERS
from mtlzoo.tasks import Task
from recipes import balancers, comparison, plots, strategies
from recipes.training import Progress

_OUT = flags.DEFINE_string("out", "runs/census_income", "Folder to write to.")
_SOURCE = flags.DEFINE_enum("source", "full", ["full", "sample"], "Rows: all, or those embedded.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the full data is prepared.")
_TASKS = flags.DEFINE_list("tasks", ["income", "never_married"], "Tasks; `education` is a third.")
_ALL_COLUMNS = flags.DEFINE_bool("all_columns", False, "Also read columns that tell a label.")
_NUM_BINS = flags.DEFINE_integer("num_bins", 64, "Bins of each quantity, beside its value; or 0.")
_MODELS = flags.DEFINE_list(
    "models", None, "What is compared to single tasks. Defaults to all; of balancers, hard sharing."
)
_BALANCER = flags.DEFINE_list("balancer", [balancers.EQUAL], balancers.FLAG_HELP)
_EPOCHS = flags.DEFINE_integer("epochs", 6, "Epochs of each model.", lower_bound=1)
_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each model.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1024, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", 2e-3, "What Adam begins with; it falls to 0 along a cosine."
)
_TREES = flags.DEFINE_bool("trees", False, "Train boosted trees too, by scikit-learn.")

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
        if _MODELS.value is None or name in _MODELS.value
    }


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of the tracing of several models
    out = pathlib.Path(_OUT.value)
    started = time.perf_counter()
    census = load(num_bins=_NUM_BINS.value)
    steps = _EPOCHS.value * int(census.train.cardinality())
    print(f"{census.inputs.shape[1]} features, loaded in {time.perf_counter() - started:.0f} s")

    names = balancers.named(_BALANCER.value)
    picture = "metrics.png" if len(names) == 1 else "balancers.png"
    if len(names) == 1:
        report = comparison.summarize(train_all(census, steps, names[0]), census.tasks)
        comparison.print_table(report)
    else:
        report = balancers.compare(out, train_balancers(census, steps, names))
    trees: dict[str, float] = {}
    if _TREES.value:
        started = time.perf_counter()
        trees = boosted_trees(load(preprocessed=False))
        found = ", ".join(f"{metric} {value:.4f}" for metric, value in trees.items())
        print(f"\nboosted trees, same columns: {found} ({time.perf_counter() - started:.0f} s)")

    comparison.write(out, {**report, "boosted trees": {"metrics": trees}} if trees else report)
    if len(names) == 1:
        plots.metrics_of_seeds(out / picture, report, trees, "boosted trees")
    print(f"\nWritten to {out}: {picture}, results.json")


def load(**options: Any) -> data.Loaded:
    """The data with the tasks that were asked for."""
    if _SOURCE.value == "full":
        options["data_dir"] = _DATA_DIR.value
    if _ALL_COLUMNS.value:
        options["extra_columns"] = [name for name in EXTRA_COLUMNS if name not in _TASKS.value]
    census = data.load(
        "census_income", source=_SOURCE.value, batch_size=_BATCH_SIZE.value, **options
    )
    tasks = [task for task in census.tasks if task.name in _TASKS.value]
    return dataclasses.replace(census, tasks=tasks)


def single_task(census: data.Loaded, task: Task) -> MultiTaskModel:
    """The network of one task."""
    return HardSharing(
        census.inputs,
        [task],
        shared_units=(TRUNK,),
        tower_units=(TOWER,),
        dropout=DROPOUT,
        name=f"single_task_{task.name}",
    )


def train_all(census: data.Loaded, steps: int, balancer: str) -> dict[str, list[comparison.Result]]:
    """All models of all seeds. A seed is that of weights and dropout; the order of rows goes on
    from one training to the next, and is another in each.
    """
    chosen = networks(census.inputs, census.tasks)
    progress = Progress(_SEEDS.value * (len(chosen) + len(census.tasks)), _EPOCHS.value)
    results: dict[str, list[comparison.Result]] = {}
    for seed in range(_SEEDS.value):
        arguments: dict[str, Any] = {
            "epochs": _EPOCHS.value,
            "learning_rate": keras.optimizers.schedules.CosineDecay(_LEARNING_RATE.value, steps),
            "seed": seed,
            "progress": progress,
        }
        _, single = comparison.train_single_tasks(
            functools.partial(single_task, census), census, **arguments
        )
        results.setdefault(comparison.SINGLE, []).append(single)
        for name, build in chosen.items():
            _, result = comparison.train(build, census, balancer=balancer, **arguments)
            results.setdefault(name, []).append(result)
    return results


def train_balancers(census: data.Loaded, steps: int, names: list[str]) -> balancers.Found:
    """One architecture with each of the balancers, with the same settings."""
    made = networks(census.inputs, census.tasks)
    build = balancers.the_one(_MODELS.value, made, "hard sharing")
    return balancers.train_all(
        names,
        lambda _: census,
        single_task,
        lambda _, name: build(name=name),
        seeds=_SEEDS.value,
        epochs=_EPOCHS.value,
        learning_rate=keras.optimizers.schedules.CosineDecay(_LEARNING_RATE.value, steps),
    )


# --- Trees -------------------------------------------------------------------------------------


def boosted_trees(raw: data.Loaded) -> dict[str, float]:
    """The deciding metrics on the test data of boosted trees for each task.

    A tenth of the training rows decides when to stop; the settings are otherwise scikit-learn's.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import f1_score, roc_auc_score
    except ImportError as error:
        raise ImportError("`--trees` needs scikit-learn: pip install scikit-learn") from error
    (x, y), (x_test, y_test) = columns_of(raw.train), columns_of(raw.test)
    categories = [name for name in x if name not in NUMBERS]
    for name in categories:
        x[name], x_test[name] = codes(x[name], x_test[name])
    train, test = (np.stack(list(part.values()), -1) for part in (x, x_test))
    found = {}
    for task in raw.tasks:
        model = HistGradientBoostingClassifier(
            max_iter=300,
            categorical_features=[name in categories for name in x],
            early_stopping=True,
            random_state=0,
        ).fit(train, y[task.name])
        if task.monitor == "auc":
            score = roc_auc_score(y_test[task.name], model.predict_proba(test)[:, 1])
        else:
            score = f1_score(y_test[task.name], model.predict(test), average="macro")
        found[f"{task.name}, {task.monitor}"] = float(score)
    return found


def columns_of(part: tf.data.Dataset) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """All raw columns and labels of a data set, each `(rows,)`."""
    x, y = zip(*((x, y) for x, y, _ in part.as_numpy_iterator()), strict=True)
    return tuple({name: np.concatenate([b[name] for b in p]) for name in p[0]} for p in (x, y))


def codes(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values as numbers from 0; one that the training rows do not have is missing (NaN)."""
    known, numbers = np.unique(train.astype(str), return_inverse=True)
    test = test.astype(str)
    at = np.minimum(np.searchsorted(known, test), len(known) - 1)
    return numbers.astype("float32"), np.where(known[at] == test, at, np.nan).astype("float32")


if __name__ == "__main__":
    strategies.run(main)
