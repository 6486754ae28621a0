"""Compares ways to say which task is trained next: `python -m recipes.task_scheduling`.

Four tasks of unequal size, difficulty and cost, each with a data set of its own, out of the
synthetic data of the paper on MMoE: `large` and `noisy` have many rows, of `noisy` three in ten
labels are wrong and its tower is wide; `small` and `tiny` have few rows and are each related to one
of them. A `data.mix` of them is trained for the same number of steps by each policy of
`mtlzoo.training`, with several seeds. Then uniform mixing is trained for longer, with and without
early stopping of each task. Prints the AUC on test rows of each task, mean and spread over
the seeds, and draws the shares and how AUC rises.
"""

import functools
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from mtlzoo import BinaryClassification, MultiTaskModel, data
from mtlzoo.data.synthetic_relatedness import generate
from mtlzoo.training import (
    EXP3,
    UCB,
    Curriculum,
    LearningSpeed,
    MetricPriority,
    Priority,
    Proportional,
    ResourceBudget,
    RoundRobin,
    TaskCosts,
    TaskEarlyStopping,
    TaskPolicy,
    TaskScheduler,
)
from recipes import comparison, scheduling_pictures, strategies
from recipes.training import print_aligned

_OUT = flags.DEFINE_string("out", "runs/task_scheduling", "Folder to write to.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each policy.", lower_bound=2)
_EPOCHS = flags.DEFINE_integer("epochs", 6, "Epochs of each training.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 50, "Steps of an epoch.", lower_bound=1)
_LONG = flags.DEFINE_integer(
    "long", 12, "Epochs at most, with and without early stopping.", lower_bound=1
)
_PATIENCE = flags.DEFINE_integer("patience", 2, "Epochs without improvement that stop a task.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 3e-3, "Adam's learning rate.")

ROWS = {"large": 12_800, "noisy": 12_800, "small": 1_600, "tiny": 400}
TOWERS = {"large": (32,), "noisy": (256,), "small": (32,), "tiny": (32,)}
WRONG_LABELS = 0.3  # of the task `noisy`, in training
CORRELATION = 0.9  # of `small` with `large`, and of `tiny` with `noisy`
VALID_ROWS, TEST_ROWS = 2_000, 8_000
EVERY = 20  # steps of a window
# In units of the cheapest step. They are given, not measured, so that every run is the same.
COSTS = TaskCosts({"large": 1.0, "noisy": 3.0, "small": 1.0, "tiny": 1.0})
WITHOUT, STOPPED, BEST = "not stopped", "stopped, assembled", "stopped, best of each"
Curves = dict[str, list[float]]


def policies() -> dict[str, Callable[[], TaskPolicy]]:
    """What is compared, by name."""
    return {
        "proportional": Proportional,
        "uniform": TaskPolicy,
        "round-robin": RoundRobin,
        "priority": lambda: Priority({"tiny": 3.0, "small": 2.0}),
        "metric priority": lambda: MetricPriority(dict.fromkeys(ROWS, "auc")),
        "learning speed": LearningSpeed,
        "UCB": UCB,
        "EXP3": EXP3,
        "curriculum": lambda: Curriculum(["large", "small", "noisy", "tiny"]),
        # Half as far above the cheapest step as the mean step of uniform shares.
        "budget": lambda: ResourceBudget(COSTS, seconds_per_step=1.25),
    }


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    model = compiled()
    start = [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables]
    found: dict[str, list[dict]] = {}
    for name, make in policies().items():
        began = time.perf_counter()
        runs = [train(model, start, make(), seed, _EPOCHS.value)[0] for seed in range(_SEEDS.value)]
        found[name] = runs
        print(f"{name}: {len(runs)} trainings in {time.perf_counter() - began:.0f} s", flush=True)
    long = early_stopping(model, start)
    report = {
        "policies": summarize(found),
        "early stopping": summarize(long),
        "stopped after epoch": [run["stopped"] for run in long[STOPPED]],
        "taken": [run["taken"] for run in long[STOPPED]],
    }
    print_report(report)
    scheduling_pictures.shares(
        out / "shares.png", {name: runs[0]["history"] for name, runs in found.items()}
    )
    scheduling_pictures.curves(
        out / "curves.png",
        {name: [run["curves"] for run in runs] for name, runs in found.items()},
        _STEPS.value,
    )
    (out / "results.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nWritten to {out}: shares.png, curves.png, results.json")


# --- Data ------------------------------------------------------------------------------------


def labels(rows: int, seed: list[int], of_weights: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rows with the labels of all tasks: whether what the synthetic data has is above 0."""
    x, first = generate(rows, CORRELATION, seed, [of_weights, 0])
    _, second = generate(rows, CORRELATION, seed, [of_weights, 1])  # of the same rows
    values = {
        "large": first["first"],
        "small": first["second"],
        "noisy": second["first"],
        "tiny": second["second"],
    }
    return x, {name: (values[name] > 0).astype("float32") for name in ROWS}


@functools.cache
def batches(name: str, seed: int) -> tf.data.Dataset:
    """The training rows of a task, with its labels alone."""
    x, y = labels(ROWS[name], [seed, 1, list(ROWS).index(name)], seed)
    own = y[name]
    if name == "noisy":
        wrong = np.random.default_rng([seed, 2]).random(len(own)) < WRONG_LABELS
        own = np.where(wrong, 1 - own, own)
    x, own = tf.constant(x), tf.constant(own)
    order = tf.data.Dataset.range(ROWS[name]).shuffle(ROWS[name], seed=seed)
    places = order.batch(_BATCH_SIZE.value, drop_remainder=True)
    return places.map(lambda rows: (tf.gather(x, rows), {name: tf.gather(own, rows)}))


@functools.cache
def held_out(rows: int, seed: int, which: int) -> tf.data.Dataset:
    """Rows with the right labels of all tasks."""
    return tf.data.Dataset.from_tensor_slices(labels(rows, [seed, which], seed)).batch(1000).cache()


# --- Train -----------------------------------------------------------------------------------


def build() -> MultiTaskModel:
    """One shared layer, and towers of unequal width."""
    inputs = keras.Input((100,), name="features")
    shared = keras.layers.Dense(64, activation="relu", name="shared")(inputs)
    outputs, tasks = {}, [BinaryClassification(name, metrics=["auc"]) for name in ROWS]
    for task in tasks:
        hidden = shared
        for i, units in enumerate(TOWERS[task.name]):
            tower = keras.layers.Dense(units, activation="relu", name=f"{task.name}_tower_{i}")
            hidden = tower(hidden)
        outputs[task.name] = task.head(hidden)
    return MultiTaskModel(inputs, outputs, tasks=tasks, name="four_tasks")


def compiled() -> MultiTaskModel:
    """A new model, ready for `fit`."""
    with strategies.scope():
        model = build()
        model.compile(keras.optimizers.Adam(_LEARNING_RATE.value), jit_compile=False)
    return model


def begin(model: MultiTaskModel, start: list, seed: int) -> None:
    """Have the model begin anew: another one would be traced anew."""
    keras.utils.set_random_seed(seed)
    for variable, other in zip(model.variables, build().variables, strict=False):
        variable.assign(other)
    for variable, value in zip(model.optimizer.variables, start, strict=True):
        variable.assign(value)


def train(
    model: MultiTaskModel,
    start: list,
    policy: TaskPolicy,
    seed: int,
    epochs: int,
    stopping: Callable[[Any], TaskEarlyStopping] | None = None,
) -> tuple[dict[str, Any], TaskEarlyStopping | None]:
    """Train once from the beginning."""
    begin(model, start, seed)
    sets = {name: batches(name, seed) for name in ROWS}
    mixture = data.mix(sets, steps_per_epoch=_STEPS.value, seed=seed)
    scheduler = TaskScheduler(policy, mixture, every=EVERY, seed=seed)
    valid = held_out(VALID_ROWS, seed, 3)
    early = None if stopping is None else stopping(valid)
    logs = model.fit(
        mixture.dataset,
        steps_per_epoch=_STEPS.value,
        epochs=epochs,
        validation_data=valid,
        callbacks=[scheduler] if early is None else [early, scheduler],
        verbose=0,
    ).history
    run = {
        "test": test_auc(model, seed),
        "curves": {name: logs[f"val_{name}_auc"] for name in ROWS},
        "steps": {name: int(sum(logs[f"{name}_steps"])) for name in ROWS},
        "history": scheduler.history,
    }
    return run, early


def test_auc(model: Any, seed: int) -> dict[str, float]:
    """By task the AUC on test rows."""
    scores = model.evaluate(held_out(TEST_ROWS, seed, 4), return_dict=True, verbose=0)
    return {name: float(scores[f"{name}_auc"]) for name in ROWS}


def early_stopping(model: MultiTaskModel, start: list) -> dict[str, list[dict]]:
    """Uniform mixing for longer, without and with early stopping of each task."""
    found: dict[str, list[dict]] = {WITHOUT: [], STOPPED: [], BEST: []}
    for seed in range(_SEEDS.value):
        run, _ = train(model, start, TaskPolicy(), seed, _LONG.value)
        found[WITHOUT].append(run)
        stops = functools.partial(stopping_on, _PATIENCE.value)
        run, stopping = train(model, start, TaskPolicy(), seed, _LONG.value, stops)
        run["stopped"] = {name: n + 1 for name, n in stopping.stopped_epochs.items()}
        run["taken"] = {name: task.taken for name, task in stopping.report.items()}
        found[STOPPED].append(run)
        found[BEST].append({**run, "test": best_auc(stopping, seed)})
    print(f"early stopping: {2 * _SEEDS.value} trainings", flush=True)
    return found


def stopping_on(patience: int, valid: Any) -> TaskEarlyStopping:
    """Stops tasks by the validation rows, and assembles the model."""
    return TaskEarlyStopping(patience, restore="assemble", validation=valid)


def best_auc(stopping: TaskEarlyStopping, seed: int) -> dict[str, float]:
    """By task the AUC on test rows of the model with all of its best weights."""
    found = {}
    x, y = labels(TEST_ROWS, [seed, 4], seed)
    for name in ROWS:
        metric = BinaryClassification(name).resolve_metric("auc")
        metric.update_state(y[name], stopping.best_model(name).predict(x, verbose=0)[name])
        found[name] = float(metric.result())
    return found


# --- Compare ---------------------------------------------------------------------------------


def summarize(found: Mapping[str, list[dict]]) -> dict[str, dict]:
    """By policy the mean and the spread of each task's AUC, of their mean, and of its gain over the
    first policy in the same seed; the steps of each task, and what they cost.
    """
    report: dict[str, dict] = {}
    means = {name: np.array([np.mean(list(r["test"].values())) for r in runs])
             for name, runs in found.items()}  # fmt: skip
    reference = next(iter(means.values()))
    for name, runs in found.items():
        gains = means[name] - reference
        steps = {task: float(np.mean([run["steps"][task] for run in runs])) for task in ROWS}
        report[name] = {
            "auc": {t: comparison.spread([run["test"][t] for run in runs]) for t in ROWS},
            "mean": comparison.spread(means[name].tolist()),
            "gain": float(gains.mean()),
            "standard_error": float(gains.std(ddof=1) / np.sqrt(len(gains))),
            "steps": steps,
            "cost": sum(COSTS.seconds[task] * steps[task] for task in ROWS),
        }
    return report


def print_report(report: Mapping[str, Any]) -> None:
    """Print both tables."""
    for title in ("policies", "early stopping"):
        rows = [["test AUC", *ROWS, "mean", "gain ± error", "steps", "cost"]]
        for name, row in report[title].items():
            cells = [f"{s['mean']:.3f} ± {s['std']:.3f}" for s in row["auc"].values()]
            gain = f"{row['gain']:+.4f} ± {row['standard_error']:.4f}"
            steps = "/".join(f"{n:.0f}" for n in row["steps"].values())
            mean = f"{row['mean']['mean']:.4f}"
            rows.append([name, *cells, mean, gain, steps, f"{row['cost']:.0f}"])
        print()
        print_aligned(rows)
    print(f"\nstopped after epoch, by seed: {report['stopped after epoch']}")
    print(f"own variables are those of the epoch, by seed: {report['taken']}")


if __name__ == "__main__":
    strategies.run(main)
