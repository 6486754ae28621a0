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

from typing import Any

import keras
from absl import flags, logging

from mtlzoo import HardSharing, MultiTaskModel, data
from mtlzoo.backbones import ConvNet
from mtlzoo.training import AttentionTransfer, Distillation, Hint
from recipes.parts import comparison, job, plots, served, strategies, tables
from recipes.parts import fashion as fashion_data
from recipes.parts.few_labels import hide_labels
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/distillation",
    data_dir=None,
    epochs=(6, "Epochs of each student."),
    seeds=(1, "Trainings of each student."),
    batch_size=64,
    learning_rate=2e-3,
)
flags.DEFINE_integer("teacher_epochs", 4, "Epochs of the teacher, of all pairs.", lower_bound=1)
flags.DEFINE_integer("rows", 16_000, "Training pairs in an epoch, drawn anew for each.")
flags.DEFINE_float("labelled", 0.05, "Which part of the pairs has labels where few have.", 0.0, 1.0)
flags.DEFINE_float("scale", 0.25, "Widths of the student, those of the teacher being 1.")
flags.DEFINE_float("temperature", 2.0, "Temperature of the soft targets.")

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
    out = job.begin(logging.ERROR)  # TensorFlow warns of the tracing of several models
    names = [ALONE, *TAUGHT, FEW, TAUGHT_FEW]
    progress = Progress(1, FLAGS.teacher_epochs + FLAGS.seeds * len(names) * FLAGS.epochs)
    fashion = load(0, rows=None)
    teacher, result = train_teacher(fashion, progress)
    results: dict[str, list] = {TEACHER: [result], **{name: [] for name in names}}
    students: dict[str, MultiTaskModel] = {}
    for seed in range(FLAGS.seeds):
        for name, (student, result) in train_students(teacher, seed, progress).items():
            students[name] = student
            results[name].append(result)
    report = tables.summarize(results, fashion.tasks)
    tables.print_table(report, ALONE)
    best = max(TAUGHT, key=lambda name: sum(m["mean"] for m in report[name]["metrics"].values()))
    models = {TEACHER: teacher, best: students[best]}
    accuracies = {key: found["mean"] for key, found in report[TEACHER]["metrics"].items()}
    shown = {name: report[name] for name in names}
    report["served"] = served.compare(out, models, fashion.test)
    plots.metrics_of_seeds(out / "distillation.png", shown, accuracies, TEACHER)
    job.end(out, report, "distillation.png", "the SavedModels")


def load(seed: int, rows: int | None) -> data.Loaded:
    """The data, with epochs of so many pairs, or of all."""
    return fashion_data.load(seed, FLAGS.batch_size, rows, FLAGS.data_dir)


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
        epochs=FLAGS.teacher_epochs,
        learning_rate=FLAGS.learning_rate / 2,
        seed=0,
        progress=progress,
    )


def train_students(
    teacher: MultiTaskModel, seed: int, progress: Progress | None
) -> dict[str, tuple[MultiTaskModel, comparison.Result]]:
    """Every student of one seed, each at its best epoch, by name."""
    fashion = load(seed, FLAGS.rows)
    few = hide_labels(fashion, FLAGS.labelled)
    taught = {ALONE: (None, fashion)}
    taught |= {name: (arguments, fashion) for name, arguments in TAUGHT.items()}
    taught |= {FEW: (None, few), TAUGHT_FEW: ({}, few)}
    return {
        name: train_student(name, teacher, arguments, pairs, seed, progress)
        for name, (arguments, pairs) in taught.items()
    }


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
        student = teacher.student(FLAGS.scale, name="student")
        trained = student
        if taught is not None:
            trained = Distillation(student, teacher, temperature=FLAGS.temperature, **taught)
        trained.compile(keras.optimizers.Adam(FLAGS.learning_rate))
    arguments = {"epochs": FLAGS.epochs, "seed": seed, "progress": progress}
    return student, comparison.fit(trained, fashion, student=student, name=name, **arguments)


if __name__ == "__main__":
    strategies.run(main)
