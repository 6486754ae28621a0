"""Does learning three tasks together help? Train, compare, save and serve on census data.

    python -m recipes.quickstart --out=runs/quickstart

Trains one network per task, hard parameter sharing and MMoE on the embedded sample of the
Census-Income data, with the same layers, the same number of epochs and the same learning rate.
The validation part of the training data chooses each model's epoch; the test data is read once, at
the end. Prints a table, draws the learning curves and the gates, and serves raw rows.
"""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import flags, logging

from mtlzoo import HardSharing, MMoE, MultiTaskModel, data
from mtlzoo.data.census_income import raw_rows
from mtlzoo.data.census_income.columns import EDUCATION_GROUPS
from mtlzoo.metrics import delta_m
from recipes import plots, strategies
from recipes.comparison import labels_of, parameters, to_best_epoch
from recipes.training import Progress, print_aligned

_OUT = flags.DEFINE_string("out", "runs/quickstart", "Folder to write to.")
_EPOCHS = flags.DEFINE_integer("epochs", 10, "Epochs of each model.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Adam's learning rate.")
_BALANCER = flags.DEFINE_string("balancer", "equal", "Balancer of the multi-task models.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of weights, dropout and the order of rows.")

# Two hidden layers lie between inputs and answer in every network: the shared one (or the experts,
# or the single-task network's own) and the task's tower. Chosen, with the defaults above, by the
# mean over the three kinds of model and three seeds on the validation part among a dozen settings
# of sizes, dropout, learning rate and batch size, the best of which lie within 0.001.
SHARED_UNITS = (256,)
NUM_EXPERTS, EXPERT_UNITS = 6, (64,)
TOWER_UNITS = (32,)
DROPOUT = 0.4

SINGLE, HARD, GATED = "single-task", "hard sharing", "MMoE"
SERVED_ROWS = 6


@dataclasses.dataclass
class Trained:
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
    logging.set_verbosity(logging.WARNING)  # TensorFlow's export has a notice for each signature
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    census = data.load("census_income", batch_size=_BATCH_SIZE.value, seed=_SEED.value)

    models = train_all(census)
    report = compare(models, census)
    print_table(report)
    (out / "results.json").write_text(json.dumps(report, indent=2) + "\n")

    draw(models, census, out)
    (mmoe,) = models[GATED]
    mmoe.model.save(out / "mmoe.keras")
    export(mmoe.model, out / "served")
    answer_raw_rows(out / "served", census)

    print(f"\nWritten to {out}:")
    for path in sorted(out.iterdir()):
        print(f"  {path.name}{'/' if path.is_dir() else ''}")


# --- Train -------------------------------------------------------------------------------------


def train_all(census: data.Loaded) -> dict[str, list[Trained]]:
    """All models by name; the single-task baseline is a list of one network per task."""

    def single_task(task):
        return lambda: HardSharing(
            census.inputs,
            [task],
            shared_units=SHARED_UNITS,
            tower_units=TOWER_UNITS,
            dropout=DROPOUT,
            name=f"single_task_{task.name}",
        )

    def hard_sharing():
        return HardSharing(
            census.inputs,
            census.tasks,
            shared_units=SHARED_UNITS,
            tower_units=TOWER_UNITS,
            dropout=DROPOUT,
            preprocessor=census.preprocessor,
            name="hard_sharing",
        )

    def mmoe():
        return MMoE(
            census.inputs,
            census.tasks,
            num_experts=NUM_EXPERTS,
            expert_units=EXPERT_UNITS,
            tower_units=TOWER_UNITS,
            dropout=DROPOUT,
            preprocessor=census.preprocessor,
            name="mmoe",
        )

    progress = Progress(trainings=len(census.tasks) + 2, epochs=_EPOCHS.value)
    return {
        SINGLE: [train(single_task(task), "equal", census, progress) for task in census.tasks],
        HARD: [train(hard_sharing, _BALANCER.value, census, progress)],
        GATED: [train(mmoe, _BALANCER.value, census, progress)],
    }


def train(
    build: Callable[[], MultiTaskModel], balancer: str, census: data.Loaded, progress: Progress
) -> Trained:
    """Build and train a model; the validation data chooses the epoch."""
    keras.utils.set_random_seed(_SEED.value)
    with strategies.scope():
        model = build()
        model.compile(keras.optimizers.Adam(_LEARNING_RATE.value), balancer=balancer)
    best, logs, seconds = to_best_epoch(model, census, _EPOCHS.value, progress)
    progress.finish(
        f"{model.name:<26} {_EPOCHS.value} epochs in {seconds:5.1f} s, "
        f"best on validation data: epoch {best.epoch} ({best.score:.4f})"
    )
    curves = {name: logs[f"val_{name}_{task.monitor}"] for name, task in model.tasks.items()}
    return Trained(model, best.epoch, curves, seconds)


