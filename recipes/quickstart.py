"""Does learning three tasks together help? Train, compare, save and serve on census data.

    python -m recipes.quickstart --out=runs/quickstart

Trains one network per task, hard parameter sharing and MMoE on the embedded sample of the
Census-Income data, with the same layers, the same number of epochs and the same learning rate.
The validation part of the training data chooses each model's epoch; the test data is read once, at
the end. Prints a table, draws the learning curves and the gates, and serves raw rows.
"""

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import NamedTuple

import keras

from mtlzoo import HardSharing, MMoE, MultiTaskModel, data
from mtlzoo.metrics import delta_m
from recipes.parts import job, quickstart_pictures, strategies
from recipes.parts.comparison import parameters, to_best_epoch
from recipes.parts.quickstart_report import GATED, HARD, SINGLE, answer_raw_rows, print_table
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/quickstart", epochs=10, batch_size=256, learning_rate=1e-3, balancer="equal", seed=0
)

# Two hidden layers lie between inputs and answer in every network: the shared one (or the experts,
# or the single-task network's own) and the task's tower. Chosen, with the defaults above, by the
# mean over the three kinds of model and three seeds on the validation part among a dozen settings
# of sizes, dropout, learning rate and batch size, the best of which lie within 0.001.
SHARED = {"shared_units": (256,)}
EXPERTS = {"num_experts": 6, "expert_units": (64,)}
LAYERS = {"tower_units": (32,), "dropout": 0.4}


class Trained(NamedTuple):
    """A model at its best epoch.

    Attributes:
        model: the model.
        best_epoch: the epoch whose weights it has, from 1.
        curves: by task the deciding metric on the validation data, epoch by epoch.
        seconds: how long `fit` took.
    """

    model: MultiTaskModel
    best_epoch: int
    curves: dict[str, list[float]]
    seconds: float


def main(_) -> None:
    out = job.begin()
    census = data.load("census_income", batch_size=FLAGS.batch_size, seed=FLAGS.seed)

    models = train_all(census)
    report = compare(models, census)
    print_table(report)
    (out / "results.json").write_text(json.dumps(report, indent=2) + "\n")

    (mmoe,) = models[GATED]
    gates = mmoe.model.gate_weights(census.test.map(lambda x, y, weight: x))
    use = {task.name: gates[task.name].mean(0) for task in census.tasks}
    quickstart_pictures.curves_of(out / "learning_curves.png", report)
    quickstart_pictures.gate_use(out / "gates.png", use)
    mmoe.model.save(out / "mmoe.keras")
    export(mmoe.model, out / "served")
    answer_raw_rows(out / "served", census)

    print(f"\nWritten to {out}:")
    for path in sorted(out.iterdir()):
        print(f"  {path.name}{'/' if path.is_dir() else ''}")


def train_all(census: data.Loaded) -> dict[str, list[Trained]]:
    """All models by name; the single-task baseline is a list of one network per task."""
    inputs, tasks, reader = census.inputs, census.tasks, {"preprocessor": census.preprocessor}

    def single_task(task):
        name = f"single_task_{task.name}"
        return lambda: HardSharing(inputs, [task], name=name, **SHARED, **LAYERS)

    def hard_sharing():
        return HardSharing(inputs, tasks, name="hard_sharing", **SHARED, **LAYERS, **reader)

    def mmoe():
        return MMoE(inputs, tasks, name="mmoe", **EXPERTS, **LAYERS, **reader)

    progress = Progress(trainings=len(tasks) + 2, epochs=FLAGS.epochs)
    return {
        SINGLE: [train(single_task(task), "equal", census, progress) for task in tasks],
        HARD: [train(hard_sharing, FLAGS.balancer, census, progress)],
        GATED: [train(mmoe, FLAGS.balancer, census, progress)],
    }


def train(
    build: Callable[[], MultiTaskModel], balancer: str, census: data.Loaded, progress: Progress
) -> Trained:
    """Build and train a model; the validation data chooses the epoch."""
    keras.utils.set_random_seed(FLAGS.seed)
    with strategies.scope():
        model = build()
        model.compile(keras.optimizers.Adam(FLAGS.learning_rate), balancer=balancer)
    best, logs, seconds = to_best_epoch(model, census, FLAGS.epochs, progress)
    progress.finish(
        f"{model.name:<26} {FLAGS.epochs} epochs in {seconds:5.1f} s, "
        f"best on validation data: epoch {best.epoch} ({best.score:.4f})"
    )
    curves = {name: logs[f"val_{name}_{task.monitor}"] for name, task in model.tasks.items()}
    return Trained(model, best.epoch, curves, seconds)


def compare(models: dict[str, list[Trained]], census: data.Loaded) -> dict[str, dict]:
    """Evaluate every model once on the test data.

    Returns:
        By model its `test` metrics and `best_epoch` by task, its `parameters` and training
        `seconds`, `delta_m` against the single-task models, and its validation `curves`.
    """
    report = {}
    for name, parts in models.items():
        test, epochs, curves = {}, {}, {}
        for model, best_epoch, of_tasks, _ in parts:
            scores = model.evaluate(
                data.labels_of(census.test, model.task_names), return_dict=True, verbose=0
            )
            for task in model.tasks.values():
                test[task.name] = scores[f"{task.name}_{task.monitor}"]
                epochs[task.name] = best_epoch
            curves |= of_tasks
        report[name] = {
            "test": test,
            "best_epoch": epochs,
            "parameters": sum(parameters(part.model) for part in parts),
            "seconds": sum(part.seconds for part in parts),
            "delta_m": delta_m(test, report[SINGLE]["test"], census.tasks) if report else 0.0,
            "metric": {task.name: task.monitor for task in census.tasks},
            "curves": curves,
        }
    return report


def export(model: MultiTaskModel, path: pathlib.Path) -> None:
    """Export a SavedModel that takes raw columns, in place of that of an earlier run."""
    if (path / "saved_model.pb").exists():
        shutil.rmtree(path)
    model.export(path)


if __name__ == "__main__":
    strategies.run(main)
