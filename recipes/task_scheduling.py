"""Compares ways to say which task is trained next: `python -m recipes.task_scheduling`.

Four tasks of unequal size, difficulty and cost, each with a data set of its own, out of the
synthetic data of the paper on MMoE: `large` and `noisy` have many rows, of `noisy` three in ten
labels are wrong and its tower is wide; `small` and `tiny` have few rows and are each related to one
of them. A `data.mix` of them is trained for the same number of steps by each policy of
`mtlzoo.training`, with several seeds. Then uniform mixing is trained for longer, with and without
early stopping of each task. Prints the AUC on test rows of each task, mean and spread over
the seeds, and draws the shares and how AUC rises.
"""

import time
from collections.abc import Callable
from typing import Any

import keras
from absl import flags, logging

from mtlzoo import BinaryClassification, MultiTaskModel, data, training
from mtlzoo.training import TaskEarlyStopping, TaskPolicy, TaskScheduler
from recipes.parts import four_tasks, job, scheduling_pictures, strategies
from recipes.parts.four_tasks import ROWS
from recipes.parts.scheduling_report import print_report, summarize
from recipes.parts.training import Restart

FLAGS = job.define_flags(
    out="runs/task_scheduling",
    epochs=(6, "Epochs of each training."),
    batch_size=64,
    learning_rate=3e-3,
)
flags.DEFINE_integer("seeds", 3, "Trainings of each policy.", lower_bound=2)
flags.DEFINE_integer("steps", 50, "Steps of an epoch.", lower_bound=1)
flags.DEFINE_integer("long", 12, "Epochs at most, with and without early stopping.", lower_bound=1)
flags.DEFINE_integer("patience", 2, "Epochs without improvement that stop a task.")

VALID_ROWS, TEST_ROWS = 2_000, 8_000
EVERY = 20  # steps of a window
# In units of the cheapest step. They are given, not measured, so that every run is the same.
COSTS = training.TaskCosts({"large": 1.0, "noisy": 3.0, "small": 1.0, "tiny": 1.0})
WITHOUT, STOPPED, BEST = "not stopped", "stopped, assembled", "stopped, best of each"


def policies() -> dict[str, Callable[[], TaskPolicy]]:
    """What is compared, by name."""
    return {
        "proportional": training.Proportional,
        "uniform": TaskPolicy,
        "round-robin": training.RoundRobin,
        "priority": lambda: training.Priority({"tiny": 3.0, "small": 2.0}),
        "metric priority": lambda: training.MetricPriority(dict.fromkeys(ROWS, "auc")),
        "learning speed": training.LearningSpeed,
        "UCB": training.UCB,
        "EXP3": training.EXP3,
        "curriculum": lambda: training.Curriculum(["large", "small", "noisy", "tiny"]),
        # Half as far above the cheapest step as the mean step of uniform shares.
        "budget": lambda: training.ResourceBudget(COSTS, seconds_per_step=1.25),
    }


def main(_) -> None:
    out = job.begin(logging.ERROR)
    restart = Restart(compiled())
    found: dict[str, list[dict]] = {}
    for name, make in policies().items():
        began = time.perf_counter()
        runs = [train(restart, make(), seed, FLAGS.epochs)[0] for seed in range(FLAGS.seeds)]
        found[name] = runs
        print(f"{name}: {len(runs)} trainings in {time.perf_counter() - began:.0f} s", flush=True)
    long = early_stopping(restart)
    report = {
        "policies": summarize(found, COSTS.seconds),
        "early stopping": summarize(long, COSTS.seconds),
        "stopped after epoch": [run["stopped"] for run in long[STOPPED]],
        "taken": [run["taken"] for run in long[STOPPED]],
    }
    print_report(report)
    histories = {name: runs[0]["history"] for name, runs in found.items()}
    scheduling_pictures.shares(out / "shares.png", histories)
    curves = {name: [run["curves"] for run in runs] for name, runs in found.items()}
    scheduling_pictures.curves(out / "curves.png", curves, FLAGS.steps)
    job.end(out, report, "shares.png", "curves.png")


def compiled() -> MultiTaskModel:
    """A new model, ready for `fit`."""
    with strategies.scope():
        model = four_tasks.network()
        model.compile(keras.optimizers.Adam(FLAGS.learning_rate), jit_compile=False)
    return model


def train(
    restart: Restart, policy: TaskPolicy, seed: int, epochs: int, stopping: bool = False
) -> tuple[dict[str, Any], TaskEarlyStopping | None]:
    """Train once from the beginning, with or without stopping tasks by the validation rows."""
    model = restart.model
    keras.utils.set_random_seed(seed)
    restart.begin(four_tasks.network())
    sets = {name: four_tasks.batches(name, seed, FLAGS.batch_size) for name in ROWS}
    mixture = data.mix(sets, steps_per_epoch=FLAGS.steps, seed=seed)
    scheduler = TaskScheduler(policy, mixture, every=EVERY, seed=seed)
    valid, test = (four_tasks.held_out(n, seed, i) for n, i in ((VALID_ROWS, 3), (TEST_ROWS, 4)))
    early = None
    if stopping:
        early = TaskEarlyStopping(FLAGS.patience, restore="assemble", validation=valid)
    logs = model.fit(
        mixture.dataset,
        steps_per_epoch=FLAGS.steps,
        epochs=epochs,
        validation_data=valid,
        callbacks=[scheduler] if early is None else [early, scheduler],
        verbose=0,
    ).history
    scores = model.evaluate(test, return_dict=True, verbose=0)
    run = {
        "test": {name: float(scores[f"{name}_auc"]) for name in ROWS},
        "curves": {name: logs[f"val_{name}_auc"] for name in ROWS},
        "steps": {name: int(sum(logs[f"{name}_steps"])) for name in ROWS},
        "history": scheduler.history,
    }
    return run, early


def early_stopping(restart: Restart) -> dict[str, list[dict]]:
    """Uniform mixing for longer, without and with early stopping of each task."""
    found: dict[str, list[dict]] = {WITHOUT: [], STOPPED: [], BEST: []}
    for seed in range(FLAGS.seeds):
        run, _ = train(restart, TaskPolicy(), seed, FLAGS.long)
        found[WITHOUT].append(run)
        run, stopping = train(restart, TaskPolicy(), seed, FLAGS.long, stopping=True)
        run["stopped"] = {name: n + 1 for name, n in stopping.stopped_epochs.items()}
        run["taken"] = {name: task.taken for name, task in stopping.report.items()}
        found[STOPPED].append(run)
        found[BEST].append({**run, "test": best_auc(stopping, seed)})
    print(f"early stopping: {2 * FLAGS.seeds} trainings", flush=True)
    return found


def best_auc(stopping: TaskEarlyStopping, seed: int) -> dict[str, float]:
    """By task the AUC on test rows of the model with all of its best weights."""
    found = {}
    x, y = four_tasks.labels(TEST_ROWS, [seed, 4], seed)
    for name in ROWS:
        metric = BinaryClassification(name).resolve_metric("auc")
        metric.update_state(y[name], stopping.best_model(name).predict(x, verbose=0)[name])
        found[name] = float(metric.result())
    return found


if __name__ == "__main__":
    strategies.run(main)
