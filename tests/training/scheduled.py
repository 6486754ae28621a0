"""Small trainings whose tasks are scheduled."""

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import HardSharing, Regression, data
from mtlzoo.training import TaskPolicy, TaskScheduler, Window


def arrays(seed, rows=24):
    """Inputs and labels of two tasks, of which `b` is four times as large."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)).astype("float32")
    return x, {"a": x[:, :1], "b": 4 * x[:, 1:2] - x[:, 2:]}


def batches(seed, *tasks, rows=24):
    """Batches of four rows with labels of some tasks."""
    keras.utils.set_random_seed(7)  # of which shuffling makes something, too
    x, y = arrays(seed, rows)
    dataset = tf.data.Dataset.from_tensor_slices((x, {name: y[name] for name in tasks}))
    return dataset.shuffle(rows, seed=seed).batch(4)


def mixed(seed=3, **arguments):
    """A data set of task `a`, and one of task `b`."""
    sets = {"first": batches(0, "a"), "second": batches(1, "b")}
    return data.mix(sets, seed=seed, **{"steps_per_epoch": 10, "lag": 16, **arguments})


def compiled(balancer="equal", optimizer=None, **arguments):
    """A model of both."""
    keras.utils.set_random_seed(7)
    tasks = [Regression("a", metrics=["rmse"]), Regression("b", metrics=["rmse"])]
    model = HardSharing(keras.Input((3,)), tasks, shared_units=[4])
    optimizer = keras.optimizers.SGD(0.03) if optimizer is None else optimizer
    model.compile(optimizer, balancer, jit_compile=False, **arguments)
    return model


def fitted(policy, through, model=None, callbacks=(), every=3, epochs=3, **arguments):
    """Train with a scheduler; the scheduler, the model and the history."""
    scheduler = TaskScheduler(policy, through, every=every, seed=arguments.pop("seed", 0))
    model = compiled() if model is None else model
    if isinstance(through, data.Mixture):
        given = {"x": through.dataset, "steps_per_epoch": through.steps_per_epoch}
    else:
        given = {"x": batches(2, "a", "b", rows=40)}
    history = model.fit(
        **{**given, **arguments}, epochs=epochs, verbose=0, callbacks=[*callbacks, scheduler]
    )
    return scheduler, model, history.history


def values(model):
    """The variables of a model and of its optimizer."""
    found = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable) for variable in found]


class Steps(keras.callbacks.Callback):
    """Notes which tasks each step selects, and whose heads it moves."""

    def __init__(self):
        super().__init__()
        self.selected, self.moved = [], []

    def _heads(self):
        return {n: [v.numpy() for v in self.model.task_variables(n)] for n in "ab"}

    def on_train_batch_begin(self, batch, logs=None):
        self._before = self._heads()

    def on_train_batch_end(self, batch, logs=None):
        self.selected.append(self.model.selected_tasks)
        self.moved.append(
            [
                name
                for name, now in self._heads().items()
                if any((a != b).any() for a, b in zip(now, self._before[name], strict=True))
            ]
        )


class Interrupts(keras.callbacks.Callback):
    """As if somebody pressed Ctrl-C after a step."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.when = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.when:
            raise KeyboardInterrupt


class Notes(TaskPolicy):
    """All alike, with notes of the windows."""

    def begin(self):
        self.windows = []

    def observe(self, window):
        self.windows.append(window)


def started(policy, names=("a", "b", "c"), **arguments):
    """A policy at the beginning of a training."""
    policy.start(list(names), **arguments)
    return policy


def epoch(number, **metrics):
    """The window at the end of an epoch."""
    return Window(step=10 * (number + 1), epoch=number, metrics=metrics)
