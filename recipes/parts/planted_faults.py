"""Trainings with a fault that raises no error, each beside one with the remedy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

import mtlzoo as zoo
from mtlzoo.analysis import remove_idle_experts

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


class SpoilsTheHead(keras.callbacks.Callback):
    """Sets the bias of the head of `b` to NaN when an epoch has ended.

    Args:
        last: the number of the epoch, from 1.
    """

    def __init__(self, last: int):
        super().__init__()
        self._last = last

    def on_epoch_end(self, epoch, logs=None):
        """Spoil it."""
        if epoch == self._last - 1:
            bias = next(v for v in self.model.task_variables("b") if v.path.endswith("bias"))
            bias.assign(np.full(bias.shape, np.nan))


class Rows(keras.utils.PyDataset):
    """The rows of an epoch, which move where a shift is planted.

    Args:
        training: what is planted.
        rows: how many.
    """

    def __init__(self, training: Training, rows: int):
        super().__init__()
        rng = np.random.default_rng(0)
        self.x = np.abs(rng.normal(size=(rows, WIDTH))).astype("float32")
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
