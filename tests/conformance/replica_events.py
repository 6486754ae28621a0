"""What may happen on two replicas, and what must not follow from it."""

import tempfile
from collections.abc import Callable
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from conformance.registry import TASKS
from conformance.replica_settings import (
    BATCH,
    HARD,
    Setting,
    copies,
    distance,
    hard_sharing,
    make_data,
    state,
)
from mtlzoo import MGDA, GradDrop, MoDo, PCGrad
from mtlzoo.models import fitting
from mtlzoo.models.refreshing import surely_kept


def absent_task_is_untouched(strategy) -> dict:
    """Neither its variables move nor its momenta, while the shared ones do."""
    setting = Setting(balancer=lambda: "pcgrad", optimizer=lambda: keras.optimizers.Adam(0.01))
    model = setting.compiled(strategy)
    model.fit(setting.dataset(model), verbose=0)
    names = [v.path.replace("/", "_") for v in model.task_variables("kind")]
    slots = [v for v in model.optimizer.variables if any(n in v.path for n in names)]
    own = [*model.task_variables("kind"), *slots]
    assert len(slots) == 2 * len(names)
    before, shared = copies(own), copies(model.shared_variables)
    model.fit(setting.dataset(model, without=["kind"]), verbose=0)
    assert distance(copies(model.shared_variables), shared) > 0
    return {"own": distance(copies(own), before)}


def failing(strategy, guard, spoil, error) -> dict:
    setting = Setting(
        balancer=lambda: "pcgrad",
        optimizer=lambda: keras.optimizers.Adam(0.01),
        compile={"guard": guard},
    )
    model = setting.compiled(strategy)
    model.fit(setting.dataset(model), verbose=0)
    kept = [v for v in state(model) if v.name not in ("iteration", "step")]
    before = copies(kept)
    heads = [v for name in TASKS for v in model.task_variables(name)]
    of_heads = copies(heads)
    try:
        model.fit(setting.dataset(model, rows=BATCH).map(spoil), verbose=0)
        message = "no error"
    except error as raised:
        message = str(raised)
    return {
        "message": message,
        "finite": all(np.isfinite(v).all() for v in copies(state(model))),
        "heads": distance(copies(heads), of_heads),
        "all": distance(copies(kept), before),
    }


def _infinite(x, y, w):
    """The last row, which is on the second replica, has a label whose square is infinite."""
    last = tf.one_hot(BATCH - 1, BATCH, dtype="float64")
    return x, {**y, "stay": y["stay"] + 1e200 * last}, w


def _illegal(x, y, w):
    last = tf.one_hot(BATCH - 1, BATCH, on_value=9, off_value=0, dtype=y["kind"].dtype)
    return x, {**y, "kind": tf.maximum(last, y["kind"])}, w


