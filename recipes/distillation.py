"""What a small network learns from a large one, on two pieces of clothing in one picture.

    python -m mtlzoo.data multi_fashion --download
    python -m recipes.distillation --seeds=3 --out=runs/distillation

Trains a teacher on Multi-Fashion, and then students with at most a tenth of its parameters: alone,
with the teacher's soft targets, with its hints besides, and with its attention; then once more with
labels for a part of the pairs only, of which the teacher answers all. All students of a seed begin
with the same weights and see the same pairs for the same number of steps; the validation data
chooses each one's epoch. Exports teacher and student as SavedModels and compares their sizes and
how long they take to answer. Prints tables and draws the accuracies of each seed.
"""

import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from mtlzoo import HardSharing, MultiTaskModel, data
from mtlzoo.backbones import ConvNet
from mtlzoo.training import AttentionTransfer, Distillation, Hint
from recipes import comparison, plots, strategies
from recipes import fashion as fashion_data
from recipes.few_labels import hide_labels
from recipes.training import Progress, print_aligned

_OUT = flags.DEFINE_string("out", "runs/distillation", "Folder to write to.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where prepared data is, if not in the cache.")
_EPOCHS = flags.DEFINE_integer("epochs", 6, "Epochs of each student.", lower_bound=1)
_TEACHER_EPOCHS = flags.DEFINE_integer(
    "teacher_epochs", 4, "Epochs of the teacher, of all pairs.", lower_bound=1
)
_ROWS = flags.DEFINE_integer("rows", 16_000, "Training pairs in an epoch, drawn anew for each.")
_LABELLED = flags.DEFINE_float(
    "labelled", 0.05, "Which part of the pairs has labels where few have.", 0.0, 1.0
)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Trainings of each student.", lower_bound=1)
_SCALE = flags.DEFINE_float("scale", 0.25, "Widths of the student, those of the teacher being 1.")
_TEMPERATURE = flags.DEFINE_float("temperature", 2.0, "Temperature of the soft targets.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Rows in a batch.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Adam's learning rate.")

TEACHER, ALONE, FEW = "teacher", "student alone", "student alone, few labels"
# What each student gets from the teacher, besides the labels.
TAUGHT: dict[str, dict[str, Any]] = {
    "soft targets": {},
    "soft targets and hints": {"hints": [Hint("conv_1", "conv_1", name="hint")]},
    "soft targets and attention": {
        "hints": [AttentionTransfer("conv_1", "conv_1", name="attention")]
    },
}
TAUGHT_FEW = "soft targets, few labels"


def main(_) -> None:
    logging.set_verbosity(logging.ERROR)  # TensorFlow warns of the tracing of several models
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    names = [ALONE, *TAUGHT, FEW, TAUGHT_FEW]
    epochs = _TEACHER_EPOCHS.value + _SEEDS.value * len(names) * _EPOCHS.value
    progress = Progress(1, epochs)
    fashion = load(0, rows=None)
    teacher, result = train_teacher(fashion, progress)
    results: dict[str, list] = {TEACHER: [result], **{name: [] for name in names}}
    students: dict[str, MultiTaskModel] = {}
    for seed in range(_SEEDS.value):
        for name, (student, result) in train_students(teacher, seed, progress).items():
            students[name] = student
            results[name].append(result)
    report = comparison.summarize(results, fashion.tasks)
    comparison.print_table(report, ALONE)
    best = max(TAUGHT, key=lambda name: sum(m["mean"] for m in report[name]["metrics"].values()))
    report["served"] = serve(out, {TEACHER: teacher, best: students[best]}, fashion)
    comparison.write(out, report)
    accuracies = {key: found["mean"] for key, found in report[TEACHER]["metrics"].items()}
    shown = {name: report[name] for name in names}
    plots.metrics_of_seeds(out / "distillation.png", shown, accuracies, TEACHER)
    print(f"\nWritten to {out}: distillation.png, results.json, and the SavedModels")


def load(seed: int, rows: int | None) -> data.Loaded:
    """The data, with epochs of so many pairs, or of all."""
    return fashion_data.load(seed, _BATCH_SIZE.value, rows, _DATA_DIR.value)


