"""What a plan does to a model, apart from its numbers: where things run, what is kept."""

import tempfile
from collections import Counter
from collections.abc import Callable

import keras
import tensorflow as tf
from tensorflow.python.eager import context

from conformance.registry import make_tasks
from conformance.replica_settings import BATCH, HARD, Setting, copies, distance, make_data
from mtlzoo import EMA, HardSharing, PCGrad, distribution

WHERE = {"shared_1": "CPU:1", "click*": "CPU:1", "stay*": "CPU:2"}


def build(dropout: float = 0.0):
    keras.utils.set_random_seed(1)
    inputs = {"features": keras.Input((6,), name="features")}
    return HardSharing(
        inputs,
        make_tasks(),
        shared_units=(8, 8, 8),
        tower_units=(4,),
        activation="tanh",
        dropout=dropout,
    )


def batch():
    x, y, weights = make_data(BATCH)
    return tf.nest.map_structure(tf.constant, ({"features": x["features"]}, y, weights))


def executed(function: Callable, *arguments) -> list:
    """The operations of a function as they were run, each with its device."""
    step = tf.function(function, jit_compile=False)
    context.context().enable_run_metadata()
    tf.function(lambda: tf.constant(0))()
    context.context().export_run_metadata()  # with what ran before
    step(*arguments)
    metadata = context.context().export_run_metadata()
    context.context().disable_run_metadata()
    nodes = []
    for function in metadata.function_graphs:
        for graph in function.partition_graphs:
            inner = {each.signature.name: each for each in graph.library.function}
            todo = list(graph.node)
            while todo:  # branches are functions that a node names
                nodes.append(todo.pop())
                for attribute in nodes[-1].attr.values():
                    called = inner.pop(attribute.func.name, None)
                    todo += called.node_def if called else []
    assert nodes, "nothing was run"
    return nodes


def counts(nodes, *kinds: str) -> list:
    """How many operations of these kinds each device ran."""
    found = Counter((n.op, n.device.rsplit(":", 1)[1]) for n in nodes if n.op in kinds)
    return sorted([kind, int(device), count] for (kind, device), count in found.items())


def devices_of(variables) -> list[str]:
    return [v.value.device.rsplit("/device:", 1)[1] for v in variables]


def where_placed() -> dict:
    """Forward, backward, update and momenta of each layer are where it was placed."""
    model = build()
    distribution.place(model, WHERE)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    slots = {}
    for variable in model.trainable_variables:
        (device,) = devices_of([variable])
        own = model.optimizer.variables
        name = variable.path.replace("/", "_")
        slots[variable.path] = [device, *devices_of(v for v in own if name in v.path)]
    kinds = ("Tanh", "TanhGrad", "AssignSubVariableOp", "Sqrt")
    return {"executed": counts(executed(model.train_step, batch()), *kinds), "slots": slots}


def where_in_stages() -> dict:
    """So it is with stages; each of them has run each micro-batch."""
    found = {}
    for schedule in ("gpipe", "1f1b"):
        model = build()
        devices = [f"CPU:{i}" for i in range(3)]
        distribution.pipeline(
            model, ["shared_0", "shared_2"], 4, schedule=schedule, devices=devices
        )
        model.compile("sgd", balancer=PCGrad(wrt="features"), jit_compile=False)
        found[schedule] = counts(executed(model.train_step, batch()), "Tanh", "TanhGrad")
    return found


def computed_again() -> dict:
    """XLA, which takes equal computations for one, runs the stages again all the same."""
    found = {}
    for name, at in {"plain": [], "again": ["shared_0", "shared_2"]}.items():
        model = build()
        distribution.rematerialize(model, at)
        model.compile("sgd", jit_compile=True)
        step = tf.function(model.train_step, jit_compile=True)
        program = step.experimental_get_compiler_ir(batch())(stage="optimized_hlo")
        found[name] = program.count(" tanh(")
    return found


def dropout_in_stages() -> dict:
    """What is run again draws the masks of the first time: all schedules train to the same."""

    def train(**settings):
        model = build(dropout=0.5)
        distribution.pipeline(model, ["shared_0", "shared_2"], 2, **settings)
        model.compile(keras.optimizers.SGD(0.1), balancer="pcgrad")
        start = copies(model.trainable_variables)
        x, y, weights = batch()
        model.fit(x, y, sample_weight=weights, batch_size=BATCH, epochs=3, verbose=0)
        assert distance(copies(model.trainable_variables), start) > 1e-3
        return copies(model.variables)

    kept = train()
    return {
        "rematerialized": distance(train(rematerialize=True), kept),
        "1f1b": distance(train(schedule="1f1b"), kept),
    }


