"""Plants faults in a training, and shows that they are found, named, and mended.

    python -m recipes.training_health --out=runs/training_health

Two regressions from the same twelve numbers are trained by two shared layers, eight times with a
fault that raises no error: sigmoids in a deep trunk, labels in a unit that is too small, two tasks
that want opposite things of one output, a loss weight of a ten thousandth, a variable that is not a
number, data that changes from epoch to epoch under batch normalization, a learning rate that kills
units, a gate that is stuck. Each is trained once more with the remedy that the warning names.
Prints what was warned of, and draws the kinds of warnings by fault.
"""

import pathlib

import keras
import numpy as np
from absl import app, flags, logging

from mtlzoo import MultiTaskModel
from mtlzoo.analysis import TrainingHealth, drawing
from mtlzoo.analysis.health.training_health import KINDS
from mtlzoo.training import Backup
from recipes.parts import job
from recipes.parts.planted_faults import BATCH_SIZE, SPOILED, Rows, SpoilsTheHead, Training, faults
from recipes.parts.tables import print_aligned

FLAGS = job.define_flags(out="runs/training_health")
flags.DEFINE_integer("epochs", 4, "Epochs of each training.", lower_bound=2)
flags.DEFINE_list("faults", None, "Which ones to plant, by name. Defaults to all.")
flags.DEFINE_integer("rows", 2048, "Rows of each epoch.", lower_bound=64)


def main(_) -> None:
    """Plant, train, print, draw."""
    out = job.begin(logging.ERROR)  # the table says it in fewer lines
    planted = chosen()
    counts = np.zeros((2, len(planted), len(KINDS)))
    table = [["planted", "warned of", "with the remedy", "in its last epoch"]]
    for row, (name, (fault, remedy)) in enumerate(planted.items()):
        epochs = FLAGS.epochs  # of the health that was judged last
        if name == SPOILED:
            spoiled = run(fault, SpoilsTheHead(epochs))
            found, epochs = (spoiled, gone_back(remedy, out / "backup.npz")), 1
        else:
            found = run(fault), run(remedy)
        for which, health in enumerate(found):
            for column, kind in enumerate(KINDS):
                warned = {w.epoch for w in health.warnings if w.kind == kind}
                counts[which, row, column] = len(warned)
        last = [w for w in found[1].warnings if w.epoch == epochs]
        table.append([name, *(said(health.warnings) for health in found), said(last)])
        for warning in list({w.key: w for w in found[0].warnings}.values())[:1]:
            print(f"{name}: {warning.message} Remedy: {warning.remedy}.", flush=True)
    print()
    print_aligned(table)
    draw(out / "training_health.png", counts, list(planted))
    print(f"\nwrote {out / 'training_health.png'}")


def chosen() -> dict[str, tuple[Training, Training]]:
    """The faults of `--faults`."""
    planted = faults()
    for name in FLAGS.faults or ():
        if name not in planted:
            raise app.UsageError(f"--faults should be among {list(planted)}. Received: {name!r}")
    return {name: planted[name] for name in FLAGS.faults or planted}


def compiled(model: MultiTaskModel, training: Training) -> MultiTaskModel:
    """The model, compiled so that its gradients are measured in every step."""
    options = {"balancer": "equal", "track_gramian": "groups", "track_every": 1}
    model.compile(training.optimizer(), **{**options, **training.compile})
    return model


def run(training: Training, *callbacks: keras.callbacks.Callback) -> TrainingHealth:
    """Train, and give back what was found."""
    keras.utils.set_random_seed(0)
    model = compiled(training.build(), training)
    rows = Rows(training, FLAGS.rows)
    health = TrainingHealth(probe=rows.x[:256])
    model.fit(rows, epochs=FLAGS.epochs, verbose=0, callbacks=[*callbacks, health])
    return health


def gone_back(training: Training, path: pathlib.Path) -> TrainingHealth:
    """Train up to the last epoch, and go on from the backup of that."""
    keras.utils.set_random_seed(0)
    rows = Rows(training, FLAGS.rows)
    data = {"x": rows.x, "y": rows.y, "batch_size": BATCH_SIZE, "shuffle": False, "verbose": 0}
    path.unlink(missing_ok=True)
    first = compiled(training.build(), training)
    first.fit(**data, epochs=FLAGS.epochs - 1, callbacks=[Backup(path)])
    second, health = compiled(training.build(), training), TrainingHealth(probe=rows.x[:256])
    second.fit(**data, epochs=FLAGS.epochs, callbacks=[health, Backup(path)])
    return health


def said(warnings: list) -> str:
    """Which kinds, each with its tasks."""
    found = dict.fromkeys((w.kind, ", ".join(w.tasks)) for w in warnings)
    return "; ".join(f"{kind} ({of})" for kind, of in found) or "nothing"


def draw(path: pathlib.Path, counts: np.ndarray, names: list[str]) -> None:
    """Draw in how many epochs each kind was warned of, with the fault and with its remedy."""
    figure = drawing.new_figure(12.5, 4.8)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, of_one, title in zip(panels, counts, ("fault", "remedy"), strict=True):
        drawing.heat_map(
            panel, of_one, names, KINDS, label="epochs with a warning", limit=FLAGS.epochs,
            form="{:.0f}",
        )  # fmt: skip
        panel.set_title(f"with the {title}")
        panel.set_xlabel("kind of warning")
    panels[0].set_ylabel("what was planted")
    figure.suptitle("What is warned of: planted faults, and the same trainings with a remedy")
    figure.savefig(path)


if __name__ == "__main__":
    app.run(main)