# --- Compare -----------------------------------------------------------------------------------


def compare(models: dict[str, list[Trained]], census: data.Loaded) -> dict[str, dict]:
    """Evaluate every model once on the test data.

    Returns:
        By model its `test` metrics and `best_epoch` by task, its `parameters` and training
        `seconds`, `delta_m` against the single-task models, and its validation `curves`.
    """
    report = {}
    for name, parts in models.items():
        test, epochs, curves = {}, {}, {}
        for part in parts:
            scores = part.model.evaluate(
                labels_of(part.model, census.test), return_dict=True, verbose=0
            )
            for task in part.model.tasks.values():
                test[task.name] = scores[f"{task.name}_{task.monitor}"]
                epochs[task.name] = part.best_epoch
            curves |= part.curves
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


def print_table(report: dict[str, dict]) -> None:
    """Print the comparison, and what it says in words."""
    columns = list(report.values())
    single, tasks = report[SINGLE], list(report[SINGLE]["test"])
    rows = [["", *report]]
    for task in tasks:
        label = f"{task}, {single['metric'][task]}"
        rows.append([label, *(f"{c['test'][task]:.4f}" for c in columns)])
    rows.append(["delta_m, %", "-", *(f"{c['delta_m']:+.2f}" for c in columns[1:])])
    rows.append(["parameters", *(f"{c['parameters']:,}" for c in columns)])
    rows.append(["training time, s", *(f"{c['seconds']:.1f}" for c in columns)])
    rows.append(["epoch kept", *(kept(c["best_epoch"]) for c in columns)])

    print("\nOn the test data (single-task: one network for each task, parameters and time summed)")
    print_aligned(rows)
    print()
    for name in (HARD, GATED):
        print(in_words(name, report[name], single))
    print("This is one seed: see others (--seed=1) before trusting a few tenths of a percent.")


def in_words(name: str, result: dict, single: dict) -> str:
    """What the numbers of one multi-task model say, also where they are against it."""
    gain, tasks = result["delta_m"], list(single["test"])
    better = [task for task in tasks if result["test"][task] > single["test"][task]]
    verdict = "beats" if gain > 0 else "does not beat"
    return (
        f"{name} {verdict} the single-task models: {gain:+.2f} % on average, better on "
        f"{len(better)} of {len(tasks)} tasks ({', '.join(better) or 'none'}), with "
        f"{result['parameters'] / single['parameters']:.0%} of their parameters."
    )


def kept(epochs: dict[str, int]) -> str:
    """The epochs of the tasks, or the one that they share."""
    values = list(epochs.values())
    return str(values[0]) if len(set(values)) == 1 else " / ".join(map(str, values))


# --- Draw, save, serve -------------------------------------------------------------------------


def draw(models: dict[str, list[Trained]], census: data.Loaded, out: pathlib.Path) -> None:
    """Draw the learning curves, and which experts the tasks of MMoE use."""
    curves = {task.name: {} for task in census.tasks}
    best = {task.name: {} for task in census.tasks}
    for name, parts in models.items():
        for part in parts:
            for task, values in part.curves.items():
                curves[task][name], best[task][name] = values, part.best_epoch
    metrics = {task.name: task.monitor for task in census.tasks}
    plots.learning_curves(out / "learning_curves.png", curves, best, metrics)

    (mmoe,) = models[GATED]
    weights = mmoe.model.gate_weights(census.test.map(lambda x, y, weight: x))
    plots.gate_use(out / "gates.png", {t.name: weights[t.name].mean(0) for t in census.tasks})


def export(model: MultiTaskModel, path: pathlib.Path) -> None:
    """Export a SavedModel that takes raw columns, in place of that of an earlier run."""
    if (path / "saved_model.pb").exists():
        shutil.rmtree(path)
    model.export(path)


def answer_raw_rows(path: pathlib.Path, census: data.Loaded) -> None:
    """Let the SavedModel, loaded by TensorFlow alone, answer raw rows of the test data."""
    served = tf.saved_model.load(path)
    rows = raw_rows(SERVED_ROWS, split="test")
    answers = served.signatures["serve"](**{name: tf.constant(v) for name, v in rows.items()})
    truth = [y for _, y, _ in census.test.unbatch().take(SERVED_ROWS)]

    groups = list(EDUCATION_GROUPS)
    table = [["age", "income > 50K", "truth", "never married", "truth", "education", "truth"]]
    for i, y in enumerate(truth):
        row = [f"{rows['age'][i]:.0f}"]
        for task in ("income", "never_married"):
            row += [f"{answers[task][i, 0]:.3f}", "yes" if y[task] else "no"]
        row += [groups[answers["education_class"][i]], groups[int(y["education"])]]
        table.append(row)
    print(f"\nThe SavedModel answers the first {SERVED_ROWS} raw rows of the test data:")
    print_aligned(table)


if __name__ == "__main__":
    strategies.run(main)
