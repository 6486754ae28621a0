"""One entry for each architecture and each balancer: all that a new module adds to these tests."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from mtlzoo import (
    AITM,
    ESMM,
    MTAN,
    NDDR,
    PLE,
    SNR,
    AdapterSharing,
    BinaryClassification,
    Classification,
    CrossModalFusion,
    CrossStitch,
    DBMTLNet,
    DynamicSharing,
    HardSharing,
    LearningToBranch,
    MMoE,
    MultiTaskModel,
    OMoE,
    Regression,
    Sluice,
    SoftSharing,
    TaskQueryAttention,
    balancing,
)
from mtlzoo.balancing import (
    EMA,
    FAMO,
    MGDA,
    Balancer,
    Combined,
    GradDrop,
    GradientBalancer,
    GradVac,
    MoDo,
    PCGrad,
    Uncertainty,
    WarmUp,
)
from mtlzoo.layers import DSelectKGate, SoftmaxGate, TopKGate

TASKS = ("click", "kind", "stay")
MISSING = {"click": -1, "kind": -1, "stay": np.nan}


def make_tasks(architecture: str | None = None) -> list:
    """The three tasks of every case, or what stands in for some of them in an architecture."""
    kinds = {
        "click": BinaryClassification("click"),
        "kind": Classification("kind", num_classes=5),
        "stay": Regression("stay"),
    }
    return list((kinds | {task.name: task for task in TASKS_OF.get(architecture, list)()}).values())


# -- architectures: a function from tasks to a tiny model with an input `features` (6,) -----------


def hard_sharing(tasks):
    inputs = {"features": keras.Input((6,), name="features")}
    return HardSharing(inputs, tasks, shared_units=(8,), activation="tanh")


def hard_sharing_tree(tasks):
    """All tasks share the first layer, and all but the last in sorted order the second."""
    inputs = {"features": keras.Input((6,), name="features")}
    names = sorted(task.name for task in tasks)
    tree = [[names], [group for group in (names[:-1], names[-1:]) if group]]
    return HardSharing(inputs, tasks, shared_units=(8, 8), tree=tree, activation="tanh")


def mmoe(tasks):
    inputs = {"features": keras.Input((6,), name="features")}
    return MMoE(
        inputs, tasks, num_experts=3, expert_units=(8,), tower_units=(4,), activation="tanh"
    )


def mmoe_by(make_gate):
    """MMoE with gates without noise: XLA draws other noise. They are made anew each time, since a
    layer made at import would settle Keras's dtype policy.
    """
    arguments = {"expert_units": (8,), "tower_units": (4,), "activation": "tanh"}

    def make(tasks):
        inputs = {"features": keras.Input((6,), name="features")}
        return MMoE(inputs, tasks, num_experts=4, gate=make_gate(), **arguments)

    return make


def omoe(tasks):
    inputs = {"features": keras.Input((6,), name="features")}
    return OMoE(
        inputs, tasks, num_experts=3, expert_units=(8,), tower_units=(4,), activation="tanh"
    )


def ple(tasks):
    inputs = {"features": keras.Input((6,), name="features")}
    return PLE(
        inputs,
        tasks,
        num_shared_experts=2,
        num_task_experts=1,
        expert_units=(5,),
        tower_units=(4,),
        activation="tanh",
    )


def mmoe_of_networks(tasks):
    """Each expert is a convolution over the features; the gates have hidden layers."""
    inputs = {"features": keras.Input((6,), name="features")}
    inside = {"features": keras.Input((6,), name="features")}
    signal = keras.layers.Reshape((6, 1), name="signal")(inside["features"])
    signal = keras.layers.Conv1D(3, 3, 2, activation="tanh", name="conv")(signal)
    network = keras.Model(inside, keras.layers.Flatten(name="flat")(signal), name="network")
    gate = SoftmaxGate(hidden_units=(4,))
    return MMoE(
        inputs,
        tasks,
        num_experts=3,
        expert_network=network,
        tower_units=(4,),
        gate=gate,
        activation="tanh",
    )


def ple_unequal(tasks):
    inputs = {"features": keras.Input((6,), name="features")}
    names = sorted(task.name for task in tasks)
    return PLE(
        inputs,
        tasks,
        num_shared_experts=(1, 2),
        num_task_experts=[{name: 1 + i % 2 for i, name in enumerate(names)}, 1],
        expert_units=[(5,), (4, 3)],
        tower_units=(4,),
        activation="tanh",
    )


def snr(tasks, **arguments):
    inputs = {"features": keras.Input((6,), name="features")}
    arguments = {
        "l0_weight": 0.0,  # plain Keras would log it as a part of a task's loss
        "sample": False,  # XLA draws other connections
        **arguments,
    }
    return SNR(
        inputs,
        tasks,
        num_subnetworks=2,
        subnetwork_units=(5, 4),
        tower_units=(4,),
        activation="tanh",
        **arguments,
    )


def esmm(tasks):
    inputs = {"features": keras.Input((6,), name="features")}
    funnel = [name for name in ("click", "kind") if name in {task.name for task in tasks}]
    inside = {"features": keras.Input((6,), name="inside")}
    bottom = keras.layers.Dense(8, "tanh", name="bottom")(inside["features"])
    backbone = keras.Model(inside, bottom, name="backbone")
    return ESMM(
        inputs, tasks, funnel=funnel, backbone=backbone, tower_units=(4,), activation="tanh"
    )


def aitm(tasks):
    inputs = {"features": keras.Input((6,), name="features")}
    sequence = [name for name in TASKS if name in {task.name for task in tasks}]
    return AITM(inputs, tasks, sequence=sequence, tower_units=(5, 4), activation="tanh")


def dbmtl_net(tasks):
    inputs = {"features": keras.Input((6,), name="features")}
    names = {task.name for task in tasks}
    pairs = [("kind", "click"), ("stay", "kind")]
    relations = {child: (parent,) for child, parent in pairs if {child, parent} <= names}
    return DBMTLNet(inputs, tasks, relations=relations, shared_units=(8,), activation="tanh")


def task_query_attention(tasks):
    inputs = {"features": keras.Input((6,), name="features")}
    inside = {"features": keras.Input((6,), name="inside")}
    tokens = keras.layers.Reshape((3, 2), name="pairs")(inside["features"])
    tokens = keras.layers.Dense(4, "tanh", name="tokens")(tokens)
    backbone = keras.Model(inside, tokens, name="backbone")
    return TaskQueryAttention(
        inputs, tasks, backbone=backbone, num_heads=2, key_dim=3, num_queries=2, tower_units=(4,)
    )


def cross_modal_fusion(tasks, flags=(), **arguments):
    inputs = {
        "features": keras.Input((6,), name="features"),
        "word": keras.Input((), dtype="int32", name="word"),
        **{flag: keras.Input((), dtype="bool", name=flag) for flag in flags},
    }
    encoders = {
        "features": keras.layers.Dense(5, "tanh", name="of_features"),
        "word": keras.layers.Embedding(7, 4, name="of_word"),
    }
    return CrossModalFusion(
        inputs,
        tasks,
        encoders=encoders,
        projection_units=5,
        fusion_units=6,
        shared_units=(8,),
        tower_units=(4,),
        activation="tanh",
        **({"fusion": "gated"} | arguments),
    )


def staged(architecture, **arguments):
    """Columns, or a shared network, of two fully connected layers."""

    def make(tasks):
        inputs = {"features": keras.Input((6,), name="features")}
        return architecture(inputs, tasks, units=(8, 8), activation="tanh", **arguments)

    return make


def low_rank_updates(tasks):
    """Begun where training leads: next to a factor of zeros the other one does not move."""
    model = staged(AdapterSharing, adapter="lora", rank=2)(tasks)
    for i, variable in enumerate(v for v in model.variables if v.path.endswith("update/b")):
        variable.assign(keras.random.normal(variable.shape, stddev=0.1, seed=i))
    return model


def norms_of_tasks(tasks):
    inside = {"features": keras.Input((6,), name="inside")}
    first = keras.layers.Dense(8, "tanh", name="first")(inside["features"])
    norm = keras.layers.BatchNormalization(synchronized=True, name="norm")  # over replicas
    backbone = keras.Model(inside, norm(first), name="backbone")
    return staged(AdapterSharing, adapter="batch_norm", backbone=backbone)(tasks)


def graph(tasks):
    """A graph of the user's own: an embedding, a nested model, a layer called twice, moving
    averages."""
    layers = keras.layers
    inputs = {
        "features": keras.Input((6,), name="features"),
        "word": keras.Input((), dtype="int32", name="word"),
    }
    word = layers.Embedding(7, 4, name="words")(inputs["word"])
    x = layers.Concatenate(name="joined")([inputs["features"], word])
    inside = keras.Input((10,))
    x = keras.Model(inside, layers.Dense(8, "tanh", name="inner")(inside), name="nested")(x)
    twice = layers.Dense(8, "tanh", name="twice")
    norm = partial(layers.BatchNormalization, synchronized=True)  # over replicas
    x = norm(name="norm")(twice(twice(x)))
    heads = {}
    for task in sorted(tasks, key=lambda t: t.name):
        tower = keras.Sequential([layers.Dense(4, "tanh"), norm()], name=f"{task.name}_tower")
        heads[task.name] = task.head(tower(x))
    return MultiTaskModel(inputs, {t.name: heads[t.name] for t in tasks}, tasks=tasks)


def nested(tasks):
    """A multi-task model as the trunk of another."""
    layers = keras.layers
    inputs = {"features": keras.Input((6,), name="features")}
    inside = keras.Input((6,), name="inside")
    trained_before = [Regression("first", dim=4), Classification("second", num_classes=4)]
    inner = HardSharing(inside, trained_before, shared_units=(8,), activation="tanh", name="inner")
    x = layers.Concatenate(name="joined")(list(inner(inputs["features"]).values()))
    by_name = sorted(tasks, key=lambda task: task.name)
    heads = {t.name: t.head(layers.Dense(4, "tanh", name=f"{t.name}_tower")(x)) for t in by_name}
    return MultiTaskModel(inputs, heads, tasks=tasks)


ARCHITECTURES: dict[str, Callable] = {
    "HardSharing": hard_sharing,
    "MMoE": mmoe,
    "MMoE, top-k gates": mmoe_by(partial(TopKGate, noise=0.0)),
    "MMoE, DSelect-k gates": mmoe_by(DSelectKGate),
    "MMoE, expert networks": mmoe_of_networks,
    "OMoE": omoe,
    "PLE": ple,
    "PLE, unequal": ple_unequal,
    "SNR": snr,
    # A seed that leaves each task a connected network in the one step that a guarantee looks at.
    "SNR, as in the paper": partial(snr, l0_weight=0.01, sample=True, seed=2),
    "AITM": aitm,
    "DBMTLNet": dbmtl_net,
    "ESMM": esmm,
    "TaskQueryAttention": task_query_attention,
    "CrossModalFusion": cross_modal_fusion,
    "CrossModalFusion, missing modalities": partial(
        cross_modal_fusion,
        flags=("features_present", "word_present"),
        fusion="concatenation",
        modality_dropout=0.3,
        seed=0,
        alignment=0.1,
    ),
    "SoftSharing": staged(SoftSharing),
    "CrossStitch": staged(CrossStitch),
    "Sluice": staged(Sluice),
    "NDDR": staged(NDDR, fusion_activation="tanh"),
    "MTAN": staged(MTAN),
    "MTAN, shared lead": staged(MTAN, shared_lead=True),
    "HardSharing, tree": hard_sharing_tree,
    "LearningToBranch": staged(LearningToBranch, temperature=1.0),
    "DynamicSharing": staged(DynamicSharing),
    "DynamicSharing, conflict": staged(DynamicSharing, sharing="conflict"),
    "AdapterSharing": staged(AdapterSharing, adapter_units=4),
    "AdapterSharing, lora": low_rank_updates,
    "AdapterSharing, batch_norm": norms_of_tasks,
    "MultiTaskModel": graph,
    "a model inside a model": nested,
}

# Architectures that need other kinds of tasks than the usual three: those that differ.
TASKS_OF: dict[str, Callable[[], list]] = {
    "AITM": lambda: [BinaryClassification("kind")],  # calibrated by `click`, which is one too
    "ESMM": lambda: [BinaryClassification("kind")],
}

# Tasks that have no variable of their own: the tower of a funnel's first step serves all steps.
OWNS_NOTHING = {"ESMM": {"click"}}

# Those that no method can train that needs shared variables: the balancer of their own tests.
BALANCER_OF: dict[str, str] = {"SoftSharing": "equal"}

# The architectures that go through every guarantee with one balancer of each kind. The default run
# takes the first of them through, and has for the first form of the others what it alone can break.
THROUGH_ALL = ("HardSharing", "MultiTaskModel")


# -- balancers: a function that makes one ----------------------------------------------------------


PLAIN: dict[str, Callable[[], Balancer]] = {
    name: type(balancing.get(name)) for name in balancing.names()
}
# What the bases add to a method (the other level, weights kept for some steps, groups), of which
# one method shows all; and balancers that are made of others.
FORMS: dict[str, Callable[[], Balancer]] = {
    "pcgrad, features": lambda: PCGrad(wrt="features"),
    "pcgrad, every 2": lambda: PCGrad(every=2),
    "pcgrad, features, every 2": lambda: PCGrad(wrt="features", every=2),
    "pcgrad, groups": lambda: PCGrad(groups="layers", every=2),
    "modo, groups, every 2": lambda: MoDo(groups="layers", every=2),
    "mgda, features": lambda: MGDA(wrt="features"),
    "grad_drop, features": lambda: GradDrop(wrt="features"),
    "combined": lambda: Combined(Uncertainty(), PCGrad(every=2)),
    "combined, features": lambda: Combined(Uncertainty(), GradDrop(wrt="features")),
    "warm_up": lambda: WarmUp(Uncertainty(), PCGrad()),
    "warm_up, losses": lambda: WarmUp(Uncertainty(), FAMO()),
    "ema": lambda: EMA(GradVac(every=2)),
}
BALANCERS = PLAIN | FORMS

# One for each thing that a method may ask of the training step.
KINDS = [
    *("uncertainty", "famo", "auto_lambda", "modo", "moco", "grad_norm", "combined", "warm_up"),
    *("pcgrad, features, every 2", "grad_drop, features"),
]


def _no_gradients(balancer: Balancer) -> bool:
    return any(method.gradient_part is not None for method in balancer.phases)


def _no_features(balancer: Balancer) -> bool:
    parts = [method.gradient_part for method in balancer.phases]
    return any(part is not None and part.wrt == "features" for part in parts)


def _gradients_of_parameters(balancer: Balancer) -> bool:
    parts = [method.gradient_part for method in balancer.phases]
    return not all(
        isinstance(part, GradientBalancer) and part.wrt == "parameters" and part.n_batches == 1
        for part in parts
    )


# By architecture, which balancers it refuses, and what it says then.
REFUSALS: dict[str, tuple[Callable[[Balancer], bool], str]] = {
    "SoftSharing": (_no_gradients, "`balancer` should be one that weighs losses"),
    "DynamicSharing": (_no_features, "`wrt` should be 'parameters' for this model"),
    "DynamicSharing, conflict": (
        _gradients_of_parameters,
        "`balancer` should be a gradient balancer with `wrt='parameters'`",
    ),
    "MTAN, shared lead": (_no_features, "`wrt` should be 'parameters' for this model"),
    **dict.fromkeys(
        ("AdapterSharing", "AdapterSharing, lora", "AdapterSharing, batch_norm"),
        (_no_features, "`wrt` should be 'parameters' for this model"),
    ),
}

# Methods that rescale even a single task, so that one task alone is not plain training.
RESCALES_ONE_TASK = {
    *("auto_lambda", "combined", "combined, features", "dbmtl", "imtl_l", "initial_loss_scale"),
    *("scale_invariant", "uncertainty", "warm_up", "warm_up, losses"),
}

# Methods whose weights multiply the heads too, and depend on the other tasks' losses, gradients or
# presence: what happens to one task moves the heads of all.
COUPLES_HEADS = {
    *("auto_lambda", "cosmos", "excess_mtl", "famo", "gls", "grad_norm", "pbi", "rlw", "stch"),
}

# Architectures that add to the loss what no task's own network has.
PENALIZES = {
    *("AITM", "SoftSharing", "Sluice"),
    *("CrossModalFusion, missing modalities", "SNR, as in the paper"),
}

# Architectures that draw random numbers in training: under XLA they are others.
DRAWS = {"CrossModalFusion, missing modalities", "SNR, as in the paper"}

# Those in which each replica draws for its own rows, and compares them with each other only.
BY_REPLICA = {"CrossModalFusion, missing modalities"}

# Methods that promise that the scale of a loss does not decide.
CORRECTS_SCALE = ["uncertainty", "imtl_l", "gls", "scale_invariant", "initial_loss_scale"]


USUAL_ARCHITECTURE, USUAL_BALANCER = "HardSharing", "pcgrad"


@dataclass(frozen=True)
class Case:
    """One model with one balancer; `balancer=""` is the usual one of the architecture."""

    architecture: str = USUAL_ARCHITECTURE
    balancer: str = ""

    def __post_init__(self) -> None:
        usual = BALANCER_OF.get(self.architecture, USUAL_BALANCER)
        object.__setattr__(self, "balancer", self.balancer or usual)

    def refusal(self) -> str | None:
        """What the architecture says of the balancer if it refuses it."""
        refuses, message = REFUSALS.get(self.architecture, (lambda balancer: False, ""))
        return message if refuses(BALANCERS[self.balancer]()) else None

    def tasks(self) -> list:
        """New tasks of the kinds that the architecture takes."""
        return make_tasks(self.architecture)

    def build(self, tasks=None, seed: int = 1) -> MultiTaskModel:
        """The model, the same at each call."""
        keras.utils.set_random_seed(seed)
        return ARCHITECTURES[self.architecture](self.tasks() if tasks is None else tasks)

    def compiled(self, optimizer=None, tasks=None, **arguments) -> MultiTaskModel:
        model = self.build(tasks)
        optimizer = keras.optimizers.SGD(0.1) if optimizer is None else optimizer
        arguments.setdefault("jit_compile", False)
        model.compile(optimizer, balancer=BALANCERS[self.balancer](), **arguments)
        return model


def rows(model, count: int = 12, seed: int = 0, names=TASKS):
    """Inputs and labels for `model`, the same for the same `seed`; the labels are noise, so that
    task gradients often conflict."""
    rng = np.random.default_rng(seed)
    x = {
        "features": rng.normal(size=(count, 6)).astype("float32"),
        "word": rng.integers(0, 7, count).astype("int32"),
    }
    y = {
        "click": rng.integers(0, 2, count),
        "kind": rng.integers(0, 5, count),
        "stay": rng.normal(size=count).astype("float32"),
    }
    x |= {f"{name}_present": rng.random(count) > 0.3 for name in ("features", "word")}
    for name, task in model.tasks.items():
        if name in y and isinstance(task, BinaryClassification):
            y[name] = y[name] % 2
    return {key: x[key] for key in model.input}, {name: y[name] for name in names}