# --- Models ------------------------------------------------------------------------------------


def train_teacher(
    fashion: data.Loaded, progress: Progress | None
) -> tuple[MultiTaskModel, comparison.Result]:
    """The large network, at its best epoch."""

    def build():
        trunk = ConvNet((36, 36, 1), filters=(32, 64), dense_units=(256,), name="trunk")
        return HardSharing(fashion.inputs, fashion.tasks, backbone=trunk, name=TEACHER)

    return comparison.train(
        build,
        fashion,
        epochs=_TEACHER_EPOCHS.value,
        learning_rate=_LEARNING_RATE.value / 2,
        seed=0,
        progress=progress,
    )


def train_students(
    teacher: MultiTaskModel, seed: int, progress: Progress | None
) -> dict[str, tuple[MultiTaskModel, comparison.Result]]:
    """Every student of one seed, each at its best epoch, by name."""
    fashion = load(seed, _ROWS.value)
    few = hide_labels(fashion, _LABELLED.value)
    found = {ALONE: train_student(ALONE, teacher, None, fashion, seed, progress)}
    for name, arguments in TAUGHT.items():
        found[name] = train_student(name, teacher, arguments, fashion, seed, progress)
    found[FEW] = train_student(FEW, teacher, None, few, seed, progress)
    found[TAUGHT_FEW] = train_student(TAUGHT_FEW, teacher, {}, few, seed, progress)
    return found


def train_student(
    name: str,
    teacher: MultiTaskModel,
    taught: dict[str, Any] | None,
    fashion: data.Loaded,
    seed: int,
    progress: Progress | None,
) -> tuple[MultiTaskModel, comparison.Result]:
    """A student with or without the teacher.

    Args:
        name: that of the training, for the line that says how it went.
        teacher: the teacher.
        taught: further arguments of `Distillation`; `None` for a student alone.
        fashion: the data.
        seed: of the student's initial weights.
        progress: a bar for the whole job.
    """
    keras.utils.set_random_seed(seed)
    with strategies.scope():
        student = teacher.student(_SCALE.value, name="student")
        trained = student
        if taught is not None:
            temperature = _TEMPERATURE.value
            trained = Distillation(student, teacher, temperature=temperature, **taught)
        trained.compile(keras.optimizers.Adam(_LEARNING_RATE.value))
    arguments = {"epochs": _EPOCHS.value, "seed": seed, "progress": progress}
    result = comparison.fit(trained, fashion, student=student, name=name, **arguments)
    return student, result


# --- Serving -----------------------------------------------------------------------------------


def serve(
    out: pathlib.Path, models: dict[str, MultiTaskModel], fashion: data.Loaded, rounds: int = 30
) -> dict[str, dict[str, float]]:
    """Export models, and compare the sizes of the SavedModels and the times of their answers.

    Args:
        out: where to write them.
        models: the models by name.
        fashion: the data, whose pictures they answer.
        rounds: how often each answers, in turn with the others.
    """
    pictures = next(iter(fashion.test.unbatch().batch(256)))[0]
    loaded = {}
    found: dict[str, dict[str, float]] = {}
    for name, model in models.items():
        path = out / name.replace(" ", "_")
        if not path.exists():
            model.export(path, verbose=False)
        loaded[name] = tf.saved_model.load(str(path))
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        found[name] = {"parameters": comparison.parameters(model), "SavedModel, MB": size / 1e6}
    for rows in (1, 256):
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name in models:
                started = time.perf_counter()
                loaded[name].serve(pictures[:rows])
                times[name].append(time.perf_counter() - started)
        for name, taken in times.items():  # the first call is traced
            found[name][f"ms for {rows}"] = 1e3 * float(np.median(taken[1:]))
    columns = list(next(iter(found.values())))
    lines = [["served", *columns]]
    for name, numbers in found.items():
        cells = [f"{numbers[column]:,.2f}" for column in columns[1:]]
        lines.append([name, f"{numbers['parameters']:,}", *cells])
    print()
    print_aligned(lines)
    return found


if __name__ == "__main__":
    strategies.run(main)
