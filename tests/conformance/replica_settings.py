"""What is trained on one replica and on two: models, data, balancers, optimizers."""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from conformance.knowledge import MODELS as TAUGHT
from conformance.registry import (
    ARCHITECTURES,
    BALANCERS,
    BY_REPLICA,
    KINDS,
    MISSING,
    PLAIN,
    TASKS,
    THROUGH_ALL,
    USUAL_ARCHITECTURE,
    USUAL_BALANCER,
    Case,
    make_tasks,
)
from mtlzoo import BinaryClassification, GradDrop, HardSharing, MMoE, MultiTaskModel, PCGrad

BATCH = 8  # of which each replica gets 4


# -- models and data ------------------------------------------------------------------------------


def hard_sharing(**arguments):
    inputs = {"features": keras.Input((6,), name="features")}
    return HardSharing(
        inputs, make_tasks(), shared_units=(8,), tower_units=(4,), activation="tanh", **arguments
    )


def regularized():
    """Regularizers of shared and of task variables, and of activities: a mean over the rows."""
    l2 = keras.regularizers.L2(0.1)
    features = keras.Input((6,), name="features")
    shared = keras.layers.Dense(8, "tanh", kernel_regularizer=l2, activity_regularizer=l2)(features)
    towers = {t.name: keras.layers.Dense(4, kernel_regularizer=l2)(shared) for t in make_tasks()}
    outputs = {t.name: t.head(towers[t.name]) for t in make_tasks()}
    return MultiTaskModel({"features": features}, outputs, tasks=make_tasks())


def batch_norm():
    """Moving averages in the trunk and in a head, and a loss that a layer adds."""
    norm = functools.partial(keras.layers.BatchNormalization, synchronized=True)
    features = keras.Input((6,), name="features")
    shared = norm()(keras.layers.Dense(8, "tanh")(features))
    shared = AddsLoss()(shared)
    towers = {t.name: norm()(keras.layers.Dense(4)(shared)) for t in make_tasks()}
    outputs = {t.name: t.head(towers[t.name]) for t in make_tasks()}
    return MultiTaskModel({"features": features}, outputs, tasks=make_tasks())


class AddsLoss(keras.layers.Layer):
    """Adds a loss of the whole batch."""

    def call(self, inputs):
        self.add_loss(0.1 * keras.ops.mean(inputs**2))
        return inputs


def mmoe():
    inputs = {"features": keras.Input((6,), name="features")}
    return MMoE(inputs, make_tasks(), num_experts=3, expert_units=(8,), activation="tanh")


def embeddings():
    """Sparse gradients: a shared table of words, and one that only `kind` reads."""
    word = keras.Input((), dtype="int32", name="word")
    shared = keras.layers.Embedding(7, 8)(word)
    outputs = {t.name: t.head(shared) for t in make_tasks() if t.name != "kind"}
    own = keras.layers.Embedding(7, 8)(word)
    (kind,) = [t for t in make_tasks() if t.name == "kind"]
    outputs["kind"] = kind.head(keras.layers.Add()([shared, own]))
    return MultiTaskModel({"word": word}, outputs, tasks=make_tasks())


