"""A report of a training: one page of HTML, and the same training in TensorBoard.

    python -m recipes.training_report --out=runs/training_report
    tensorboard --logdir runs/training_report/tensorboard

Trains MMoE and one network for each task on the embedded sample of the Census-Income data, with the
same units, epochs and learning rate, and a few seeds. The page has curves, metrics with intervals,
confusion matrices, calibration, gains over single tasks, parameters and speed; what the gradients
of the tasks, the gates and the training itself say; and how all of it was made. Every model is the
one of its last epoch, so that the test data chooses nothing.
"""

import functools
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
from absl import logging

from mtlzoo import HardSharing, MMoE, MultiTaskModel, data, report
from mtlzoo.analysis import Finding, GramianHistory, TrainingHealth, read_attention
from mtlzoo.data.census_income.columns import EDUCATION_GROUPS
from mtlzoo.reporting import Run, RunRecorder, TensorBoard, read
from mtlzoo.tasks import Task
from recipes.parts import job, strategies
from recipes.parts.training import Progress

FLAGS = job.define_flags(
    out="runs/training_report",
    epochs=5,
    seeds=3,
    batch_size=256,
    learning_rate=1e-3,
    balancer=("equal", "Balancer of MMoE."),
)

NUM_EXPERTS, EXPERT_UNITS = 4, (32,)
SINGLE_UNITS = (128,)  # as many as all experts have
TOWER_UNITS = (32,)
DROPOUT = 0.4
# Of the gates, which need a few hundred rows.
GATE_BATCHES = 4
TITLE = "Census-Income: three questions, one model or three"
WORDS = """Three questions about people in the census of 1994 and 1995: whether they earn more than
50,000 dollars, whether they never married, and their education. One MMoE answers all of them;
the single tasks are a network for each."""


def main(_) -> None:
    out = job.begin(logging.ERROR)  # TensorFlow warns of the tracing of several models
    progress = Progress(FLAGS.seeds * 4, FLAGS.epochs)
    command = shlex.join(["python", "-m", "recipes.training_report", *sys.argv[1:]])
    single, gated = Run("single tasks", command), Run("MMoE", command)
    findings: list[Finding] = []
    for seed in range(FLAGS.seeds):
        census = data.load("census_income", batch_size=FLAGS.batch_size, seed=seed)
        for task in census.tasks:
            model = compiled(functools.partial(network, census, task), seed)
            train(single, model, census, seed, progress)
        model = compiled(functools.partial(mixture, census), seed, gated=True, watched=seed == 0)
        watching: list[Any] = [GramianHistory(), TrainingHealth()] if seed == 0 else []
        train(gated, model, census, seed, progress, watching)
        if seed == 0:
            rows = census.test.map(lambda x, y, weight: x).take(GATE_BATCHES)
            gates = read_attention(model, rows)
            findings = [*watching, *gates, *(table.similarity() for table in gates)]
            TensorBoard(logs_of(gated, seed)).write_findings(findings[len(watching) :])
    path = report(
        out / "report.html",
        [gated],
        baseline=single,
        findings=findings,
        title=TITLE,
        words=f"{' '.join(WORDS.split())}\nThe findings are of seed 0.",
        class_names={"education": list(EDUCATION_GROUPS)},
    )
    for line in read(path)["says"]:
        print(line)
    print(f"\nWritten to {out}: {path.name}, tensorboard/")


def mixture(census: data.Loaded) -> MultiTaskModel:
    """MMoE of all tasks."""
    return MMoE(
        census.inputs,
        census.tasks,
        num_experts=NUM_EXPERTS,
        expert_units=EXPERT_UNITS,
        tower_units=TOWER_UNITS,
        dropout=DROPOUT,
        name="mmoe",
    )


def network(census: data.Loaded, task: Task) -> MultiTaskModel:
    """The network of one task."""
    return HardSharing(
        census.inputs,
        [task],
        shared_units=SINGLE_UNITS,
        tower_units=TOWER_UNITS,
        dropout=DROPOUT,
        name=f"single_{task.name}",
    )


def compiled(
    build: Callable[[], MultiTaskModel], seed: int, *, gated: bool = False, watched: bool = False
) -> MultiTaskModel:
    """A new model, ready to be trained; the gradients of its tasks may be watched."""
    keras.utils.set_random_seed(seed)
    with strategies.scope():
        model = build()
        options: dict[str, Any] = {"balancer": FLAGS.balancer} if gated else {}
        if watched:
            options["track_gramian"] = "shared"
        model.compile(keras.optimizers.Adam(FLAGS.learning_rate), **options)
    return model


def train(
    run: Run,
    model: MultiTaskModel,
    census: data.Loaded,
    seed: int,
    progress: Progress,
    watching: Sequence[Any] = (),
) -> None:
    """Train a model, and note in the run how it went."""
    recorder = RunRecorder()
    board = TensorBoard(logs_of(run, seed, model), findings=watching)
    model.fit(
        data.labels_of(census.train, model.task_names),
        validation_data=data.labels_of(census.valid, model.task_names),
        epochs=FLAGS.epochs,
        shuffle=False,  # the data set reshuffles itself
        callbacks=[recorder, *watching, board, progress],
        verbose=0,
    )
    # To watch costs time, which is none of the model's.
    run.add(model, recorder.history if watching else recorder, census.test, seed=seed)
    progress.finish(f"{model.name}, seed {seed}: {sum(recorder.seconds):.0f} s")


def logs_of(run: Run, seed: int, model: MultiTaskModel | None = None) -> pathlib.Path:
    """The folder of a training's logs; of single tasks one for each."""
    folder = pathlib.Path(FLAGS.out) / "tensorboard" / run.name.replace(" ", "_")
    if model is not None and len(model.task_names) == 1:
        folder /= model.task_names[0]
    return folder / f"seed_{seed}"


if __name__ == "__main__":
    strategies.run(main)