def saved_without() -> dict:
    """A saved, loaded or exported model has no plan; a loaded one can have one and goes on."""
    model = build()
    distribution.place(model, WHERE)
    model.compile(keras.optimizers.Adam(0.01), balancer=EMA("pcgrad"))
    x, y, weights = batch()

    def go_on(each):
        each.fit(x, y, sample_weight=weights, batch_size=BATCH, epochs=2, verbose=0)
        return copies([*each.variables, *each.optimizer.variables])

    go_on(model)
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        model.export(f"{folder}/served")
        loaded = keras.saving.load_model(f"{folder}/model.keras")
        devices = sorted(set(devices_of(loaded.variables)))
        again = keras.saving.load_model(f"{folder}/model.keras")
        served = tf.saved_model.load(f"{folder}/served").signatures["serve"](**x)
        raw = model.predict(x, verbose=0)["stay"]
    distribution.place(again, {"*_tower_*": "CPU:1"})
    wanted = go_on(loaded)
    return {
        "plan": loaded.plan is None and loaded.get_config() == build_config(model),
        "devices": devices,
        "served": distance([served["stay"].numpy()], [raw]),
        "gone on": max(distance(wanted, go_on(each)) for each in (model, again)),
    }


def build_config(model):
    distribution.place(model, {})
    return model.get_config()


def on_two_replicas() -> dict:
    """Stages save memory on each replica too; devices and micro-batches are for one."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

    def train(on, at, dropout=0.0):
        def planned():
            model = build(dropout)
            distribution.rematerialize(model, at)
            return model

        setting = Setting(balancer=PCGrad, data=HARD, model=planned)
        model = setting.compiled(on)
        model.fit(setting.dataset(model), epochs=2, verbose=0)
        return copies(model.variables)

    at = ["shared_0", "shared_2"]
    found = {
        "one": distance(train(strategy, at), train(None, [])),
        "dropout": distance(train(strategy, at, 0.5), train(strategy, [], 0.5)),
    }
    with strategy.scope():
        model = build()
        distribution.rematerialize(model, at)
        model.compile("sgd")
    x, y, weights = (tf.nest.map_structure(lambda t: t[: BATCH // 2], each) for each in batch())
    replicated = executed(lambda *data: strategy.run(model.train_step, (data,)), x, y, weights)
    found["where"] = counts(replicated, "Tanh", "TanhGrad")
    try:
        distribution.place(model, {"stay": "CPU:1"})
    except ValueError as error:
        found["refused"] = str(error)
    return found


def summary() -> dict:
    model = build()
    distribution.place(model, WHERE)
    lines: list[str] = []
    model.summary(print_fn=lambda text, **_: lines.append(text))
    return {"last": lines[-1].splitlines()}


def facts() -> dict:
    """What TensorFlow and Keras do by themselves, which is why there is this machinery."""
    variable = tf.Variable(tf.ones((3, 3)))

    def step(x):
        with tf.GradientTape() as tape, tf.device("CPU:1"):
            y = tf.tanh(x @ variable)
        return tape.gradient(y, variable)

    with keras.RematScope(mode="full"):
        dropout = keras.layers.Dropout(0.5, seed=1)
    try:
        tf.function(lambda x: dropout(x, training=True))(tf.ones((1, 8)))
        remat = "no error"
    except ValueError as error:
        remat = str(error)
    adam = keras.optimizers.Adam()
    with tf.device("CPU:1"):
        layer = keras.layers.Dense(1)
        layer.build((None, 1))
    adam.build(layer.trainable_variables)

    def update(x):
        adam.apply([x, x[0]])

    return {
        "backward": counts(executed(step, tf.ones((2, 3))), "Tanh", "TanhGrad"),
        "remat": remat,
        "slots": sorted(set(devices_of(v for v in adam.variables if v.shape.rank))),
        "update": counts(executed(update, tf.ones((1, 1))), "Sqrt"),
    }


OTHERS: dict[str, Callable[[], dict]] = {
    "where placed": where_placed,
    "where in stages": where_in_stages,
    "computed again": computed_again,
    "dropout in stages": dropout_in_stages,
    "saved without": saved_without,
    "on two replicas": on_two_replicas,
    "summary": summary,
    "facts": facts,
}