def make_data(rows=32, missing=False, weighted=False, without=(), seed=0):
    rng = np.random.default_rng(seed)
    x = {"features": rng.normal(size=(rows, 6)), "word": rng.integers(0, 7, rows)}
    y = {
        "click": rng.integers(0, 2, rows),
        "kind": rng.integers(0, 5, rows),
        "stay": rng.normal(size=rows),
    }
    number = np.arange(rows)
    if missing:
        y["click"][number % 3 == 0] = MISSING["click"]
        y["kind"][number % BATCH < BATCH // 2] = MISSING["kind"]  # none on the first replica
        y["stay"][: 2 * BATCH] = MISSING["stay"]  # absent from the first two batches
    for name in without:
        y[name][:] = MISSING[name]
    weights = {name: np.ones(rows) for name in TASKS}
    if weighted:
        weights = {name: rng.choice([0.0, 0.5, 2.0], rows) for name in TASKS}
    return x, y, weights


@dataclass(frozen=True)
class Setting:
    """What one case trains."""

    balancer: Callable = lambda: "equal"
    model: Callable = hard_sharing
    optimizer: Callable = lambda: keras.optimizers.SGD(0.1)
    epochs: int = 2
    data: dict = field(default_factory=dict)
    compile: dict = field(default_factory=dict)
    evaluate: bool = False

    def compiled(self, strategy, **arguments):
        keras.utils.set_random_seed(1)
        with strategy.scope() if strategy else contextlib.nullcontext():
            model = self.model()
            arguments = {"metrics": {name: [] for name in TASKS}, **self.compile, **arguments}
            arguments = {"jit_compile": False, **arguments}
            model.compile(self.optimizer(), balancer=self.balancer(), **arguments)
        return model

    def dataset(self, model, **changed):
        x, y, weights = make_data(**(self.data | changed))
        x = {name: x[name] for name in model.input}
        if isinstance(model.tasks["kind"], BinaryClassification):
            y["kind"] = np.minimum(y["kind"], 1)  # a missing one stays -1
        return tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(BATCH)


# -- what is compared -----------------------------------------------------------------------------


def copies(variables):
    return [np.array(keras.ops.convert_to_numpy(v), "float64") for v in variables]


def distance(these, those) -> float:
    """The largest difference; infinite where one is not finite and the other differs."""
    largest = 0.0
    for one, other in zip(these, those, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.shape == other.shape
        if not np.array_equal(one, other, equal_nan=True):
            difference = np.abs(one - other).max(initial=0.0)
            largest = max(largest, difference if np.isfinite(difference) else np.inf)
    return float(largest)


def state(model):
    return [*model.variables, *model.optimizer.variables, *model.balancer.variables]


# -- one replica equals two with each of these ---------------------------------------------------

HARD = {"rows": 25, "missing": True, "weighted": True}  # the last batch leaves a replica empty
SGD = keras.optimizers.SGD


def multi_optimizer():
    """Adam's momenta for the heads, clipped plain steps for the rest."""
    heads = keras.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=0.1)
    rest = keras.optimizers.SGD(0.1, clipvalue=0.01)
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(rest, {"(click|kind|stay)/.*": heads})
    )


def schedule():
    return SGD(keras.optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.2, 0.1, 0.01]))


def of(case: Case) -> Setting:
    """Any architecture with any balancer."""
    return Setting(
        data=HARD,
        model=lambda: ARCHITECTURES[case.architecture](case.tasks()),
        balancer=BALANCERS[case.balancer],
        epochs=4,  # DWA begins in the third
    )


# Every architecture with one balancer, and every balancer with one model.
OF_MODELS: dict[str, Setting] = {
    f"model {name}": of(Case(name)) for name in ARCHITECTURES if name not in BY_REPLICA
}
OF_BALANCERS: dict[str, Setting] = {
    f"balancer {name}": of(Case(balancer=name)) for name in BALANCERS if name != USUAL_BALANCER
}


def at_features(kind) -> Callable | None:
    """Makes a balancer at features level, if it takes that."""
    try:
        kind(wrt="features")
    except (TypeError, ValueError):
        return None
    return functools.partial(kind, wrt="features")


# Every balancer that has it, at the other level.
OF_FEATURES: dict[str, Setting] = {
    f"features {name}": Setting(data=HARD, balancer=at_features(kind), epochs=2)
    for name, kind in PLAIN.items()
    if at_features(kind)
}
# All others.
CROSS: dict[str, Setting] = {
    f"model {architecture}, balancer {name}": of(Case(architecture, name))
    for architecture in THROUGH_ALL
    if architecture != USUAL_ARCHITECTURE
    for name in KINDS
    if name != USUAL_BALANCER
}

