"""What one process does alone, or as one of the workers of `TF_CONFIG`, written as JSON:

python -m conformance.multi_worker WHAT OUT
"""

import json
import os
import pathlib
import signal
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from conformance.replica_settings import (
    BATCH,
    HARD,
    SGD,
    Setting,
    copies,
    make_data,
    state,
)
from mtlzoo import PCGrad, distribution
from mtlzoo.training import Backup

# The last batch of `HARD` has one row, so that one worker has none, and labels are missing on one
# worker only.
SETTINGS = {
    "pcgrad": Setting(balancer=PCGrad, data=HARD, compile={"steps_per_execution": 3}),
    "pcgrad, features": Setting(balancer=lambda: PCGrad(wrt="features"), data=HARD),
    "uncertainty": Setting(balancer=lambda: "uncertainty", data=HARD, compile={"metrics": None}),
    "ragged last batch": Setting(data={"rows": 21, "missing": True}),
}


class Logs(keras.callbacks.Callback):
    """Keeps what callbacks are told."""

    def __init__(self):
        super().__init__()
        self.batches, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(dict(logs))

    def on_test_batch_end(self, batch, logs=None):
        self.batches.append(dict(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))


def trained(strategy) -> dict:
    """By setting, the weights, what callbacks were told, and what `evaluate` says."""
    keras.config.set_floatx("float64")
    found = {}
    for name, setting in SETTINGS.items():
        model = setting.compiled(strategy)
        logs = Logs()
        history = model.fit(
            setting.dataset(model),
            validation_data=setting.dataset(model, seed=1, rows=13),
            epochs=2,
            verbose=0,
            callbacks=[logs],
        ).history
        scores = model.evaluate(setting.dataset(model, seed=2), verbose=0, return_dict=True)
        x, _, _ = make_data(13)
        predicted = model.predict({"features": x["features"]}, batch_size=BATCH, verbose=0)
        found[name] = {
            "predicted": predicted,
            "history": history,
            "after batches": logs.batches,
            "after epochs": logs.epochs,
            "scores": [scores],
            "weights": [v.tolist() for v in copies(state(model))],
        }
    return found


def rows(strategy) -> dict:
    """By kind of data set, the rows of each batch that reach this worker."""
    folder = pathlib.Path(os.environ["RECORDS"])

    def of_files(policy=None):
        files = tf.data.Dataset.list_files(str(folder / "*"), shuffle=False)
        found = files.interleave(tf.data.TFRecordDataset).map(
            lambda text: tf.strings.to_number(text, tf.int32)
        )
        return shared(found.batch(4), policy)

    def shared(data, policy=None):
        options = tf.data.Options()
        if policy is not None:
            options.experimental_distribute.auto_shard_policy = policy
        return data.with_options(options)

    policies = tf.data.experimental.AutoShardPolicy
    sets = {
        "arrays": tf.data.Dataset.range(10).batch(4),
        "generator": tf.data.Dataset.from_generator(
            lambda: iter(range(10)), output_signature=tf.TensorSpec((), tf.int32)
        ).batch(4),
        "files": of_files(),
        "files, by rows": of_files(policies.DATA),
        "not shared out": shared(tf.data.Dataset.range(10).batch(4), policies.OFF),
    }
    return {name: list(of_this_worker(strategy, data)) for name, data in sets.items()}


def of_this_worker(strategy, data):
    if strategy is None:
        yield from (batch.numpy().tolist() for batch in data)
        return
    # As Keras does in `fit`.
    for batch in strategy.experimental_distribute_dataset(data):
        (local,) = strategy.experimental_local_results(batch)
        yield local.numpy().tolist()


def endless(strategy) -> dict:
    """Trains until something happens, and says what."""
    setting = Setting(balancer=PCGrad)
    keras.config.set_floatx("float64")
    model = setting.compiled(strategy)
    x, y, _ = make_data(BATCH)
    batch = tf.data.Dataset.from_tensors(({"features": x["features"]}, y))
    say = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: step != 20 or print("running", flush=True)
    )
    try:
        model.fit(batch.repeat(), steps_per_epoch=10**6, verbose=0, callbacks=[say])
    except RuntimeError as error:
        return {"message": str(error), "at": time.time()}
    return {"message": "no error"}


