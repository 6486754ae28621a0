"""An ensemble on one replica and on two, in a process of its own: `python -m ensemble_replicas`.

Logical devices must be made before TensorFlow starts. Prints one line of JSON: the largest
differences by what was compared.
"""

import contextlib
import json

import keras
import numpy as np
import tensorflow as tf
from ensemble_cases import TASKS, model, rows

from mtlzoo import MultiTaskModel
from mtlzoo.ensembles import Ensemble, FittedWeights, Stacking, Temperature, refresh_statistics

FUSION = {
    "click": Temperature(FittedWeights()),
    "colour": Stacking(1e-2),
    "tags": "fitted_weights",
    "stay": "mean",
}


def trained(models, strategy):
    scope = strategy.scope() if strategy else contextlib.nullcontext()
    with scope:
        ensemble = Ensemble(models, FUSION)
        ensemble.compile(keras.optimizers.SGD(0.1))
    x, y = rows(45, missing=True)  # the last batch is of 5: 3 and 2 rows
    weights = {"colour": np.linspace(0, 1, 45), "tags": np.ones(45)}
    data = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(8)
    start = [v.numpy() for v in ensemble.trainable_variables]
    history = ensemble.fit(data, epochs=3, verbose=0).history
    moved = [v.numpy() for v in ensemble.trainable_variables]
    logs = ensemble.evaluate(data, verbose=0, return_dict=True)
    return {
        "variables": moved,
        "history": [history[key] for key in sorted(history)],
        "evaluate": [logs[key] for key in sorted(logs)],
        "predict": list(ensemble.predict(x, batch_size=8, verbose=0).values()),
        "moved": [np.abs(a - b).max() for a, b in zip(start, moved, strict=True)],
    }


def main():
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    keras.utils.set_random_seed(0)
    models = [model(dropout=0.5), model(units=(6,))]
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    one, two = trained(models, None), trained(models, strategy)
    assert min(map(float, one["moved"])) > 1e-4, "nothing was trained"
    print(json.dumps({what: distance(one[what], two[what]) for what in one} | refreshed(strategy)))


def refreshed(strategy):
    """Statistics of a model that was made for two replicas."""

    def normalized():
        inputs = keras.Input((4,))
        norm = keras.layers.BatchNormalization(synchronized=True)(inputs)
        return MultiTaskModel(inputs, {"stay": TASKS[3].head(norm)}, tasks=[TASKS[3]])

    x, _ = rows()
    found = []
    for scope in (contextlib.nullcontext(), strategy.scope()):
        with scope:
            made = normalized()
        refresh_statistics(made, x, batch_size=7)
        found.append([np.asarray(v) for v in made.non_trainable_variables])
    return {"statistics": distance(*found)}


def distance(one, two):
    pairs = zip(one, two, strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


if __name__ == "__main__":
    main()
