"""Frozen and pulled models on one replica and on two, in float64:
`python -m training.transfer_on_replicas CASE ...`.
"""

import functools
import json
import sys

import keras
import numpy as np
import tensorflow as tf
from conformance.registry import BALANCERS, Case, rows

from mtlzoo import MultiTaskModel, Regression
from mtlzoo.training import (
    GradualUnfreezing,
    add_l2_sp,
    freeze,
    layerwise_learning_rates,
    unfreeze,
)


def frozen(model):
    freeze(model)
    return []


def gradual(model):
    return [GradualUnfreezing(epochs=[0, 0, 1, 9])]  # the first stage never


def l2_sp(model):
    add_l2_sp(model, "inner", "twice", alpha=0.5, beta=0.2)
    return []


def rates(model):
    freeze(model, "words", "norm")
    return []


# By case what is done before `compile`, what after it, the balancer, and the frozen layers.
CASES = {
    "frozen": (None, frozen, "pcgrad", ("words", "inner", "twice", "norm")),
    "frozen before compile": (frozen, None, "uncertainty", ("words", "inner", "twice", "norm")),
    "gradual, pulled": (l2_sp, gradual, "uncertainty", ("words",)),
    "gradual, features": (None, gradual, "pcgrad, features", ("words",)),
    "rates": (None, rates, "mgda", ("words", "norm")),
}


def trained(case, strategy):
    """The variables after two epochs of batches that do not divide evenly, and how far what is
    frozen and the rest have moved.
    """
    before, after, balancer, still = CASES[case]
    with strategy.scope():
        model = Case("MultiTaskModel").build()
        if case == "frozen before compile":  # which replicas could not train
            model.get_layer("norm").synchronized = False
        callbacks = before(model) if before else []
        optimizer = keras.optimizers.SGD(0.1)
        if case == "rates":
            optimizer = layerwise_learning_rates(model, optimizer, factors={"inner": 0.5})
        model.compile(optimizer, BALANCERS[balancer](), jit_compile=False)
        callbacks += after(model) if after else []
    start = {v.path: v.numpy() for v in model.weights}
    x, y = rows(model, 21)
    y["stay"][:9] = np.nan
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    history = model.fit(data, epochs=2, verbose=0, callbacks=callbacks).history
    of_layers = [v for v in model.weights if "/" in v.path]  # others are the balancer's
    moved = {v.path: distance(v, start[v.path]) for v in of_layers}
    frozen_moved = [d for path, d in moved.items() if path.split("/")[0] in still]
    values = [v.numpy() for v in model.weights]
    return values + [np.array(history[key]) for key in sorted(history)], frozen_moved, moved


def refusals(strategy) -> dict:
    """What is said of normalization that was frozen at `compile` and is not synchronized, by each
    way of having it trained; and whether it is still frozen then.
    """

    def by_hand(model, fit):
        model.get_layer("norm").trainable = True
        try:
            fit()
        finally:
            model.get_layer("norm").trainable = False

    ways = {
        "unfreeze": lambda model, fit: unfreeze(model),
        "gradually": lambda model, fit: fit(callbacks=[GradualUnfreezing([["norm"]], every=9)]),
        "by hand": by_hand,
    }
    with strategy.scope():
        inputs = keras.Input((4,))
        norm = keras.layers.BatchNormalization(name="norm", center=False, scale=False)
        tasks = [Regression("a"), Regression("b")]
        outputs = {t.name: t.head(norm(inputs)) for t in tasks}
        model = MultiTaskModel(inputs, outputs, tasks=tasks)
        freeze(model, "norm")
        model.compile("sgd")
    x = np.ones((8, 4))
    found = {}
    for name, way in ways.items():
        try:
            way(model, functools.partial(model.fit, x, {"a": x[:, 0], "b": x[:, 1]}, verbose=0))
            said = "nothing"
        except ValueError as error:
            said = str(error)
        found[name] = [said, norm.trainable]
    return found


def distance(one, other) -> float:
    one, other = (np.asarray(v, "float64") for v in (one, other))
    return float(np.max(np.abs(np.where(one == other, 0, one - other)), initial=0))


def main(chosen) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.config.set_floatx("float64")
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for case in chosen:
        if case == "refused":
            print(json.dumps({"case": case, **refusals(two)}), flush=True)
            continue
        try:
            one, still, moved = trained(case, tf.distribute.get_strategy())
            other, still_on_two, _ = trained(case, two)
            found = {
                "difference": max(distance(a, b) for a, b in zip(one, other, strict=True)),
                "moved": max(moved.values()),
                "frozen moved": max([*still, *still_on_two], default=0.0),
            }
        except Exception as error:  # the other cases still run
            found = {"error": f"{type(error).__name__}: {error}"[-1500:]}
        print(json.dumps({"case": case, **found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
