"""Models that run by a plan against the same without one, in a process of its own:
`python -m conformance.plans CASE ...`.

As in `replicas.py`: logical devices, SGD in float64, one line of JSON for each case.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable

import keras
import tensorflow as tf

from conformance.plan_events import OTHERS
from conformance.registry import ARCHITECTURES, Case, make_tasks
from conformance.replica_settings import (
    HARD,
    Setting,
    batch_norm,
    copies,
    distance,
    embeddings,
    mmoe,
    of,
    regularized,
    state,
)
from mtlzoo import Combined, GradDrop, HardSharing, MultiTaskModel, PCGrad, distribution
from mtlzoo.models.cutting import stages_of

DEVICES = 3


def placed(model) -> None:
    """Every layer with weights on one of two devices that are not the usual one."""
    names = [layer.name for layer in model.layers if layer.weights]
    distribution.place(model, {name: f"CPU:{1 + i % 2}" for i, name in enumerate(names)})


def in_stages(model, **settings) -> None:
    """Cut at about the first and the second third of the layers."""
    at = places_to_cut(model)
    devices = [f"CPU:{i}" for i in range(len(at) + 1)]
    distribution.pipeline(model, at, 3, devices=devices, **settings)


def rematerialized(model) -> None:
    distribution.rematerialize(model, places_to_cut(model))


def places_to_cut(model) -> list[str]:
    """Two layers, or one, after which there is something left in every stage."""

    def possible(at):
        try:
            return bool(stages_of(model, at))
        except ValueError:
            return False

    names = [layer.name for layer in model.layers if possible([layer.name])]
    for first in names[len(names) // 3 :]:
        for second in names[names.index(first) + 1 :][::-1]:
            if possible([first, second]):
                return [first, second]
    assert names, "there is no place to cut"
    return names[len(names) // 2 :][:1]


PLANS: dict[str, Callable] = {
    "placed": placed,
    "gpipe": in_stages,
    "gpipe, rematerialized": functools.partial(in_stages, rematerialize=True),
    "1f1b": functools.partial(in_stages, schedule="1f1b"),
    "rematerialized": rematerialized,
}


def train(setting: Setting, plan: Callable | None) -> dict:
    def build():
        model = setting.model()
        if plan is not None:
            plan(model)
        return model

    model = dataclasses.replace(setting, model=build).compiled(None)
    start = copies(model.trainable_variables)
    data = setting.dataset(model)
    history = model.fit(data, epochs=setting.epochs, verbose=0).history
    logs = model.evaluate(data, verbose=0, return_dict=True)
    outputs = model.predict(data.map(lambda x, y, w: x), verbose=0)
    assert distance(copies(model.trainable_variables), start) > 1e-3, "nothing was trained"
    return {
        # those of the optimizer are told apart by the order in which they are made
        "weights": copies(state(model)),
        "task weights": [list(model.task_weights.values())],
        "history": [history[key] for key in sorted(history)],
        "evaluate": [logs[key] for key in sorted(logs)],
        "outputs": [outputs[key] for key in sorted(outputs)],
    }


def same_as_without(setting: Setting, plan: Callable) -> dict:
    plain, planned = train(setting, None), train(setting, plan)
    return {what: distance(plain[what], planned[what]) for what in plain}


def refused(setting: Setting, plan: Callable) -> dict:
    """Statistics of normalization would be those of micro-batches."""
    try:
        plan(setting.model())
    except ValueError as error:
        return {"refused": float("trainable batch normalization" not in str(error))}
    return {"refused": 1.0}


def deep(**arguments):
    inputs = {"features": keras.Input((6,), name="features")}
    units = {"shared_units": (8, 8, 8), "tower_units": (4,)}
    return HardSharing(inputs, make_tasks(), activation="tanh", **units, **arguments)


def out_of_reach():
    """Two tasks share a layer, and the third has one of its own."""
    inputs = keras.Input((6,), name="features")
    layers = [keras.layers.Dense(8, "tanh", name=name)(inputs) for name in ("shared", "own")]
    after = [keras.layers.Dense(8, "tanh", name=f"{name}_after")(layers[0]) for name in "ab"]
    features = {"click": after[0], "kind": after[1], "stay": layers[1]}
    tasks = make_tasks()
    outputs = {task.name: task.head(features[task.name]) for task in tasks}
    return MultiTaskModel({"features": inputs}, outputs, tasks=tasks)


LEVELS = {
    **{name: lambda name=name: name for name in ("equal", "uncertainty", "famo", "auto_lambda")},
    "pcgrad": PCGrad,
    "pcgrad, features": lambda: PCGrad(wrt="features"),
    "pcgrad, every 2": lambda: PCGrad(every=2),
    "modo": lambda: "modo",
    "grad_drop": lambda: "grad_drop",
    "grad_drop, features": lambda: GradDrop(wrt="features"),
    "combined": lambda: Combined("uncertainty", "cagrad"),
}
OPTIMIZERS = {
    "clipped": lambda: keras.optimizers.SGD(0.1, global_clipnorm=0.1),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "accumulation": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
}
BATCH_NORM = {"NDDR", "MTAN", "MTAN, shared lead", "MultiTaskModel"}
# Draws of micro-batches are others than that of the batch.
DRAWS = {"SNR, as in the paper", "LearningToBranch"}
# All of it is one task's or another's, so that nothing lies between two cuts.
NOWHERE_TO_CUT = {"AdapterSharing, batch_norm"}
# Needs labels that these data do not have.
LEFT_OUT = {"CrossModalFusion, missing modalities"}


def cases() -> dict[str, Callable]:
    """Every plan with every balancer's way through the step, every architecture, every option."""
    found: dict[str, Callable] = {}
    for plan_name, plan in PLANS.items():
        in_parts = (
            plan.func is in_stages if isinstance(plan, functools.partial) else plan is in_stages
        )

        def add(name, check=same_as_without, plan_name=plan_name, plan=plan, **setting):
            setting = Setting(**{"model": deep, "data": HARD, **setting})
            found[f"{plan_name}, {name}"] = functools.partial(check, setting, plan)

        for name, balancer in LEVELS.items():
            add(name, balancer=balancer)
        for name, model in {"embeddings": embeddings, "regularized": regularized}.items():
            add(name, model=model, balancer=PCGrad)
        add("features, mmoe", model=mmoe, balancer=lambda: PCGrad(wrt="features"))
        for name, optimizer in OPTIMIZERS.items():
            add(name, optimizer=optimizer)
        add("out of reach", model=out_of_reach, balancer=lambda: "mgda")
        add("steps", compile={"steps_per_execution": 2}, data={"rows": 32})
        add("fewer rows than parts", data={"rows": 10})
        left_out = LEFT_OUT | (DRAWS if in_parts else set())
        left_out |= set() if plan is placed else NOWHERE_TO_CUT
        for name in ARCHITECTURES:
            if name not in left_out:
                check = refused if in_parts and name in BATCH_NORM else same_as_without
                case = of(Case(name))
                add(f"model {name}", check, model=case.model, balancer=case.balancer)
        if not in_parts:
            add("batch norm", model=batch_norm, balancer=PCGrad, data={"missing": True})
            add("dropout", model=functools.partial(deep, dropout=0.5), balancer=PCGrad)
    in_xla = Setting(model=deep, data=HARD, compile={"jit_compile": True})
    found["rematerialized, XLA"] = functools.partial(same_as_without, in_xla, rematerialized)
    return {**found, **OTHERS}


CASES = cases()
# Each plan with what its machinery is most likely to break on; the rest is slow.
QUICK = ["placed, pcgrad", "where placed", "facts"]


def main(chosen) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * DEVICES
    tf.config.set_logical_device_configuration(cpu, devices)
    keras.config.set_floatx("float64")
    for name in chosen:
        try:
            found = CASES[name]()
        except Exception as error:  # the other cases still run
            found = {"error": f"{type(error).__name__}: {error}"[-1500:]}
        print(json.dumps({"case": name, **found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