OF_STEPS: dict[str, Setting] = {
    "missing labels": Setting(data={"missing": True}),
    "sample weights": Setting(data={"weighted": True}),
    "ragged last batch": Setting(data={"rows": 21}),
    "empty replica": Setting(data={"rows": 25}, evaluate=True),
    "metrics": Setting(data=HARD, compile={"metrics": None}, evaluate=True),
    "loss weights": Setting(
        data=HARD, compile={"loss_weights": {"kind": 0.3, "stay": 2.0}}, evaluate=True
    ),
    "steps per execution": Setting(data=HARD, compile={"steps_per_execution": 2}),
    "steps per execution, ragged": Setting(
        data={"rows": 21, "missing": True}, compile={"steps_per_execution": 2}
    ),
    "regularizers": Setting(data=HARD, model=regularized, evaluate=True),
    "clipnorm": Setting(data=HARD, optimizer=lambda: SGD(0.1, clipnorm=0.05)),
    "global clipnorm": Setting(data=HARD, optimizer=lambda: SGD(0.1, global_clipnorm=0.1)),
    "clipvalue": Setting(data=HARD, optimizer=lambda: SGD(0.1, clipvalue=0.01)),
    "loss scale factor, clipped": Setting(
        data=HARD, optimizer=lambda: SGD(0.1, global_clipnorm=0.1, loss_scale_factor=64.0)
    ),
    "moving averages of the weights": Setting(
        data=HARD, optimizer=lambda: SGD(0.1, use_ema=True, ema_momentum=0.5)
    ),
    "weight decay": Setting(
        data=HARD, optimizer=lambda: SGD(0.1, weight_decay=0.1), balancer=lambda: "uncertainty"
    ),
    "learning-rate schedule": Setting(data=HARD, optimizer=schedule),
    "multi-optimizer": Setting(data=HARD, optimizer=multi_optimizer, balancer=PCGrad),
    "batch norm and add_loss": Setting(
        data={"missing": True}, model=batch_norm, balancer=PCGrad, evaluate=True
    ),
    "batch norm, an empty replica": Setting(data=HARD, model=batch_norm, balancer=PCGrad),
    "regularizers, features": Setting(
        data=HARD, model=regularized, balancer=lambda: PCGrad(wrt="features")
    ),
    "together": Setting(
        data=HARD,
        model=regularized,
        balancer=lambda: "uncertainty",
        optimizer=lambda: SGD(
            keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.05]),
            weight_decay=0.1,
            use_ema=True,
            ema_momentum=0.5,
            global_clipnorm=0.5,
            loss_scale_factor=4.0,
        ),
    ),
    "absent task": Setting(data={"without": ["kind"]}),
    "embeddings": Setting(data=HARD, model=embeddings),
    "embeddings, pcgrad": Setting(data=HARD, model=embeddings, balancer=PCGrad),
    "pcgrad, features": Setting(data=HARD, balancer=lambda: PCGrad(wrt="features")),
    "pcgrad, every 3": Setting(data=HARD, balancer=lambda: PCGrad(every=3)),
    "pcgrad, features, every 3": Setting(
        data=HARD, model=mmoe, balancer=lambda: PCGrad(wrt="features", every=3)
    ),
    "pcgrad, clipped": Setting(
        data=HARD, balancer=PCGrad, optimizer=lambda: SGD(0.1, global_clipnorm=0.1)
    ),
    "grad_drop, features": Setting(data=HARD, balancer=lambda: GradDrop(wrt="features")),
}

# Students with their teachers, whose answers are labels.
OF_STUDENTS: dict[str, Setting] = {
    f"student {name}": Setting(
        data=HARD, model=lambda make=make: make(make_tasks()), balancer=PCGrad, evaluate=True
    )
    for name, make in TAUGHT.items()
}

EQUAL: dict[str, Setting] = {
    **OF_MODELS,
    **OF_BALANCERS,
    **OF_FEATURES,
    **CROSS,
    **OF_STEPS,
    **OF_STUDENTS,
}

# What four replicas are compared on; each gets two rows of a batch, and three none of the last.
FOUR: dict[str, Setting] = {
    "model HardSharing": OF_MODELS["model HardSharing"],
    "model MultiTaskModel": OF_MODELS["model MultiTaskModel"],
    **OF_BALANCERS,
    **OF_FEATURES,
    **OF_STEPS,
}