def endless_prediction(strategy) -> dict:
    """Predicts until something happens, and says what."""
    keras.config.set_floatx("float64")
    model = Setting(balancer=PCGrad).compiled(strategy)
    x, _, _ = make_data(BATCH)
    batch = tf.data.Dataset.from_tensors({"features": x["features"]})
    say = keras.callbacks.Callback()
    say.on_predict_batch_end = lambda step, logs=None: step != 20 or print("running", flush=True)
    try:
        model.predict(batch.repeat(), steps=10**6, verbose=0, callbacks=[say])
    except RuntimeError as error:
        return {"message": str(error), "at": time.time()}
    return {"message": "no error"}


def plain(strategy) -> dict:
    """What the `fit` of plain Keras says."""
    with strategy.scope():
        inputs = keras.Input((6,))
        model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
        model.compile("sgd", loss="mse", jit_compile=False)
    try:
        model.fit(np.ones((8, 6)), np.ones((8, 1)), batch_size=4, verbose=0)
    except ValueError as error:
        return {"message": str(error)}
    return {"message": "no error"}


def advice(strategy) -> dict:
    """What docs/distribution.md says of seeds and of `save`."""
    found = {}
    for what, seed in {"same seeds": 1, "other seeds": 1 + int(index_of(strategy))}.items():
        keras.utils.set_random_seed(seed)
        shuffled = tf.data.Dataset.range(10).shuffle(10).batch(4)
        batches = list(of_this_worker(strategy, shuffled))
        found[what] = [row for batch in batches for row in batch]
    setting = Setting(balancer=lambda: "uncertainty", data=HARD)
    keras.config.set_floatx("float64")
    with strategy.scope():  # where the seeds are still others
        layer = keras.layers.Dense(3)
        layer.build((None, 2))
    found["initial weights"] = layer.kernel.numpy().tolist()
    model = setting.compiled(strategy)
    model.fit(setting.dataset(model), verbose=0)
    with tempfile.TemporaryDirectory() as thrown_away:
        chief = distribution.is_chief(strategy)
        file = f"{os.environ['FOLDER'] if chief else thrown_away}/model.keras"
        model.save(file)
    found["weights"] = [v.tolist() for v in copies(state(model))]
    return found


def index_of(strategy) -> str:
    return str(strategy.cluster_resolver.task_id)


def backed_up(strategy) -> dict:
    """Trains with a backup; the worker that `KILLED` names is, at the third step of an epoch."""
    setting = Setting(
        balancer=lambda: "uncertainty", data=HARD, optimizer=lambda: SGD(0.1, momentum=0.9)
    )
    keras.config.set_floatx("float64")
    model = setting.compiled(strategy)
    steps = []

    def count(step, logs):
        steps.append(step)
        if len(steps) == 7 and strategy and os.environ.get("KILLED") == index_of(strategy):
            os.kill(os.getpid(), signal.SIGKILL)

    callbacks = [
        keras.callbacks.LambdaCallback(on_train_batch_end=count),
        Backup(os.environ["BACKUP"] if strategy else f"{os.environ['BACKUP']}_alone", every=2),
    ]
    try:
        history = model.fit(setting.dataset(model), epochs=3, verbose=0, callbacks=callbacks)
    except RuntimeError as error:
        return {"message": str(error)}
    weights = [v.tolist() for v in copies(state(model))]
    return {"steps": len(steps), "history": history.history, "weights": weights}


WHAT = {
    "trained": trained,
    "rows": rows,
    "endless": endless,
    "endless_prediction": endless_prediction,
    "plain": plain,
    "advice": advice,
    "backed_up": backed_up,
}


def main(what: str, out: str) -> None:
    strategy = None
    if "TF_CONFIG" in os.environ:
        strategy = distribution.strategy()
        assert distribution.is_chief(strategy) == (index_of(strategy) == "0")
    found = WHAT[what](strategy)
    pathlib.Path(out).write_text(json.dumps(found, default=np.ndarray.tolist))


if __name__ == "__main__":
    main(*sys.argv[1:])
