"""What is trained, killed and trained again: models, data, optimizers, balancers, callbacks."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import (
    BinaryClassification,
    DynamicSharing,
    HardSharing,
    MultiTaskModel,
    Regression,
    data,
)
from mtlzoo.balancing import DWA, EMA, FAMO, RLW, AutoLambda, PCGrad, Uncertainty, WarmUp

ROWS, BATCH, EPOCHS = 40, 4, 3
TASKS = ("click", "stay")


@dataclass
class Setting:
    """A compiled model and the arguments of its `fit`."""

    model: Any
    fit: dict
    callbacks: list = field(default_factory=list)
    mixture: Any = None


def tasks():
    return [BinaryClassification("click"), Regression("stay")]


def arrays(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)).astype("float32")
    y = {"click": (x[:, :1] > 0).astype("float32"), "stay": x[:, 1:2] * x[:, 2:3]}
    y["click"][::7] = -1  # without a label
    return x, y


def network():
    """Dropout, moving averages, and a loss that a layer adds."""
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(8, "tanh", kernel_regularizer="l2")(inputs)
    hidden = keras.layers.BatchNormalization()(keras.layers.Dropout(0.3)(hidden))
    outputs = {t.name: t.head(keras.layers.Dropout(0.1)(hidden)) for t in tasks()}
    return MultiTaskModel(inputs, outputs, tasks=tasks())


def compiled(balancer="equal", optimizer=None, model=network, **arguments):
    made = model()
    optimizer = optimizer or keras.optimizers.Adam(0.01)
    made.compile(optimizer, balancer=balancer, **{"jit_compile": False, **arguments})
    return made


def shuffled(rows=ROWS, seed=0):
    return data.pipeline.batches(arrays(rows, seed), BATCH, seed=3)


def plain(dataset=None, callbacks=(), mixture=None, fit=None, **arguments):
    """A model with these arguments of `compile`, trained on a data set."""
    given = {"x": shuffled() if dataset is None else dataset(), "epochs": EPOCHS, **(fit or {})}
    return Setting(compiled(**arguments), given, list(callbacks), mixture)


def combined():
    """A bit of everything that has a state."""
    return plain(
        balancer=WarmUp("dwa", EMA("pcgrad")),
        fit={"validation_data": shuffled(12, 5)},
        callbacks=[keras.callbacks.ReduceLROnPlateau(monitor="val_loss", patience=1, min_delta=1)],
    )


def stopped_early():
    """The best weights come back, and they are not the last."""
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=2, mode="max", restore_best_weights=True
    )
    valid = shuffled(12, 5)
    return plain(fit={"validation_data": valid, "epochs": 6}, callbacks=[stop])


def accumulating():
    adam = keras.optimizers.Adam(0.01, gradient_accumulation_steps=4)
    return plain(optimizer=adam, balancer=Uncertainty())


def scaled():
    keras.config.set_dtype_policy("mixed_float16")
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.01), initial_scale=2.0**16, dynamic_growth_steps=5
    )
    return plain(optimizer=optimizer, balancer=PCGrad())


def scheduled():
    rate = keras.optimizers.schedules.CosineDecay(0.1, 25)
    return plain(optimizer=keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), balancer=RLW())


def averaged():
    adam = keras.optimizers.AdamW(0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=4)
    return plain(optimizer=adam, balancer=FAMO())


def several_optimizers():
    heads, rest = keras.optimizers.Adam(0.02), keras.optimizers.SGD(0.1, momentum=0.9)
    by_path = keras.optimizers.OptimizerMap(rest, {"(click|stay)/.*": heads})
    return plain(optimizer=keras.optimizers.MultiOptimizer(by_path), balancer=PCGrad(every=3))


class Changes(keras.callbacks.Callback):
    """Changes the sampling weights of a mixture."""

    def __init__(self, mixture):
        super().__init__()
        self.mixture = mixture

    def on_train_batch_end(self, batch, logs=None):
        done = int(self.model.optimizer.iterations)
        if done in (2, 12):
            self.mixture.set_sampling_weights({"one": done, "two": 5}, done)


class Begins(keras.callbacks.Callback):
    """Counts what begins, and changes the model then."""

    count = 0

    def on_train_begin(self, logs=None):
        self.model.optimizer.learning_rate = 0.02

    def on_epoch_begin(self, epoch, logs=None):
        self.count += 1
        rate = self.model.optimizer.learning_rate
        rate.assign(rate / self.count)

    def on_epoch_end(self, epoch, logs=None):
        logs["count"] = float(self.count)

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


def changed_at_begins():
    halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    return plain(callbacks=[Begins(), halved])


def recurrent():
    """Whose states go from one batch to the next, of the last epoch too."""

    def model():
        inputs = keras.Input((6,), batch_size=BATCH)
        hidden = keras.layers.Reshape((3, 2))(inputs)
        inner = keras.layers.LSTM(4, stateful=True, return_sequences=True)
        hidden = keras.layers.Bidirectional(inner)(hidden)
        hidden = keras.layers.GRU(4, stateful=True)(hidden)
        return MultiTaskModel(inputs, {t.name: t.head(hidden) for t in tasks()}, tasks=tasks())

    return plain(model=model)


def augmented():
    layer = keras.layers.GaussianNoise(0.5, seed=3)
    return plain(lambda: shuffled().map(lambda x, y: (layer(x, training=True), y)))


def mixed(form):
    x, y = arrays(24)
    other_x, other_y = arrays(ROWS, 1)
    batch = BATCH if form == "rows" else None
    one = data.pipeline.batches((x, {"click": y["click"]}), BATCH, seed=1)
    two = data.pipeline.batches((other_x, {"stay": other_y["stay"]}), BATCH, seed=2)
    mixture = data.mix(
        {"one": one, "two": two}, form=form, batch_size=batch, steps_per_epoch=10, lag=14
    )
    fit = {"steps_per_epoch": 10, "epochs": 4}
    return plain(lambda: mixture.dataset, [Changes(mixture)], mixture, fit, balancer=DWA())


def important():
    rows = data.ImportanceSampling(shuffled(), tasks(), batch_size=BATCH)
    return plain(lambda: rows.dataset, [rows.callback()])


def resampled():
    made = shuffled()
    report = data.check(made, tasks(), batches=None)
    return plain(lambda: data.resample(made, tasks()[0], report, batch_size=BATCH))


def census():
    loaded = data.load("census_income", batch_size=1024)
    model = HardSharing(loaded.inputs, loaded.tasks, shared_units=[8], dropout=0.2)
    model.compile(keras.optimizers.Adam(0.01), balancer=PCGrad(every=2), jit_compile=False)
    return Setting(model, {"x": loaded.train, "epochs": EPOCHS, "validation_data": loaded.valid})


def in_order():
    x, y = arrays()
    fit = {"x": x, "y": y, "shuffle": False, "batch_size": BATCH, "validation_split": 0.1}
    return plain(fit=fit, balancer=AutoLambda())


def sharing():
    return plain(
        model=lambda: DynamicSharing(keras.Input((6,)), tasks(), units=[8, 8]), balancer=PCGrad()
    )


def replicated(dropout, balancer):
    """On any number of replicas; where there is dropout, not the same on each number."""
    keras.config.set_floatx("float64")

    def model():
        inputs = keras.Input((6,))
        hidden = keras.layers.Dense(8, "tanh")(inputs)
        hidden = keras.layers.BatchNormalization(synchronized=True)(hidden)
        hidden = keras.layers.Dropout(dropout)(hidden) if dropout else hidden
        return MultiTaskModel(inputs, {t.name: t.head(hidden) for t in tasks()}, tasks=tasks())

    return plain(lambda: shuffled(38), model=model, balancer=balancer())


def rows():
    return tf.data.Dataset.from_tensor_slices(arrays())


SETTINGS = {
    "combined": combined,
    "stopped early": stopped_early,
    "accumulation": accumulating,
    "loss scale": scaled,
    "schedule": scheduled,
    "averages": averaged,
    "several optimizers": several_optimizers,
    "mixed batches": partial(mixed, "batches"),
    "mixed rows": partial(mixed, "rows"),
    "importance": important,
    "resampled": resampled,
    "census": census,
    "arrays": in_order,
    "dynamic sharing": sharing,
    "XLA": partial(plain, jit_compile=True),
    "steps per execution": partial(plain, steps_per_execution=3),
    "cached": partial(plain, lambda: rows().shuffle(ROWS, seed=0).cache().batch(BATCH)),
    "cached, then shuffled": partial(
        plain, lambda: rows().cache().shuffle(ROWS, seed=0).batch(BATCH).prefetch(2)
    ),
    "shuffled twice": partial(plain, lambda: shuffled().shuffle(5, seed=1)),
    "repeated": partial(plain, lambda: rows().shuffle(9, seed=0).repeat().batch(BATCH).take(11)),
    "no known end": partial(plain, lambda: shuffled(42).filter(lambda x, y: tf.reduce_all(x < 9))),
    "endless": partial(plain, lambda: shuffled(28).repeat(), fit={"steps_per_epoch": 10}),
    "two replicas": partial(replicated, 0.3, lambda: WarmUp("dwa", EMA("pcgrad"))),
    "one or two replicas": partial(replicated, 0.0, DWA),
    "begins": changed_at_begins,
    "metric built late": lambda: plain(metrics={"stay": [keras.metrics.R2Score()]}),
    "recurrent": recurrent,
    "random layer": augmented,
    "mixed up": partial(plain, lambda: data.mix_up(shuffled(), tasks())),
}
