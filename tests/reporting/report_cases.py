"""Runs that are quickly made: a few epochs of tiny models, on few rows."""

import keras
import numpy as np

from mtlzoo import BinaryClassification, Classification, HardSharing, Regression
from mtlzoo.reporting import Run, RunRecorder

ROWS = 48


def tasks():
    return [
        BinaryClassification("buy", metrics=["accuracy", "auc"]),
        Classification("kind", 3, metrics=["macro_f1"]),
        Regression("price", metrics=["rmse"]),
    ]


def some_data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype("float32")
    labels = {"buy": x[:, 0] > 0, "kind": np.digitize(x[:, 1], [-0.5, 0.5])}
    return x, {**{n: v.astype("int32") for n, v in labels.items()}, "price": x[:, 2]}


def trained(of_tasks, seed, epochs=2):
    """A model and the record of its training."""
    keras.utils.set_random_seed(seed)
    model = HardSharing(keras.Input((4,)), of_tasks, shared_units=[4])
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    x, y = some_data()
    y = {name: y[name] for name in model.task_names}
    recorder = RunRecorder()
    arguments = {"epochs": epochs, "verbose": 0, "callbacks": [recorder], "batch_size": ROWS}
    model.fit(x, y, validation_data=(x, y), **arguments)
    return model, recorder


def shared(name="hard sharing", seeds=(0, 1), command="python train.py"):
    run = Run(name, command)
    for seed in seeds:
        run.add(*trained(tasks(), seed), some_data(), seed=seed, latency_calls=1)
    return run


def single(name="single tasks", seeds=(0, 1)):
    run = Run(name)
    for seed in seeds:
        for task in tasks():
            run.add(*trained([task], seed), some_data(), seed=seed, latency_calls=0)
    return run