def saved_on_two_loaded_on_one(strategy) -> dict:
    """A model trained on two replicas goes on on one."""
    setting = Setting(balancer=lambda: "uncertainty", data=HARD)
    model = setting.compiled(strategy)
    data = setting.dataset(model)
    model.fit(data, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        loaded = keras.saving.load_model(f"{folder}/model.keras")
    same = distance(copies(state(loaded)), copies(state(model)))
    for each in (model, loaded):
        each.fit(data, verbose=0)
    return {"loaded": same, "trained on": distance(copies(state(loaded)), copies(state(model)))}


def half_precision(strategy) -> dict:
    """An overflow on one replica is one on all: the loss scale falls, nothing is poisoned."""
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("mixed_float16")
    model = Setting(balancer=lambda: "pcgrad").compiled(strategy)
    before = copies(model.trainable_variables)
    scale = float(model.optimizer.dynamic_scale.numpy())
    x, y, _ = make_data(BATCH)
    y["stay"][-1] = 1e4
    data = tf.data.Dataset.from_tensor_slices(({"features": x["features"]}, y)).batch(BATCH)
    model.fit(data, verbose=0)
    after = copies(model.trainable_variables)
    return {
        "moved": distance(after, before),
        "scale": float(model.optimizer.dynamic_scale.numpy()) / scale,
    }


def kept_weights(strategy) -> dict:
    """The steps in between have no task gradients to sum, unless a task may come back."""
    found = {}
    for what, missing in {"all tasks": False, "some absent": True}.items():
        setting = Setting(balancer=lambda: PCGrad(every=3), data={"rows": 56, "missing": missing})
        model = setting.compiled(strategy)
        chosen = []

        def noted(method, chosen=chosen):
            chosen.append(surely_kept(method))
            return chosen[-1]

        with mock.patch.object(fitting, "surely_kept", noted):
            model.fit(setting.dataset(model), verbose=0)
        found[what] = chosen
    return found


def dropout(strategy) -> dict:
    """Masks are the same on both replicas and in a second run, and so is what follows."""

    def train():
        model = Setting(model=lambda: hard_sharing(dropout=0.5), data=HARD).compiled(strategy)
        model.fit(Setting(data=HARD).dataset(model), verbose=0)
        return model

    one, two = train(), train()
    replicas = [strategy.experimental_local_results(v.value) for v in one.variables]
    return {
        "runs": distance(copies(state(two)), copies(state(one))),
        "replicas": distance([a.numpy() for a, _ in replicas], [b.numpy() for _, b in replicas]),
    }


def tracked_gramians(strategy) -> dict:
    """Whoever makes them, and where only some steps are looked at."""
    found = {}
    for what, balancer, level in (
        ("loss balancer", "equal", "groups"),
        ("parameters", "pcgrad", "groups"),
        ("features", MGDA(wrt="features"), "shared"),
        ("jacobian", GradDrop(), "shared"),
        ("parts", MoDo(), "shared"),
    ):
        sums = []
        for on in (None, strategy):
            model = Setting(
                balancer=lambda b=balancer: b,
                compile={"track_gramian": level, "track_every": 2},
                data={"missing": True},
            ).compiled(on)
            model.fit(Setting(data={"missing": True}).dataset(model), verbose=0)
            sums.append(list(vars(model.gramian_record.sums()).values()))
        assert sums[0][0].max() == (2 if what in ("loss balancer", "parts") else 4), what
        found[what] = distance(*sums)
    return found


def refused(strategy) -> dict:
    """What Keras cannot do on several replicas ends with a sentence, before any step."""
    norm = keras.layers.BatchNormalization(name="norm")
    optimizers = {
        "accumulation": keras.optimizers.SGD(gradient_accumulation_steps=2),
        "overwriting": keras.optimizers.SGD(use_ema=True, ema_overwrite_frequency=2),
    }
    settings = {
        **{what: Setting(optimizer=lambda o=o: o) for what, o in optimizers.items()},
        "XLA": Setting(compile={"jit_compile": True}),
        "statistics": Setting(model=lambda: hard_sharing(backbone=lambda x: norm(x["features"]))),
    }
    messages = {}
    for what, setting in settings.items():
        try:
            setting.compiled(strategy)
            messages[what] = "no error"
        except ValueError as error:
            messages[what] = str(error)
    return messages


def facts(strategy) -> dict:
    """What stock Keras and TensorFlow do on two replicas."""
    found = {}
    with strategy.scope():
        weight = keras.Variable(0.0)
        raw = keras.Variable(0.0)
        sgd = keras.optimizers.SGD(1.0)
        sgd.build([weight, raw])
        own = keras.Variable(0.0, trainable=False)

    def step():
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, "float64")
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, 1.0 + replica)  # is 3 everywhere
        # The gradient of a term that is the same on every replica, as of a log-variance, is 1.
        sgd.apply([total, tf.constant(1.0, "float64")])
        own.assign(replica)
        return tf.random.uniform([])

    draws = strategy.experimental_local_results(strategy.run(tf.function(step)))
    found["applied"] = float(copies([weight])[0]) / -3
    found["raw term"] = float(copies([raw])[0]) / -1
    found["draws differ"] = float(draws[0]) != float(draws[1])
    locals_ = strategy.experimental_local_results(own.value)
    found["values differ"] = float(locals_[0]) != float(locals_[1])

    def stock(rows=BATCH, optimizer=None, **arguments):
        with strategy.scope():
            x = keras.Input((6,))
            model = keras.Model(x, keras.layers.Dense(1)(x))
            arguments = {"jit_compile": False, **arguments}
            model.compile(optimizer or keras.optimizers.SGD(0.1), loss="mse", **arguments)
        data = tf.data.Dataset.from_tensor_slices((np.ones((rows, 6)), np.ones((rows, 1))))
        try:
            model.fit(data.batch(BATCH), verbose=0)
            return "no error"
        except Exception as error:
            return type(error).__name__

    found["plain"] = stock()
    found["steps per execution"] = stock(4 * BATCH, steps_per_execution=2)
    accumulating = keras.optimizers.SGD(gradient_accumulation_steps=2)
    found["accumulation"] = stock(optimizer=accumulating)
    found["XLA"] = stock(jit_compile=True)
    found["a first batch that does not divide"] = stock(BATCH - 1)
    return found


OTHERS: dict[str, Callable] = {
    "facts": facts,
    "dropout": dropout,
    "refused": refused,
    "kept weights": kept_weights,
    "tracked gramians": tracked_gramians,
    "absent task is untouched": absent_task_is_untouched,
    "infinite loss": lambda s: failing(s, None, _infinite, FloatingPointError),
    "infinite loss, guarded": lambda s: failing(s, "all", _infinite, FloatingPointError),
    "illegal label, guarded": lambda s: failing(s, "all", _illegal, ValueError),
    "saved on two, loaded on one": saved_on_two_loaded_on_one,
    "half precision": half_precision,  # the last: it changes the float type
}
