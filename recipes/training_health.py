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
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from absl import app, flags, logging

import mtlzoo as zoo
from mtlzoo.analysis import TrainingHealth, drawing, remove_idle_experts
from mtlzoo.analysis.health.training_health import KINDS
from mtlzoo.training import Backup
from recipes.training import print_aligned

_OUT = flags.DEFINE_string("out", "runs/training_health", "Folder to write to.")
_EPOCHS = flags.DEFINE_integer("epochs", 4, "Epochs of each training.", lower_bound=2)
_FAULTS = flags.DEFINE_list("faults", None, "Which ones to plant, by name. Defaults to all.")
_ROWS = flags.DEFINE_integer("rows", 2048, "Rows of each epoch.", lower_bound=64)

WIDTH, BATCH_SIZE = 12, 32
SPOILED = "NaN in the head of b"


class Training(NamedTuple):
    """One training: what `HardSharing` or another model is made and compiled with."""

    build: Callable[[], zoo.MultiTaskModel]
    optimizer: Callable[[], Any] = lambda: keras.optimizers.Adam(1e-3)
    compile: dict[str, Any] = {}
    scale: float = 1.0  # of the labels of `a`
    standardized: bool = False  # whether labels are divided by their standard deviation
    opposed: bool = False  # whether `b` is minus `a`
    shift: float = 0.0  # by which the inputs move with each epoch


def tasks() -> list[zoo.Task]:
    """Two regressions."""
    return [zoo.Regression("a", metrics=[]), zoo.Regression("b", metrics=[])]


def sharing(**arguments: Any) -> Callable[[], zoo.MultiTaskModel]:
    """A builder of hard sharing."""
    given = {"shared_units": (16, 16), **arguments}
    return lambda: zoo.HardSharing(keras.Input((WIDTH,)), tasks(), **given)


def one_output() -> zoo.MultiTaskModel:
    """Both tasks read one and the same number."""
    inputs = keras.Input((WIDTH,))
    number = keras.layers.Dense(1, name="one_for_both")(inputs)
    outputs = {task.name: keras.layers.Identity(name=task.name)(number) for task in tasks()}
    return zoo.MultiTaskModel(inputs, outputs, tasks=tasks())


def normalized(norm: type) -> Callable[[], zoo.MultiTaskModel]:
    """A builder of a model that normalizes behind its first layer."""

    def build():
        inputs = keras.Input((WIDTH,))
        hidden = keras.layers.Dense(16, name="first")(inputs)
        hidden = keras.layers.Activation("relu")(norm(name="norm")(hidden))
        outputs = {task.name: task.head(hidden) for task in tasks()}
        return zoo.MultiTaskModel(inputs, outputs, tasks=tasks())

    return build


def stuck() -> zoo.MultiTaskModel:
    """Three experts, one of which the gates never open to."""
    model = zoo.MMoE(keras.Input((WIDTH,)), tasks(), num_experts=3, expert_units=(8,))
    for name in model.task_names:
        gate = next(v for v in model.task_variables(name) if "gate" in v.path)
        gate.assign(np.tile([0.0, 0.0, -1e3], (WIDTH, 1)))
    return model


def without_idle() -> zoo.MultiTaskModel:
    """The same without the expert that nobody uses."""
    return remove_idle_experts(stuck(), np.ones((2, WIDTH), "float32"))


class SpoilsTheHead(keras.callbacks.Callback):
    """Sets the bias of the head of `b` to NaN when the last epoch has ended."""

    def on_epoch_end(self, epoch, logs=None):
        """Spoil it."""
        if epoch == _EPOCHS.value - 1:
            bias = next(v for v in self.model.task_variables("b") if v.path.endswith("bias"))
            bias.assign(np.full(bias.shape, np.nan))


class Rows(keras.utils.PyDataset):
    """The rows of an epoch, which move where a shift is planted."""

    def __init__(self, training: Training):
        super().__init__()
        rng = np.random.default_rng(0)
        self.x = np.abs(rng.normal(size=(_ROWS.value, WIDTH))).astype("float32")
        self.epoch, self.training = 0, training
        labels = np.tanh(self.x @ rng.normal(size=(WIDTH, 1)) / 4)
        other = labels + 0.3 * rng.normal(size=labels.shape)
        other = -labels if training.opposed else other
        self.y = {"a": training.scale * labels, "b": other}
        if training.standardized:
            self.y = {name: values / values.std() for name, values in self.y.items()}

    def __len__(self):
        return len(self.x) // BATCH_SIZE

    def __getitem__(self, batch):
        rows = slice(batch * BATCH_SIZE, (batch + 1) * BATCH_SIZE)
        x = self.x[rows] + self.training.shift * self.epoch
        return x, {name: values[rows] for name, values in self.y.items()}

    def on_epoch_end(self):
        """Move on."""
        self.epoch += 1


