"""What is trained on one replica and on two: models, data, balancers, optimizers."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from conformance.registry import MISSING, TASKS, make_tasks
from mtlzoo import DWA, GradDrop, HardSharing, MMoE, MultiTaskModel, PCGrad

BATCH = 8  # of which each replica gets 4


# -- models and data ------------------------------------------------------------------------------


def hard_sharing(**arguments):
    inputs = {"features": keras.Input((6,), name="features")}
    return HardSharing(
        inputs, make_tasks(), shared_units=(8,), tower_units=(4,), activation="tanh", **arguments
    )


def regularized():
    """Regularizers of shared and of task variables."""
    l2 = keras.regularizers.L2(0.1)
    features = keras.Input((6,), name="features")
    shared = keras.layers.Dense(8, "tanh", kernel_regularizer=l2)(features)
    towers = {t.name: keras.layers.Dense(4, kernel_regularizer=l2)(shared) for t in make_tasks()}
    outputs = {t.name: t.head(towers[t.name]) for t in make_tasks()}
    return MultiTaskModel({"features": features}, outputs, tasks=make_tasks())


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
            model.compile(
                self.optimizer(), balancer=self.balancer(), jit_compile=False, **arguments
            )
        return model

    def dataset(self, model, **changed):
        x, *rest = make_data(**(self.data | changed))
        x = {name: x[name] for name in model.input}
        return tf.data.Dataset.from_tensor_slices((x, *rest)).batch(BATCH)


# -- what is compared -----------------------------------------------------------------------------


def copies(variables):
    return [np.array(keras.ops.convert_to_numpy(v), "float64") for v in variables]


def distance(these, those) -> float:
    """The largest difference; infinite where either is not finite."""
    largest = 0.0
    for one, other in zip(these, those, strict=True):
        difference = np.abs(np.asarray(one) - np.asarray(other)).max(initial=0.0)
        largest = max(largest, difference if np.isfinite(difference) else np.inf)
    return float(largest)


def state(model):
    return [*model.variables, *model.optimizer.variables, *model.balancer.variables]


# -- one replica equals two with each of these ---------------------------------------------------

HARD = {"rows": 25, "missing": True, "weighted": True}  # the last batch leaves a replica empty
SGD = keras.optimizers.SGD

EQUAL: dict[str, Setting] = {
    "equal": Setting(),
    "missing labels": Setting(data={"missing": True}),
    "sample weights": Setting(data={"weighted": True}),
    "ragged last batch": Setting(data={"rows": 21}),
    "empty replica": Setting(data={"rows": 25}, evaluate=True),
    "metrics": Setting(data=HARD, compile={"metrics": None}, evaluate=True),
    "loss_weights": Setting(
        data=HARD, compile={"loss_weights": {"kind": 0.3, "stay": 2.0}}, evaluate=True
    ),
    "steps_per_execution": Setting(data=HARD, compile={"steps_per_execution": 2}),
    "regularizers": Setting(data=HARD, model=regularized, evaluate=True),
    "clipnorm": Setting(data=HARD, optimizer=lambda: SGD(0.1, clipnorm=0.05)),
    "global_clipnorm": Setting(data=HARD, optimizer=lambda: SGD(0.1, global_clipnorm=0.1)),
    "clipvalue": Setting(data=HARD, optimizer=lambda: SGD(0.1, clipvalue=0.01)),
    "absent task": Setting(data={"without": ["kind"]}),
    "mmoe": Setting(data=HARD, model=mmoe, balancer=lambda: "pcgrad"),
    "embeddings": Setting(data=HARD, model=embeddings),
    "embeddings, pcgrad": Setting(data=HARD, model=embeddings, balancer=lambda: "pcgrad"),
    "uncertainty": Setting(data=HARD, balancer=lambda: "uncertainty"),
    "dwa": Setting(data=HARD, balancer=DWA, epochs=4),
    "pcgrad": Setting(data=HARD, balancer=PCGrad),
    "pcgrad, features": Setting(data=HARD, balancer=lambda: PCGrad(wrt="features")),
    "pcgrad, every 3": Setting(data=HARD, balancer=lambda: PCGrad(every=3)),
    "pcgrad, features, every 3": Setting(
        data=HARD, model=mmoe, balancer=lambda: PCGrad(wrt="features", every=3)
    ),
    "pcgrad, clipped": Setting(
        data=HARD, balancer=PCGrad, optimizer=lambda: SGD(0.1, global_clipnorm=0.1)
    ),
    "mgda": Setting(data=HARD, balancer=lambda: "mgda"),
    "grad_drop": Setting(data=HARD, balancer=GradDrop),
    "grad_drop, features": Setting(data=HARD, balancer=lambda: GradDrop(wrt="features")),
}