def faults() -> dict[str, tuple[Training, Training]]:
    """By what is planted the training with it and that with its remedy."""
    deep = {"shared_units": (16,) * 8}
    balanced = {"balancer": zoo.AlignedMTL()}
    return {
        "sigmoids, 8 layers": (
            Training(sharing(**deep, activation="sigmoid")),
            Training(sharing(**deep, activation="relu")),
        ),
        "labels of a × 100,000": (
            Training(sharing(), scale=1e5),
            Training(sharing(), scale=1e5, standardized=True),
        ),
        "opposed tasks, one output": (
            Training(one_output, opposed=True),
            Training(sharing(), opposed=True),
        ),
        "loss weight 0.0001 of a": (
            Training(sharing(), compile={"loss_weights": {"a": 1e-4}}),
            Training(sharing(), compile={"loss_weights": {"a": 1e-4}, **balanced}),
        ),
        SPOILED: (Training(sharing()), Training(sharing())),
        "inputs move": (
            Training(normalized(keras.layers.BatchNormalization), shift=3.0),
            Training(normalized(keras.layers.LayerNormalization), shift=3.0),
        ),
        "learning rate of 1": (
            Training(sharing(), lambda: keras.optimizers.SGD(1.0, clipnorm=10.0)),
            Training(sharing(), lambda: keras.optimizers.SGD(0.01, clipnorm=1.0)),
        ),
        "stuck gates": (Training(stuck), Training(without_idle)),
    }


def compiled(model: zoo.MultiTaskModel, training: Training) -> zoo.MultiTaskModel:
    """The model, compiled so that its gradients are measured in every step."""
    options = {"balancer": "equal", "track_gramian": "groups", "track_every": 1}
    model.compile(training.optimizer(), **{**options, **training.compile})
    return model


def run(training: Training, *callbacks: keras.callbacks.Callback) -> TrainingHealth:
    """Train, and give back what was found."""
    keras.utils.set_random_seed(0)
    model = compiled(training.build(), training)
    rows = Rows(training)
    health = TrainingHealth(probe=rows.x[:256])
    model.fit(rows, epochs=_EPOCHS.value, verbose=0, callbacks=[*callbacks, health])
    return health


def gone_back(training: Training, path: pathlib.Path) -> TrainingHealth:
    """Train up to the last epoch, and go on from the backup of that."""
    keras.utils.set_random_seed(0)
    rows = Rows(training)
    data = {"x": rows.x, "y": rows.y, "batch_size": BATCH_SIZE, "shuffle": False, "verbose": 0}
    path.unlink(missing_ok=True)
    first = compiled(training.build(), training)
    first.fit(**data, epochs=_EPOCHS.value - 1, callbacks=[Backup(path)])
    second, health = compiled(training.build(), training), TrainingHealth(probe=rows.x[:256])
    second.fit(**data, epochs=_EPOCHS.value, callbacks=[health, Backup(path)])
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
            panel, of_one, names, KINDS, label="epochs with a warning", limit=_EPOCHS.value,
            form="{:.0f}",
        )  # fmt: skip
        panel.set_title(f"with the {title}")
        panel.set_xlabel("kind of warning")
    panels[0].set_ylabel("what was planted")
    figure.suptitle("What is warned of: planted faults, and the same trainings with a remedy")
    figure.savefig(path)


def main(argv) -> None:
    """Plant, train, print, draw."""
    del argv
    logging.set_verbosity(logging.ERROR)  # the table says it in fewer lines
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    planted = faults()
    for name in _FAULTS.value or ():
        if name not in planted:
            raise app.UsageError(f"--faults should be among {list(planted)}. Received: {name!r}")
    planted = {name: planted[name] for name in _FAULTS.value or planted}
    counts = np.zeros((2, len(planted), len(KINDS)))
    table = [["planted", "warned of", "with the remedy", "in its last epoch"]]
    for row, (name, (fault, remedy)) in enumerate(planted.items()):
        if name == SPOILED:
            found = run(fault, SpoilsTheHead()), gone_back(remedy, out / "backup.npz")
        else:
            found = run(fault), run(remedy)
        for which, health in enumerate(found):
            for column, kind in enumerate(KINDS):
                epochs = {w.epoch for w in health.warnings if w.kind == kind}
                counts[which, row, column] = len(epochs)
        epochs = 1 if name == SPOILED else _EPOCHS.value  # of the health that was judged last
        last = [w for w in found[1].warnings if w.epoch == epochs]
        table.append([name, *(said(health.warnings) for health in found), said(last)])
        for warning in list({w.key: w for w in found[0].warnings}.values())[:1]:
            print(f"{name}: {warning.message} Remedy: {warning.remedy}.", flush=True)
    print()
    print_aligned(table)
    draw(out / "training_health.png", counts, list(planted))
    print(f"\nwrote {out / 'training_health.png'}")


if __name__ == "__main__":
    app.run(main)
