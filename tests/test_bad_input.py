"""Malformed uses of the public API: each with the words of its refusal, and nothing updated."""

import functools
import inspect
import json
import pathlib
import re
import zipfile
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import (
    DWA,
    MGDA,
    BinaryClassification,
    Classification,
    CrossModalFusion,
    Equal,
    GradDrop,
    HardSharing,
    MMoE,
    MultiLabelClassification,
    MultiTaskModel,
    PCGrad,
    Regression,
    Task,
    Uncertainty,
    balancing,
    data,
    export,
)
from mtlzoo.balancing import (
    AutoLambda,
    Balancer,
    Combined,
    GradientBalancer,
    LossBalancer,
    MoDo,
    TaskPrioritization,
    WarmUp,
)
from mtlzoo.data import census_income
from mtlzoo.layers import Experts
from mtlzoo.metrics import AUC, F1Score, Precision, R2Score, delta_m
from mtlzoo.tasks import by_name, from_loss

dense = keras.layers.Dense


class Case(NamedTuple):
    """One malformed use.

    `do` names what it needs: models of `MODELS`, `path`, an empty folder, or `files`.
    """

    name: str
    do: Any
    text: str
    error: type[Exception] = ValueError


# -- what the cases are made of -----------------------------------------------------------------

ROWS = 8
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")
Y = {"a": np.array([0, 1] * 4), "b": X[:, 0] * 2}
KINDS = {"kind": np.array([0, 1, 2, 0] * 2), "many": np.array([[0, 1, -1]] * ROWS)}
ONE_HOT = np.eye(3, dtype="int32")[KINDS["kind"]]
ONES = np.ones(ROWS, "float32")


def tasks():
    return [BinaryClassification("a"), Regression("b")]


def kinds():
    return [Classification("kind", 3), MultiLabelClassification("many", 3)]


def inputs(*shape, **arguments):
    return keras.Input(shape or (4,), **{"name": "x", **arguments})


def graph(names="ab"):
    x = inputs()
    trunk = dense(3)(x)
    return x, {name: dense(1, name=name)(trunk) for name in names}


def hard_sharing(given=None, **arguments):
    return HardSharing(inputs(), given or tasks(), **{"shared_units": (6,), **arguments})


def compiled(model, balancer="uncertainty", optimizer="adam", **arguments):
    arguments = {"run_eagerly": True, "metrics": {n: [] for n in model.task_names}, **arguments}
    if not arguments["run_eagerly"]:
        arguments.setdefault("jit_compile", False)
    model.compile(optimizer, balancer=balancer, **arguments)
    return model


def trained(model, y=Y):
    model.fit(X, y, verbose=0)
    return model


# Those that are trained have an optimizer and a balancer whose state is not what it began with.
MODELS = {
    "model": lambda: trained(compiled(hard_sharing())),
    "again": lambda: trained(compiled(hard_sharing())),
    "mixture": lambda: trained(compiled(MMoE(inputs(), tasks()), PCGrad(every=2))),
    "others": lambda: trained(compiled(hard_sharing(kinds()), "dwa"), KINDS),
    "traced": lambda: compiled(hard_sharing(), run_eagerly=False),
    "untrained": hard_sharing,
    "plain": lambda: MultiTaskModel(*graph(), tasks=tasks()),
}


def state(model):
    found = list(model.variables)
    if model.compiled:
        found += [*model.optimizer.variables, *model.balancer.variables]
    return found


@functools.cache
def made(name):
    """A model of `MODELS`, with its variables, which no case may change."""
    model = MODELS[name]()
    return model, state(model)


def fresh(name):
    """A model that a case may compile is its own; the others serve all cases."""
    return made.__wrapped__(name) if name == "untrained" else made(name)


def contents(variables):
    return [keras.ops.convert_to_numpy(v).tobytes() for v in variables]


def again_compiled(model, **arguments):
    """Compile anew; where that is refused, there is no training with what was before."""
    try:
        compiled(model, **arguments)
    except (ValueError, TypeError) as error:
        if not isinstance(error, TypeError):  # Python itself refuses unknown arguments
            with pytest.raises(ValueError, match="compile"):
                model.fit(X, Y, verbose=0)
        raise


def fit(model, y, weights=None, **arguments):
    """Train on arrays, in two batches; `evaluate` refuses the same with the same words."""
    refusal = "nothing"
    try:
        model.evaluate(X, y, sample_weight=weights, batch_size=4, verbose=0)
    except ValueError as error:
        refusal = str(error)
    try:
        model.fit(X, y, sample_weight=weights, batch_size=4, verbose=0, **arguments)
    except ValueError as error:
        assert str(error) == refusal
        raise


def batches(*element):
    return tf.data.Dataset.from_tensor_slices(element).batch(4)


def stream(model, *element, **arguments):
    """Train on a `tf.data` pipeline."""
    model.fit(batches(*element), verbose=0, **arguments)


def generate(model, y, weights=None):
    batch = (X, y) if weights is None else (X, y, weights)
    model.fit((batch for _ in range(2)), steps_per_epoch=2, verbose=0)


def validate(model, validation):
    model.fit(X, Y, validation_data=validation, verbose=0)


class Sequence(keras.utils.PyDataset):
    def __init__(self, *batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


class Needing(LossBalancer):
    needs = frozenset({"losses", "teacher"})


class Hindsight(GradientBalancer):
    needs = frozenset({"gramian", "second_forward"})


class OfNoKind(Balancer):
    pass


class Unregistered(LossBalancer):
    def _objective(self, losses, present):
        return keras.ops.sum(losses)


class Files:
    """Saved models and weights, and what may befall them."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.model = folder / "model.keras"
        made("model")[0].save(self.model)
        self.weights = self._weights("weights", hard_sharing())
        others = [BinaryClassification("c"), Regression("d")]
        self.of_others = self._weights("others", compiled(hard_sharing(others)))
        self.of_pcgrad = self._weights("pcgrad", compiled(hard_sharing(), "pcgrad"))
        self.of_smaller = self._weights("smaller", compiled(hard_sharing(shared_units=(3,))))
        self.of_shorter = self._weights("shorter", compiled(hard_sharing(shared_units=())))
        self.truncated = folder / "truncated.keras"
        self.truncated.write_bytes(self.model.read_bytes()[:2000])
        self.truncated_weights = folder / "truncated.weights.h5"
        self.truncated_weights.write_bytes(self.weights.read_bytes()[:2000])

    def _weights(self, name, model):
        path = self.folder / f"{name}.weights.h5"
        model.save_weights(path)
        return path

    def edited(self, edit=lambda config: None, without=None):
        """The saved model with another config, or without one of its parts."""
        path = self.folder / "edited.keras"
        with zipfile.ZipFile(self.model) as old, zipfile.ZipFile(path, "w") as new:
            for name in set(old.namelist()) - {without}:
                content = old.read(name)
                if name == "config.json":
                    config = json.loads(content)
                    edit(config)
                    content = json.dumps(config)
                new.writestr(name, content)
        return keras.saving.load_model(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("files"))


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def config_of(model, **changed):
    return {**model.get_config(), **changed}


# -- the table ----------------------------------------------------------------------------------

IDENTIFIER = (
    "`name` of a task should be an identifier: ASCII letters, digits and underscores, a letter "
    "first. Received: name="
)
TAKEN = (
    "`name` of a task should not be one of ['loss', 'serve', 'serving_default'] and not start with "
    "'val_', which have a meaning of their own in logs and signatures. Received: name="
)
NO_IDENTIFIERS = ["", "two words", "1st", "_a", "a-b", "é", "a/b", "a\n", None, 3, True, ("a",)]
NAMES = [
    *(Case(f"task {n!r}", lambda n=n: Regression(n), f"{IDENTIFIER}{n!r}") for n in NO_IDENTIFIERS),
    *(
        Case(f"task {n!r}", lambda n=n: Regression(n), f"{TAKEN}{n!r}")
        for n in ["loss", "serve", "serving_default", "val_a"]
    ),
    *(
        Case(
            f"output {n!r}",
            lambda n=n: MultiTaskModel(inputs(), {n: dense(1)(inputs())}),
            f"{text}{n!r}",
        )
        for n, text in [("a-b", IDENTIFIER), (1, IDENTIFIER), ("val_a", TAKEN), ("loss", TAKEN)]
    ),
    Case(
        "a task's kind",
        lambda: Classification("a/b", 3),
        f"{IDENTIFIER}'a/b'",
    ),
    Case(
        "of an implied task",
        lambda: from_loss("two words", "mse", (1,)),
        f"{IDENTIFIER}'two words'",
    ),
    Case(
        "one that an input has too",
        lambda: HardSharing(inputs(name="a"), tasks(), shared_units=(3,)),
        "An input and a task should not share a name. Received: an input and a task named 'a'",
    ),
    *(
        Case(
            f"one that a layer of {kind} has too",
            draw,
            "`name` of a task should be one that no other layer of the model has. "
            f"Received: a task and another layer named {name!r}",
        )
        for kind, name, draw in [
            ("MMoE", "experts", lambda: MMoE(inputs(), [Regression("experts")])),
            (
                "HardSharing",
                "a_tower_0",
                lambda: HardSharing(
                    inputs(), [Regression("a"), Regression("a_tower_0")], tower_units=(3,)
                ),
            ),
            (
                "CrossModalFusion",
                "fused",
                lambda: CrossModalFusion({"m": inputs(name="m")}, [Regression("fused")]),
            ),
        ]
    ),
    Case(
        "keys that two tasks share",
        lambda: hard_sharing([BinaryClassification("a"), Regression("a_auc")]),
        "The tasks `a` and `a_auc` should not share a log key or a served key. "
        "Received: both have ['a_auc']",
    ),
    Case(
        "a task that there is not: single_task",
        lambda model: model.single_task("nope"),
        "`name` should be one of the tasks ['a', 'b']. Received: name='nope'",
    ),
    Case(
        "a task that there is not: task_variables",
        lambda mixture: mixture.task_variables("nope"),
        "`name` should be one of the tasks ['a', 'b']. Received: name='nope'",
    ),
    Case(
        "a task that there is not: switch_tasks",
        lambda model: model.switch_tasks(nope=True),
        "`name` should be one of the tasks ['a', 'b']. Received: name='nope'",
    ),
    Case(
        "a task switched by a string",
        lambda model: model.switch_tasks(a="off"),
        "Task `a` should be switched by a bool. Received: a='off'",
    ),
]

ARE_TASKS = [
    (
        "twice the same name",
        [Regression("a"), Regression("a")],
        "`tasks` should have different names. Received: 'a' twice in tasks=[<Regression name=a>,",
    ),
    ("none", [], "`tasks` should be a non-empty list of tasks. Received: tasks=[]"),
    ("a string", "ab", "`tasks` should be a non-empty list of tasks. Received: tasks='ab'"),
    (
        "a dict",
        {"a": Regression("a")},
        "`tasks` should be a non-empty list of tasks. Received: tasks={'a': <Regression name=a>}",
    ),
    (
        "a single task",
        Regression("a"),
        "`tasks` should be a non-empty list of tasks. Received: tasks=<Regression name=a>",
    ),
    ("names", ["a"], "`tasks` should hold tasks only. Received: 'a' in tasks=['a']"),
    (
        "classes",
        [Regression],
        "`tasks` should hold tasks only. Received: <class 'mtlzoo.tasks.regression.Regression'>",
    ),
]
TASKS = [
    *(
        Case(f"{name}: {builder.__name__}", lambda b=builder, t=given: b(inputs(), t), text)
        for name, given, text in ARE_TASKS
        for builder in (HardSharing, MMoE)
    ),
    *(
        Case(f"{name}: MultiTaskModel", lambda t=given: MultiTaskModel(*graph(), tasks=t), text)
        for name, given, text in ARE_TASKS
    ),
    Case("by_name(None)", lambda: by_name(None), "a non-empty list of tasks. Received: tasks=None"),
    *(
        Case(
            f"dim={dim!r}",
            lambda dim=dim: Regression("d", dim),
            f"`dim` of task `d` should be an integer of at least 1. Received: dim={dim!r}",
        )
        for dim in (0, -1, True, 2.0, "2", None)
    ),
    *(
        Case(
            f"num_classes={count!r}",
            lambda count=count: Classification("k", count),
            "`num_classes` of task `k` should be an integer of at least 2. "
            f"Received: num_classes={count!r}",
        )
        for count in (1, True, 3.0, None)
    ),
    Case(
        "num_labels=0",
        lambda: MultiLabelClassification("m", 0),
        "`num_labels` of task `m` should be an integer of at least 1. Received: num_labels=0",
    ),
    *(
        Case(
            f"missing={missing!r}",
            lambda missing=missing: Regression("d", missing=missing),
            f"`missing` of task `d` should be a number. Received: missing={missing!r}",
        )
        for missing in (True, "no", None)
    ),
    Case(
        "a missing value that is a label",
        lambda: BinaryClassification("a", missing=0),
        "`missing` of task `a` should not be a label. Received: missing=0",
    ),
    Case(
        "a missing value that is a class",
        lambda: Classification("k", 3, missing=2),
        "`missing` of task `k` should not be a label. Received: missing=2",
    ),
    Case(
        "a missing class that is no whole number",
        lambda: Classification("k", 3, missing=-0.5),
        "`missing` of task `k` should be a whole number or NaN. Received: missing=-0.5",
    ),
    Case(
        "a missing class that is infinite",
        lambda: Classification("k", 3, missing=float("inf")),
        "`missing` of task `k` should be a whole number or NaN. Received: missing=inf",
    ),
    *(
        Case(
            f"from_logits={value!r}",
            lambda value=value: BinaryClassification("a", from_logits=value),
            f"`from_logits` of task `a` should be a bool. Received: from_logits={value!r}",
        )
        for value in ("no", 1)
    ),
    *(
        Case(
            f"loss={loss!r}",
            lambda loss=loss: Regression("d", loss=loss),
            "The loss of task `d` should be a Keras loss, the name of one, or a function "
            f"`fn(y_true, y_pred)`. Received: loss={loss!r}",
        )
        for loss in ("hnge", 3, ["mse"])
    ),
    Case(
        "a loss that sums",
        lambda: Regression("d", loss=keras.losses.MeanSquaredError(reduction="sum")),
        "The loss of task `d` should not have the reduction 'sum': it is divided by the number of "
        "present labels in the global batch. Received: MeanSquaredError with reduction='sum'",
    ),
    Case(
        "a loss of probabilities for logits",
        lambda: BinaryClassification("a", loss=keras.losses.BinaryCrossentropy()),
        "The loss of task `a` should have `from_logits=True`, as the task's outputs are logits. "
        "Received: BinaryCrossentropy with from_logits=False",
    ),
    Case(
        "metrics that are no list",
        lambda: Regression("d", metrics="mae"),
        "`metrics` of task `d` should be a list. Received: metrics='mae'",
    ),
    Case(
        "a metric of probabilities for logits",
        lambda: BinaryClassification("a", metrics=[keras.metrics.Recall()]).metrics(),
        "The metrics of task `a` should read logits, the task's raw outputs; those of "
        "`mtlzoo.metrics` have `from_logits` for it. Received: Recall 'recall",
    ),
    Case(
        "a generic task without a loss",
        lambda: Task("t", output_shape=(1,)),
        "The generic task `t` should have a `loss` and an `output_shape`. Received: loss=None, "
        "output_shape=(1,)",
    ),
    *(
        Case(
            f"output_shape={shape!r}",
            lambda shape=shape: Task("t", loss="mse", output_shape=shape),
            "`output_shape` of task `t` should be a tuple of positive integers or None. "
            f"Received: output_shape={shape!r}",
        )
        for shape in (3, (0,), "ab", (True,), (2.0,))
    ),
    Case(
        "label_shape=3",
        lambda: Task("t", loss="mse", output_shape=(3,), label_shape=3),
        "`label_shape` of task `t` should be a tuple of positive integers or None. "
        "Received: label_shape=3",
    ),
    Case(
        "an implied task of no shape",
        lambda: from_loss("t", "mse", 3),
        "`output_shape` of task `t` should be a tuple of positive integers or None. "
        "Received: output_shape=3",
    ),
    Case(
        "an unknown argument",
        lambda: Regression("d", dims=2),
        "got an unexpected keyword argument 'dims'",
        TypeError,
    ),
    Case(
        "the head of no tensor",
        lambda: Regression("d").head(None),
        "The features of task `d` should be one tensor of shape (None, F), (None, S, F), "
        "(None, H, W, F) or (None, D, H, W, F). Received: features=None",
    ),
    Case(
        "the head of pictures",
        lambda: Regression("d").head(inputs(3, 4, 5, 6, 7)),
        "The features of task `d` should have shape (None, F), (None, S, F), (None, H, W, F) or "
        "(None, D, H, W, F). Received: shape=(None, 3, 4, 5, 6, 7)",
    ),
    Case(
        "the head of a generic task",
        lambda: Task("t", loss="mse", output_shape=(1,)).head(inputs()),
        "Task `t` should be of a kind that has a head, or be given a finished output. "
        "Received: a task of type Task",
    ),
]

NO_DICT = (
    "`outputs` should be a dict of tensors by task name, also for one task; of a model "
    "that is there, `MultiTaskModel(model.inputs, dict(zip(names, model.outputs)))`. "
    "Received: outputs="
)
OUTPUTS = [
    *(
        Case(
            f"no dict: {name}",
            lambda make=make: MultiTaskModel(graph()[0], make(graph()[1]), tasks=tasks()),
            f"{NO_DICT}{shown}",
        )
        for name, make, shown in [
            ("a list", lambda o: list(o.values()), "[<KerasTensor shape=(None, 1)"),
            ("a tensor", lambda o: o["a"], "<KerasTensor shape=(None, 1)"),
            ("empty", lambda o: {}, "{}"),
            ("None", lambda o: None, "None"),
        ]
    ),
    Case(
        "a number",
        lambda: MultiTaskModel(inputs(), {"a": 1}),
        "The output of task `a` should be a tensor of a functional graph. Received: 1",
    ),
    Case(
        "an output without a task",
        lambda: MultiTaskModel(*graph(), tasks=[Regression("a")]),
        "`outputs` should be one for each of the tasks ['a']. "
        "Received: an output without a task, 'b'",
    ),
    Case(
        "a task without an output",
        lambda: MultiTaskModel(*graph(), tasks=[*tasks(), Regression("c")]),
        "`tasks` should have one output each. Received: a task without an output, 'c'; the outputs "
        "are ['a', 'b']",
    ),
    Case(
        "a wrong shape",
        lambda: MultiTaskModel(*graph(), tasks=[Regression("a"), Classification("b", 5)]),
        "The output of task `b` should have shape (None, 5). Received: shape=(None, 1)",
    ),
    Case(
        "of other inputs",
        lambda: MultiTaskModel(inputs(name="z"), graph()[1], tasks=tasks()),
        "Output with path `a` is not connected to `inputs`",
    ),
    Case(
        "no inputs",
        lambda: MultiTaskModel(None, graph()[1], tasks=tasks()),
        "All `inputs` values must be KerasTensors. Received: inputs=None",
    ),
    Case(
        "a preprocessor that is no model",
        lambda: MultiTaskModel(*graph(), tasks=tasks(), preprocessor="own"),
        "`preprocessor` should be a Keras model or None. Received: preprocessor='own'",
    ),
    Case(
        "an unknown argument",
        lambda: MultiTaskModel(*graph(), tasks=tasks(), taks=tasks()),
        "got an unexpected keyword argument 'taks'",
        TypeError,
    ),
]

INPUTS_ONLY = (
    "`inputs` should be `keras.Input`s; what is learned before the tasks part is `backbone`. "
    "Received: "
)
VECTORS = "`inputs` should be vectors of floats where there is no `backbone`. Received: input "
RATE = "`dropout` should be a number from 0 to below 1. Received: dropout="
WIDTHS = [
    (HardSharing, "shared_units"),
    (HardSharing, "tower_units"),
    (MMoE, "expert_units"),
    (MMoE, "tower_units"),
]
ARCHITECTURES = [
    *(
        Case(
            f"{builder.__name__}({argument}={units!r})",
            lambda b=builder, a=argument, u=units: b(inputs(), tasks(), **{a: u}),
            f"`{argument}` should be a tuple of positive integers. Received: {argument}={units!r}",
        )
        for builder, argument in WIDTHS
        for units in (3, (0,), (2.5,), ("3",), None, (3, -1), (True,))
        if (argument, units) != ("expert_units", None)  # its default, beside `expert_network`
    ),
    *(
        Case(f"{builder.__name__}: {name}", lambda b=builder, do=do: do(b), text)
        for builder in (HardSharing, MMoE)
        for name, do, text in [
            (
                "learned inputs",
                lambda b: b(dense(3)(inputs()), tasks()),
                f"{INPUTS_ONLY}<KerasTensor shape=(None, 3)",
            ),
            ("an array", lambda b: b(np.zeros((1, 2)), tasks()), f"{INPUTS_ONLY}array([[0., 0.]])"),
            ("None", lambda b: b(None, tasks()), f"{INPUTS_ONLY}None"),
            (
                "no inputs",
                lambda b: b([], tasks()),
                "`inputs` should be `keras.Input`s. Received: inputs=[]",
            ),
            (
                "pictures",
                lambda b: b(inputs(4, 3), tasks()),
                f"{VECTORS}`x` of shape (None, 4, 3) and dtype float32",
            ),
            (
                "ids",
                lambda b: b(inputs(dtype="int32"), tasks()),
                f"{VECTORS}`x` of shape (None, 4) and dtype int32",
            ),
            (
                "a backbone's name",
                lambda b: b(inputs(), tasks(), backbone="resnet"),
                "`backbone` should be a Keras model, a layer or a function, or None. "
                "Received: backbone='resnet'",
            ),
            (
                "a backbone that returns None",
                lambda b: b(inputs(), tasks(), backbone=lambda x: None),
                "`backbone` should return one tensor of features. Received: None",
            ),
            (
                "a backbone that returns two",
                lambda b: b(inputs(), tasks(), backbone=lambda x: [x, x]),
                "`backbone` should return one tensor of features. Received: [<KerasTensor",
            ),
            *(
                (f"dropout={rate!r}", lambda b, r=rate: b(inputs(), tasks(), dropout=r), text)
                for rate, text in [(r, f"{RATE}{r!r}") for r in (1, -0.1, True, "much", None)]
            ),
            *(
                (
                    f"dtype={dtype!r}",
                    lambda b, d=dtype: b(inputs(), tasks(), dtype=d),
                    "`dtype` should be a Keras dtype policy or the name of one. "
                    f"Received: dtype={dtype!r}",
                )
                for dtype in ("float99", 3)
            ),
            (
                "activation='rleu'",
                lambda b: b(inputs(), tasks(), tower_units=(2,), activation="rleu"),
                "Could not interpret activation function identifier: rleu",
            ),
        ]
    ),
    Case(
        "features that are no vectors",
        lambda: HardSharing(inputs(2, 2, 2, 2, 3), tasks(), backbone=lambda x: x),
        "The features of task `a` should have shape (None, F), (None, S, F), (None, H, W, F) or "
        "(None, D, H, W, F). Received: shape=(None, 2, 2, 2, 2, 3)",
    ),
    *(
        Case(
            f"num_experts={count!r}",
            lambda count=count: MMoE(inputs(), tasks(), num_experts=count),
            f"`num_experts` should be a positive integer. Received: num_experts={count!r}",
        )
        for count in (0, 2.5, True)
    ),
    Case(
        "no expert units",
        lambda: MMoE(inputs(), tasks(), expert_units=()),
        "`units` should have at least one layer. Received: units=()",
    ),
    Case(
        "an unknown argument",
        lambda: HardSharing(inputs(), tasks(), units=(3,)),
        "got an unexpected keyword argument 'units'",
        TypeError,
    ),
    Case(
        "gate weights of narrow rows",
        lambda mixture: mixture.gate_weights(X[:, :3]),
        "expected shape=(None, 4), found shape=(8, 3)",
    ),
]

LOSS_WEIGHT = (
    "The loss weight of task `a` should be a number that is not negative. Received: {!r}".format
)
COMPILE = [
    *(
        Case(
            ", ".join(f"{key}={value!r}" for key, value in arguments.items())[:60],
            lambda again, arguments=arguments: again_compiled(again, **arguments),
            text,
        )
        for arguments, text in [
            (
                {"balancer": "pcgrda"},
                f"`balancer` should be one of {balancing.names()}. Did you mean 'pcgrad'? "
                "Received: `balancer='pcgrda'`",
            ),
            ({"balancer": "xyz"}, "'upgrad']. Received: `balancer='xyz'`"),
            (
                {"balancer": 3},
                "`balancer` should be a name, a `Balancer`, its class or its serialized form. "
                "Received: `balancer=3`",
            ),
            ({"balancer": None}, "or its serialized form. Received: `balancer=None`"),
            ({"balancer": True}, "or its serialized form. Received: `balancer=True`"),
            ({"balancer": {"a": 1}}, "or its serialized form. Received: `balancer={'a': 1}`"),
            (
                {"balancer": Needing()},
                "`balancer` should need only what the training step provides, ['gramian', "
                "'holdout', 'jacobian', 'losses', 'n_batches', 'second_forward']. Received: "
                "Needing(), which needs ['teacher']",
            ),
            (
                {"balancer": Combined(AutoLambda(), MoDo())},
                "`balancer` should take a batch apart in one way: to hold rows out, or to compare ",
            ),
            (
                {"balancer": WarmUp("equal", TaskPrioritization({"a": "precision"}))},
                "`metrics` should name a metric of the task `a` that is logged, one of ",
            ),
            (
                {"balancer": Hindsight()},
                "`balancer` should weigh losses to need a second forward pass or held-out rows. "
                "Received: Hindsight(wrt='parameters', every=1), which does not",
            ),
            (
                {"balancer": GradDrop(leak={"a": 0.5})},
                "`leak` should have one entry for each of the tasks ['a', 'b']. "
                "Received: `leak={'a': 0.5}`",
            ),
            *(
                ({"loss_weights": {"a": weight}}, LOSS_WEIGHT(weight))
                for weight in (-1, float("nan"), float("inf"), "1", True, None, [1.0, 2.0])
            ),
            (
                {"loss_weights": {"c": 1.0}},
                "`loss_weights` should have only the tasks ['a', 'b'] as keys. Received: 'c'",
            ),
            (
                {"loss_weights": [1, 2]},
                "`loss_weights` should be a dict by task name. Received: loss_weights=[1, 2]",
            ),
            (
                {"loss": {"c": "mse"}},
                "`loss` should have only the tasks ['a', 'b'] as keys. Received: 'c'",
            ),
            ({"loss": "mse"}, "`loss` should be a dict by task name. Received: loss='mse'"),
            (
                {"loss": {"a": "hnge"}},
                "The loss of task `a` should be a Keras loss, the name of one, or a function "
                "`fn(y_true, y_pred)`. Received: loss='hnge'",
            ),
            (
                {"metrics": {"c": []}},
                "`metrics` should have only the tasks ['a', 'b'] as keys. Received: 'c'",
            ),
            ({"metrics": ["auc"]}, "`metrics` should be a dict by task name. Received: metrics=["),
            (
                {"metrics": {"b": ["nonsense"]}},
                "The metrics of task `b` should be Keras metrics, functions, or names of either. "
                "Received: 'nonsense'",
            ),
            (
                {"metrics": {"b": ["mae", "mae"]}},
                "The metrics of task `b` should have different names, none of them 'loss'. "
                "Received: 'mae' twice",
            ),
            (
                {"weighted_metrics": {"b": [keras.metrics.MeanSquaredError("loss")]}},
                "The metrics of task `b` should have different names, none of them 'loss'. "
                "Received: 'loss' twice",
            ),
            (
                {"weighted_metrics": {"c": []}},
                "`weighted_metrics` should have only the tasks ['a', 'b'] as keys. Received: 'c'",
            ),
            ({"guard": "some"}, "`guard` should be None or 'all'. Received: guard='some'"),
            ({"guard": True}, "`guard` should be None or 'all'. Received: guard=True"),
            *(
                (
                    {"optimizer": optimizer},
                    "`optimizer` should be a Keras optimizer or its name. "
                    f"Received: optimizer={optimizer!r}",
                )
                for optimizer in (3, keras.optimizers.Adam)
            ),
            ({"optimizer": "admm"}, "Could not interpret optimizer identifier: admm"),
            (
                {"optimizer": "adafactor"},
                "`optimizer` should make its variables from those of the model, so that an absent "
                "task's can rest. Received: Adafactor, whose variable",
            ),
            *(
                (
                    {"steps_per_execution": steps},
                    "`steps_per_execution` should be an integer of at least 1. "
                    f"Received: steps_per_execution={steps!r}",
                )
                for steps in (0, -1, 2.5, True, "2")
            ),
            (
                {"jit_compile": "yes"},
                "`jit_compile` should be one of [True, False, 'auto']. Received: jit_compile='yes'",
            ),
            (
                {"run_eagerly": "no"},
                "`run_eagerly` should be one of [True, False]. Received: run_eagerly='no'",
            ),
            (
                {"auto_scale_loss": 1},
                "`auto_scale_loss` should be one of [True, False]. Received: auto_scale_loss=1",
            ),
        ]
    ),
    Case(
        "no optimizer",
        lambda again: again.compile(None),
        "`optimizer` should be a Keras optimizer or its name. Received: optimizer=None",
    ),
    Case(
        "an unknown argument",
        lambda again: again_compiled(again, learning_rate=0.1),
        "got an unexpected keyword argument 'learning_rate'",
        TypeError,
    ),
    Case(
        "a balancer's class that is not registered",
        lambda again: again_compiled(
            again, balancer=keras.saving.serialize_keras_object(Unregistered())
        ),
        "Could not locate class 'Unregistered'. Make sure custom classes and functions are "
        "decorated with `@keras.saving.register_keras_serializable()`",
        TypeError,
    ),
    Case(
        "a balancer of no kind",
        lambda untrained: trained(compiled(untrained, OfNoKind())),
        "`balancer` should be a",
    ),
    Case(
        "a balancer without its mathematics",
        lambda untrained: trained(compiled(untrained, LossBalancer)),
        "LossBalancer should define `_objective`.",
        NotImplementedError,
    ),
    Case(
        "a balancer of gradients where nothing is shared",
        lambda: compiled(hard_sharing(shared_units=()), "pcgrad"),
        "`balancer` should be one that weighs losses, since this model has no trainable variable "
        "that two tasks share. Received: PCGrad(seed=0, wrt='parameters', every=1)",
    ),
    Case(
        "a loss without rows",
        lambda untrained: trained(
            compiled(untrained, loss={"b": lambda true, pred: keras.ops.mean(pred)})
        ),
        "The loss of task `b` should give one value for each row. Received: values of shape ()",
    ),
    *(
        Case(
            f"a model without tasks, loss={loss!r}",
            lambda loss=loss: MultiTaskModel(*graph()).compile("sgd", loss=loss),
            "`loss` should be a dict with one loss for each output ['a', 'b'], since the model was "
            f"made without tasks. Received: loss={loss!r}",
        )
        for loss in (None, "mse", {"a": "mse"}, {"a": "mse", "b": "mse", "c": "mse"})
    ),
    Case(
        "an optimizer that another model has built",
        lambda untrained: compiled(untrained, "equal", made("model")[0].optimizer),
        "`optimizer` should be a new optimizer, since it was built for other variables. Received:",
    ),
    *(
        Case(f"not compiled: {name}", do, text)
        for name, do, text in [
            ("fit", lambda untrained: untrained.fit(X, Y), "You must call `compile()` before"),
            ("evaluate", lambda untrained: untrained.evaluate(X, Y), "You must call `compile()`"),
            (
                "task_weights",
                lambda untrained: untrained.task_weights,
                "The model should be compiled first, by `model.compile(...)`.",
            ),
            (
                "switch_tasks",
                lambda untrained: untrained.switch_tasks(a=False),
                "The model should be compiled first, by `model.compile(...)`.",
            ),
        ]
    ),
]

FIT = [
    Case(
        "nothing",
        lambda model: model.fit(),
        "`x` should be inputs, or batches with labels. Received: x=None",
    ),
    Case(
        "class_weight",
        lambda model: model.fit(X, Y, class_weight={0: 1.0, 1: 2.0}, verbose=0),
        "`class_weight` is only supported for Models with a single output.",
    ),
    Case(
        "callbacks",
        lambda model: model.fit(X, Y, callbacks=["early_stopping"], verbose=0),
        "`callbacks` should hold Keras callbacks only. Received: 'early_stopping'",
    ),
    Case(
        "an unknown argument",
        lambda model: model.fit(X, Y, epoch=1),
        "got an unexpected keyword argument 'epoch'",
        TypeError,
    ),
    Case(
        "narrow inputs",
        lambda mixture: mixture.fit(X[:, :3], Y, verbose=0),
        "expected shape=(None, 4), found shape=(8, 3)",
    ),
    Case(
        "fewer inputs than labels",
        lambda model: model.fit(X[:5], Y, verbose=0),
        "Data cardinality is ambiguous. Make sure all arrays contain the same number of samples."
        "'x' sizes: 5\n'y' sizes: 8, 8",
    ),
    Case(
        "inputs of another name",
        lambda model: model.fit({"z": X}, Y, verbose=0),
        """Missing data for input "x". You passed a data dictionary with keys ['z'].""",
    ),
    Case(
        "a data set and labels",
        lambda model: model.fit(batches(X, Y), Y, verbose=0),
        "When providing `x` as a tf.data.Dataset, `y` should not be passed.",
    ),
    Case(
        "a data set of four",
        lambda model: stream(model, X, Y, ONES, X),
        "Data is expected to be in format `x`, `(x,)`, `(x, y)`, or `(x, y, sample_weight)`",
    ),
]

UNNAMED = (
    "Labels should be a dict by task name, since only names tell which labels belong to which of "
    "the tasks ['a', 'b']. Received: labels of type "
)
ONLY = (
    "should have only the tasks ['a', 'b'] as keys; "
    "`mtlzoo.data.labels_of(dataset, model.task_names)` leaves others out. Received: 'c'"
)
UNKNOWN = f"Labels {ONLY}"
ARRAY = "Labels of task `b` should be an array or a tensor. Received: labels of type "
ILLEGAL = "Labels of task `{}` should be legal labels of <{}> or its missing value {}. Received: a "
OF_A = ILLEGAL.format("a", "BinaryClassification name=a", -1)
OF_B = ILLEGAL.format("b", "Regression name=b", "nan")
OF_KIND = ILLEGAL.format("kind", "Classification name=kind", -1)
OF_MANY = ILLEGAL.format("many", "MultiLabelClassification name=many", -1)
LABELS = [
    Case("a list", lambda model: fit(model, list(Y.values())), f"{UNNAMED}list"),
    Case("a tuple", lambda model: fit(model, tuple(Y.values())), f"{UNNAMED}tuple"),
    Case("an array", lambda mixture: fit(mixture, ONES), f"{UNNAMED}ndarray"),
    Case("none", lambda model: fit(model, None), f"{UNNAMED}NoneType"),
    Case(
        "of no task",
        lambda model: fit(model, {}),
        "Labels should be there for one of the tasks ['a', 'b'] at least. Received: an empty dict",
    ),
    Case("of an unknown task", lambda model: fit(model, {**Y, "c": ONES}), UNKNOWN),
    Case(
        "two columns",
        lambda model: fit(model, {**Y, "b": np.ones((ROWS, 2))}),
        "Labels of task `b` should have shape (None,). Received: shape=(8, 2)",
    ),
    Case(
        "three axes",
        lambda mixture: fit(mixture, {**Y, "a": np.ones((ROWS, 1, 1))}),
        "Labels of task `a` should have shape (None,). Received: shape=(8, 1, 1)",
    ),
    Case(
        "one-hot classes",
        lambda others: fit(others, {**KINDS, "kind": ONE_HOT}),
        "Labels of task `kind` should have shape (None,), or (None, 3) with the probabilities of "
        "the classes as float. Received: shape=(8, 3), dtype=int",
    ),
    Case(
        "one column of three",
        lambda others: fit(others, {**KINDS, "many": ONES}),
        "Labels of task `many` should have shape (None, 3). Received: shape=(8,)",
    ),
    Case("a number", lambda model: fit(model, {**Y, "b": 3.0}), f"{ARRAY}float"),
    Case("no array", lambda model: fit(model, {**Y, "b": "labels"}), f"{ARRAY}str"),
    Case("None", lambda model: fit(model, {**Y, "b": None}), f"{ARRAY}NoneType"),
    Case(
        "lists of different lengths",
        lambda model: fit(model, {**Y, "b": [[1.0], [1.0, 2.0]] * 4}),
        "Labels of task `b` should be an array. Received: a list of rows of different lengths",
    ),
    Case(
        "sparse",
        lambda model: fit(model, {**Y, "b": tf.sparse.from_dense(Y["b"])}),
        "Labels of task `b` should be dense. Received: labels of type SparseTensor",
    ),
    Case(
        "ragged",
        lambda model: fit(model, {**Y, "b": tf.ragged.constant([[1.0]] * ROWS)}),
        "Labels of task `b` should be dense. Received: labels of type RaggedTensor",
    ),
    Case(
        "fewer than rows",
        lambda model: fit(model, {**Y, "b": Y["b"][:5]}),
        "Data cardinality is ambiguous. Make sure all arrays contain the same number of samples."
        "'x' sizes: 8\n'y' sizes: 8, 5",
    ),
    Case(
        "binary 7",
        lambda model: fit(model, {**Y, "a": np.full(ROWS, 7)}),
        f"{OF_A}label of value 7. The model was not updated with this batch.",
    ),
    Case(
        "binary -2", lambda mixture: fit(mixture, {**Y, "a": ONES * -2}), f"{OF_A}label of value -2"
    ),
    Case(
        "binary NaN",
        lambda model: fit(model, {**Y, "a": ONES * np.nan}),
        f"{OF_A}label of value nan",
    ),
    Case(
        "real infinite",
        lambda model: fit(model, {**Y, "b": ONES * np.inf}),
        f"{OF_B}label of value inf",
    ),
    Case(
        "class 3 of 3",
        lambda others: fit(others, {**KINDS, "kind": np.full(ROWS, 3)}),
        f"{OF_KIND}label of value 3",
    ),
    Case(
        "class -5",
        lambda others: fit(others, {**KINDS, "kind": np.full(ROWS, -5)}),
        f"{OF_KIND}label of value -5",
    ),
    Case(
        "2 among several labels",
        lambda others: fit(others, {**KINDS, "many": np.full((ROWS, 3), 2)}),
        f"{OF_MANY}label of value 2",
    ),
    Case(
        "on a batch: an array",
        lambda model: model.train_on_batch(X, Y["a"]),
        f"{UNNAMED}ndarray",
    ),
    Case(
        "on a batch: of an unknown task",
        lambda model: model.train_on_batch(X, {"c": Y["a"]}),
        UNKNOWN,
    ),
    Case("data set: a tuple", lambda model: stream(model, X, tuple(Y.values())), f"{UNNAMED}tuple"),
    Case("data set: a tensor", lambda mixture: stream(mixture, X, Y["a"]), f"{UNNAMED}EagerTensor"),
    Case("data set: none", lambda model: stream(model, X), f"{UNNAMED}NoneType"),
    Case("data set: unknown", lambda model: stream(model, X, {**Y, "c": ONES}), UNKNOWN),
    Case(
        "data set: two columns",
        lambda model: stream(model, X, {**Y, "b": np.ones((ROWS, 2))}),
        "Labels of task `b` should have shape (None,). Received: shape=(4, 2)",
    ),
    Case(
        "data set: one-hot classes",
        lambda others: stream(others, X, {**KINDS, "kind": ONE_HOT}),
        "Labels of task `kind` should have shape (None,), or (None, 3) with the probabilities of "
        "the classes as float. Received: shape=(4, 3), dtype=int",
    ),
    Case(
        "data set: single rows",
        lambda model: model.fit(tf.data.Dataset.from_tensor_slices((X, Y)), verbose=0),
        "Labels of task `a` should have shape (None,). Received: shape=()",
    ),
    Case(
        "data set: binary 7",
        lambda model: stream(model, X, {**Y, "a": np.full(ROWS, 7)}),
        f"{OF_A}label of value 7",
    ),
    Case(
        "data set, traced: a tuple",
        lambda traced: stream(traced, X, tuple(Y.values())),
        f"{UNNAMED}tuple",
    ),
    Case("data set, traced: unknown", lambda traced: stream(traced, X, {**Y, "c": ONES}), UNKNOWN),
    Case(
        "data set, traced: two columns",
        lambda traced: stream(traced, X, {**Y, "b": np.ones((ROWS, 2))}),
        "Labels of task `b` should have shape (None,). Received: shape=(None, 2)",
    ),
    Case("generator: a list", lambda model: generate(model, [ONES]), f"{UNNAMED}list"),
    Case("generator: unknown", lambda model: generate(model, {**Y, "c": ONES}), UNKNOWN),
    Case(
        "generator: a list by task",
        lambda model: generate(model, {**Y, "b": [1.0] * ROWS}),
        f"{ARRAY}list",
    ),
    Case(
        "sequence: a tuple",
        lambda model: model.fit(Sequence(X, (ONES,)), verbose=0),
        f"{UNNAMED}tuple",
    ),
    Case(
        "validation: a tuple", lambda model: validate(model, (X, (ONES, ONES))), f"{UNNAMED}tuple"
    ),
    Case("validation: no labels", lambda model: validate(model, (X,)), f"{UNNAMED}NoneType"),
    Case("validation: inputs only", lambda model: validate(model, X), f"{UNNAMED}NoneType"),
    Case("validation: a dict", lambda model: validate(model, {"x": X}), f"{UNNAMED}NoneType"),
    Case(
        "validation: two columns",
        lambda model: validate(model, (X, {**Y, "b": np.ones((ROWS, 2))})),
        "Labels of task `b` should have shape (None,). Received: shape=(8, 2)",
    ),
    Case(
        "validation data set: unknown",
        lambda model: validate(model, batches(X, {**Y, "c": ONES})),
        UNKNOWN,
    ),
    Case(
        "validation data set: two columns",
        lambda model: validate(model, batches(X, {**Y, "b": np.ones((ROWS, 2))})),
        "Labels of task `b` should have shape (None,). Received: shape=(None, 2)",
    ),
    Case(
        "validation data set: none",
        lambda model: validate(model, batches(X)),
        f"{UNNAMED}NoneType",
    ),
]

CLASS_IDS = (
    "Labels of task `kind` should be class ids of an integer type (or, with "
    "`missing=float('nan')`, float). Received: dtype="
)
DTYPES = [
    *(
        Case(
            name,
            lambda model, values=values: fit(model, {**Y, "b": values}),
            f"Labels of task `b` should be numbers. Received: dtype={dtype}",
        )
        for name, values, dtype in [
            ("strings", np.array(["yes"] * ROWS), "str"),
            ("a list of strings", ["yes"] * ROWS, "str"),
            ("complex", np.ones(ROWS, "complex64"), "complex64"),
            ("objects", np.array([0, None] * 4, object), "object"),
            ("dates", np.array(["2020-01-01"] * ROWS, "datetime64[D]"), "datetime64[D]"),
        ]
    ),
    *(
        Case(
            f"class ids of {dtype}",
            lambda others, dtype=dtype: fit(others, {**KINDS, "kind": KINDS["kind"].astype(dtype)}),
            f"{CLASS_IDS}{dtype}",
        )
        for dtype in ("float32", "float64", "bool")
    ),
    Case(
        "data set: class ids of float64",
        lambda others: stream(others, X, {**KINDS, "kind": KINDS["kind"].astype("float64")}),
        f"{CLASS_IDS}float64",
    ),
    Case(
        "data set: strings",
        lambda model: stream(model, X, {**Y, "b": np.array(["yes"] * ROWS)}),
        "Labels of task `b` should be numbers. Received: dtype=string",
    ),
    Case(
        "validation data set: class ids of float32",
        lambda others: others.fit(X, KINDS, validation_data=batches(X, {"kind": ONES}), verbose=0),
        f"{CLASS_IDS}float32",
    ),
]

FINITE = "Sample weights of task `{}` should be finite and not negative. Received: a weight of {}"
NUMBERS = "Sample weights of task `a` should be an array or a tensor of numbers. Received: dtype="
NON_FINITE = (
    "The loss of task `a` is not finite (loss nan). Training has stopped and its gradients were "
    "not applied"
)
SAMPLE_WEIGHTS = [
    *(
        Case(name, lambda model, weights=weights: fit(model, Y, weights), text)
        for name, weights, text in [
            (
                "of an unknown task",
                {"c": ONES},
                f"Sample weights {ONLY}",
            ),
            (
                "a list",
                [ONES, ONES],
                "Sample weights should be a dict by task name, or one tensor for all tasks. "
                "Received: sample weights of type list",
            ),
            ("strings", {"a": np.array(["1"] * ROWS)}, f"{NUMBERS}str"),
            ("a name", "balanced", f"{NUMBERS}str"),
            ("a number", {"a": 1.0}, f"{NUMBERS}float"),
            ("one number for all", 2.0, f"{NUMBERS}float"),
            ("complex", {"a": ONES.astype("complex64")}, f"{NUMBERS}complex64"),
            ("objects", {"a": np.array([1, None] * 4, object)}, f"{NUMBERS}object"),
            (
                "lists of different lengths",
                {"a": [[1.0], [1.0, 2.0]] * 4},
                "Sample weights of task `a` should be an array. Received: a list of rows of "
                "different lengths",
            ),
            ("negative", {"b": np.array([1, 1, -0.5, 1] * 2)}, FINITE.format("b", -0.5)),
            ("negative, a list", {"b": [1.0] * 7 + [-2.0]}, FINITE.format("b", -2)),
            ("negative, a tensor", {"b": tf.constant([-3.0] * ROWS)}, FINITE.format("b", -3)),
            ("negative, for all tasks", -ONES, FINITE.format("a", -1)),
            ("NaN", {"a": np.array([1, np.nan] * 4)}, FINITE.format("a", "nan")),
            ("infinite", {"b": np.array([1, np.inf] * 4)}, FINITE.format("b", "inf")),
            (
                "fewer than rows",
                {"b": np.ones(5)},
                "Data cardinality is ambiguous. Make sure all arrays contain the same number of "
                "samples.'x' sizes: 8\n'y' sizes: 8, 8\n'sample_weight' sizes: 8, 5",
            ),
            (
                "two columns",
                {"a": np.ones((ROWS, 2))},
                "Sample weights of task `a` should have one number for each row, or the shape "
                "(4,) of its losses. Received: shape=(4, 2)",
            ),
        ]
    ),
    Case(
        "three columns",
        lambda mixture: fit(mixture, Y, {"b": np.ones((ROWS, 3))}),
        "Sample weights of task `b` should have one number for each row, or the shape (4,) of its "
        "losses. Received: shape=(4, 3)",
    ),
    Case(
        "validation: negative",
        lambda model: validate(model, (X, Y, {"b": -ONES})),
        FINITE.format("b", -1),
    ),
    Case(
        "validation data set: of an unknown task",
        lambda model: validate(model, batches(X, Y, {"c": ONES})),
        f"Sample weights {ONLY}",
    ),
    Case(
        "data set: of an unknown task",
        lambda model: stream(model, X, Y, {"c": ONES}),
        f"Sample weights {ONLY}",
    ),
    Case(
        "data set: a tuple",
        lambda model: stream(model, X, Y, (ONES, ONES)),
        "or one tensor for all tasks. Received: sample weights of type tuple",
    ),
    Case(
        "data set: strings",
        lambda model: stream(model, X, Y, {"a": np.array(["1"] * ROWS)}),
        f"{NUMBERS}string",
    ),
    *(
        Case(
            f"data set: {name}",
            lambda model, weight=weight: stream(model, X, Y, {"a": ONES * weight}),
            NON_FINITE,
            FloatingPointError,
        )
        for name, weight in [("negative", -1), ("NaN", np.nan), ("infinite", np.inf)]
    ),
    Case(
        "data set, traced: NaN",
        lambda traced: stream(traced, X, Y, {"a": ONES * np.nan}),
        NON_FINITE,
        FloatingPointError,
    ),
    Case(
        "generator: negative",
        lambda mixture: generate(mixture, Y, {"a": -ONES}),
        NON_FINITE,
        FloatingPointError,
    ),
    Case(
        "on a batch: negative",
        lambda mixture: mixture.train_on_batch(X, Y, {"a": -ONES}),
        NON_FINITE,
        FloatingPointError,
    ),
]

SQUARE = "`gramian` should have the shape (..., T, T), with T known and at least 1. Received: "


def built(balancer, names="ab"):
    balancer.build([Regression(name) for name in names])
    return balancer


BALANCERS = [
    *(
        Case(
            f"{kind.__name__}({argument}={value!r})",
            lambda k=kind, a=argument, v=value: k(**{a: v}),
            text,
        )
        for kind in (PCGrad, MGDA, GradDrop)
        for argument, value, text in [
            (
                "wrt",
                "layers",
                "`wrt` should be one of ['parameters', 'features']. Received: `wrt='layers'`",
            ),
            ("wrt", None, "['parameters', 'features']. Received: `wrt=None`"),
            ("every", 0, "Received: every=0"),
            ("every", True, "Received: every=True"),
            ("every", 1.0, "Received: every=1.0"),
            ("every", "2", "Received: every='2'"),
        ]
    ),
    Case(
        "every=-1",
        lambda: PCGrad(every=-1),
        "`every` should be a positive integer. Received: every=-1",
    ),
    Case(
        "GradDrop every second step",
        lambda: GradDrop(every=2),
        "`every` should be 1 for GradDrop, which combines gradients entry by entry: no weights to "
        "keep for the next step. Received: every=2",
    ),
    *(
        Case(
            f"{kind.__name__}(seed={seed!r})",
            lambda kind=kind, seed=seed: kind(seed=seed),
            f"`seed` should be an integer of at least 0. Received: `seed={seed!r}`",
        )
        for kind in (PCGrad, GradDrop)
        for seed in (-1, True, 1.5, None)
    ),
    *(
        Case(
            f"leak={leak!r}",
            lambda leak=leak: GradDrop(leak=leak),
            f"`leak` should be between 0 and 1. Received: `leak={leak!r}`",
        )
        for leak in (2, -0.1, True, float("nan"), "0.5", {"a": 2.0})
    ),
    *(
        Case(
            f"temperature={value!r}",
            lambda value=value: DWA(temperature=value),
            f"`temperature` should be a positive number. Received: `temperature={value!r}`",
        )
        for value in (0, -1.0, True, float("inf"), float("nan"), "2", None)
    ),
    Case(
        "an unknown argument",
        lambda: PCGrad(sed=1),
        "got an unexpected keyword argument 'sed'",
        TypeError,
    ),
    *(
        Case(f"weights of {name}", lambda gramian=gramian: PCGrad().weights(gramian), text)
        for name, gramian, text in [
            ("no square", np.ones((3, 4)), f"{SQUARE}`gramian.shape=(3, 4)`"),
            ("a vector", np.ones(3), f"{SQUARE}`gramian.shape=(3,)`"),
            ("no task", np.ones((0, 0)), f"{SQUARE}`gramian.shape=(0, 0)`"),
            (
                "integers",
                np.eye(3, dtype="int64"),
                "`gramian` should be float32 or float64. Received: `gramian.dtype=int64`",
            ),
            (
                "strings",
                [["a", "b"], ["c", "d"]],
                "`gramian` should be float32 or float64. Received: `gramian.dtype=string`",
            ),
            ("nothing", None, "`gramian` should be a square array. Received: `gramian=None`"),
            (
                "ragged rows",
                [[1.0, 2.0], [3.0]],
                "`gramian` should be a square array. Received: `gramian=[[1.0, 2.0], [3.0]]`",
            ),
        ]
    ),
    Case(
        "weights of more tasks than it has",
        lambda: built(MGDA()).weights(np.eye(3)),
        "`gramian` should have one row for each of the tasks ['a', 'b']. "
        "Received: `gramian.shape=(3, 3)`",
    ),
    Case(
        "weights of fewer tasks than the model's",
        lambda mixture: mixture.balancer.weights(np.eye(1)),
        "`gramian` should have one row for each of the tasks ['a', 'b']. "
        "Received: `gramian.shape=(1, 1)`",
    ),
    *(
        Case(
            f"present={present!r}",
            lambda present=present: MGDA().weights(np.eye(3), present=present),
            text,
        )
        for present, text in [
            (
                [True, False],
                "`present` should have 3 entries, one per task, in its last axis. "
                "Received: `present.shape=(2,)`",
            ),
            (True, "one per task, in its last axis. Received: `present.shape=()`"),
            (["y", "n", "n"], "`present` should be numbers. Received: `present=['y', 'n', 'n']`"),
        ]
    ),
    *(
        Case(
            f"losses={losses!r} beside a Gramian",
            lambda losses=losses: PCGrad().weights(np.eye(3), losses=losses),
            text,
        )
        for losses, text in [
            ([1.0], "`losses` should have 3 entries, one per task, in its last axis. Received: "),
            ("abc", "`losses` should be numbers. Received: `losses='abc'`"),
        ]
    ),
    *(
        Case(f"objective of {losses!r}", lambda losses=losses: Equal().objective(losses), text)
        for losses, text in [
            (
                [[1.0, 2.0]],
                "`losses` should have one axis, the tasks. Received: `losses.shape=(1, 2)`",
            ),
            (1.0, "`losses` should have one axis, the tasks. Received: `losses.shape=()`"),
            (["a", "b"], "`losses` should be numbers. Received: `losses=['a', 'b']`"),
            (None, "`losses` should be numbers. Received: `losses=None`"),
        ]
    ),
    Case(
        "objective of fewer tasks than the model's",
        lambda model: model.balancer.objective([1.0]),
        "`losses` should have 2 entries, one per task, in its last axis. "
        "Received: `losses.shape=(1,)`",
    ),
    Case(
        "objective with another number of tasks present",
        lambda: Equal().objective([1.0, 2.0, 3.0], [True, True]),
        "`present` should have 3 entries, one per task, in its last axis. "
        "Received: `present.shape=(2,)`",
    ),
    *(
        Case(
            f"{kind.__name__} before it is built",
            lambda kind=kind: kind().objective([1.0, 2.0]),
            f"`{kind.__name__}` should be built with its tasks before it is used.",
        )
        for kind in (DWA, Uncertainty)
    ),
    *(
        Case(f"combine {name}", lambda rows=rows: GradDrop().combine(rows), text)
        for name, rows, text in [
            (
                "an array",
                np.ones((1, 2)),
                "`jacobian` should be a list with a tensor (T, *shape) for each variable. "
                "Received: `jacobian=array([[1., 1.]])`",
            ),
            ("nothing", None, "a tensor (T, *shape) for each variable. Received: `jacobian=None`"),
            ("strings", ["ab"], "`jacobian` should be numbers. Received: `jacobian='ab'`"),
            ("a number", [1.0], "one per task, for each variable. Received: a tensor of shape ()"),
            (
                "other numbers of rows",
                [np.ones((3, 5)), np.ones((2, 5))],
                "`jacobian` should have 3 rows, one per task, for each variable. "
                "Received: a tensor of shape (2, 5)",
            ),
        ]
    ),
    Case(
        "combine with another number of tasks present",
        lambda: GradDrop().combine([np.ones((3, 5))], [True]),
        "`present` should have 3 entries, one per task, in its last axis. "
        "Received: `present.shape=(1,)`",
    ),
    Case(
        "a leak by task before it is built",
        lambda: GradDrop(leak={"a": 0.5}).combine([np.ones((1, 2))]),
        "`GradDrop` with a `leak` by task should be built before use.",
    ),
    *(
        Case(f"build {name}", lambda given=given: Equal().build(given), text)
        for name, given, text in [
            (
                "in another order",
                [Regression("b"), Regression("a")],
                "`tasks` should be a non-empty sequence in sorted order of unique names. "
                "Received: `tasks` named ['b', 'a']",
            ),
            ("for none", [], "in sorted order of unique names. Received: `tasks` named []"),
            ("for names", ["a"], "`tasks` should be a list of tasks. Received: `tasks=['a']`"),
            ("for a number", 3, "`tasks` should be a list of tasks. Received: `tasks=3`"),
        ]
    ),
    Case(
        "two variables of one name",
        lambda: built(Equal()).add_variable("step", (), "zeros"),
        "`name` should be new in this balancer. Received: `name='step'`",
    ),
    Case(
        "get(3)",
        lambda: balancing.get(3),
        "`balancer` should be a name, a `Balancer`, its class or its serialized form. "
        "Received: `balancer=3`",
    ),
    Case(
        "get(a layer)",
        lambda: balancing.get(keras.saving.serialize_keras_object(keras.layers.ReLU(name="r"))),
        "its class or its serialized form. Received: `balancer=<ReLU name=r",
    ),
]

FILES = [
    Case(
        "weights of other tasks",
        lambda model, files: model.load_weights(files.of_others),
        "The weights should be those of the tasks ['a', 'b']. "
        "Received: weights of the tasks ['c', 'd']",
    ),
    Case(
        "weights of another balancer",
        lambda model, files: model.load_weights(files.of_pcgrad),
        "The saved balancer state should have the variables ['log_variance', 'step', "
        "'task_weights'] of the balancer that the model was compiled with. Received: ['step', "
        "'task_weights']",
    ),
    Case(
        "weights of narrower layers",
        lambda model, files: model.load_weights(files.of_smaller),
        "The shape of the target variable and the shape of the target value in "
        "`variable.assign(value)` must match. variable.shape=(4, 6), Received: value.shape=(4, 3)",
    ),
    Case(
        "weights of fewer layers",
        lambda model, files: model.load_weights(files.of_shorter),
        "`variable.assign(value)` must match. variable.shape=(4, 6), Received: value.shape=(4, 1)",
    ),
    Case(
        "weights of hard sharing for a mixture",
        lambda mixture, files: mixture.load_weights(files.weights),
        "objects could not be loaded",
    ),
    Case(
        "other weights without a balancer",
        lambda untrained, files: untrained.load_weights(files.of_smaller),
        "`variable.assign(value)` must match. variable.shape=(4, 6), Received: value.shape=(4, 3)",
    ),
    Case(
        "truncated weights",
        lambda model, files: model.load_weights(files.truncated_weights),
        "Unable to synchronously open file (truncated file: eof = 2000",
        OSError,
    ),
    Case(
        "no weights there",
        lambda model, path: model.load_weights(path / "nope.weights.h5"),
        "nope.weights.h5', errno = 2, error message = 'No such file or directory'",
        FileNotFoundError,
    ),
    Case(
        "weights of another name",
        lambda model, path: model.save_weights(path / "weights.bin"),
        "The filename must end in `.weights.h5`. Received: filepath=",
    ),
    Case(
        "a truncated model",
        lambda files: keras.saving.load_model(files.truncated),
        "truncated.keras. Please ensure the file is an accessible `.keras` zip file.",
    ),
    Case(
        "no model there",
        lambda path: keras.saving.load_model(path / "nope.keras"),
        "nope.keras. Please ensure the file is an accessible `.keras` zip file.",
    ),
    Case(
        "a model in HDF5",
        lambda model, path: model.save(path / "model.h5"),
        "`filepath` should end in '.keras', or be given to `save_weights`: a model with tasks "
        "cannot be loaded from HDF5. Received: filepath='/",
    ),
    Case(
        "a model of another name",
        lambda model, path: model.save(path / "model.pb"),
        "Invalid filepath extension for saving.",
    ),
    Case(
        "without tasks",
        lambda files: files.edited(lambda c: c["config"].pop("tasks")),
        "The config of a `HardSharing` should have the key 'tasks'. Received: a config with the "
        "keys ['inputs', 'backbone',",
    ),
    Case(
        "without inputs",
        lambda files: files.edited(lambda c: c["config"].pop("inputs")),
        "The config of a `HardSharing` should have the key 'inputs'. Received: a config with",
    ),
    Case(
        "with an unknown argument",
        lambda files: files.edited(lambda c: c["config"].update(color="red")),
        "got an unexpected keyword argument 'color'",
        TypeError,
    ),
    Case(
        "of a class that there is not",
        lambda files: files.edited(lambda c: c.update(class_name="Nope", registered_name="Nope")),
        "Could not locate class 'Nope'. Make sure custom classes and functions are decorated with",
        TypeError,
    ),
    Case(
        "of a task without its loss",
        lambda files: files.edited(lambda c: c["config"]["tasks"][0]["config"].pop("loss")),
        "The config of task `a` should have the key 'loss'. Received: a config with the keys [",
    ),
    Case(
        "of a task of a class that there is not",
        lambda files: files.edited(
            lambda c: c["config"]["tasks"][0].update(class_name="Nope", registered_name="Nope")
        ),
        "Could not locate class 'Nope'. Make sure custom classes and functions are decorated with",
        TypeError,
    ),
    Case(
        "compiled with another balancer",
        lambda files: files.edited(lambda c: c["compile_config"].update(balancer="pcgrad")),
        "The saved balancer state should have the variables ['step', 'task_weights'] of the "
        "balancer that the model was compiled with. Received: ['log_variance', 'step', "
        "'task_weights']",
    ),
    Case(
        "compiled with an unknown argument",
        lambda files: files.edited(lambda c: c["compile_config"].update(color="red")),
        "got an unexpected keyword argument 'color'",
        TypeError,
    ),
    Case(
        "compiled without an optimizer",
        lambda files: files.edited(lambda c: c["compile_config"].pop("optimizer")),
        "The config of `compile` should have the key 'optimizer'. Received: a config with the keys "
        "['balancer',",
    ),
    Case(
        "without weights",
        lambda files: files.edited(without="model.weights.h5"),
        "Expected a model.weights.h5 or model.weights.npz file.",
    ),
    Case(
        "without a config",
        lambda files: files.edited(without="config.json"),
        "There is no item named 'config.json' in the archive",
        KeyError,
    ),
]

CONFIGS = [
    *(
        Case(name, do, text, error)
        for name, do, text, error in [
            (
                "unknown key, HardSharing",
                lambda model: HardSharing.from_config(config_of(model, color="red")),
                "got an unexpected keyword argument 'color'",
                TypeError,
            ),
            (
                "unknown key, MultiTaskModel",
                lambda plain: MultiTaskModel.from_config(config_of(plain, color="red")),
                "got an unexpected keyword argument 'color'",
                TypeError,
            ),
            (
                "unknown key, task",
                lambda: Regression.from_config(config_of(Regression("d"), color="red")),
                "got an unexpected keyword argument 'color'",
                TypeError,
            ),
            (
                "unknown key, balancer",
                lambda: PCGrad.from_config({"color": "red"}),
                "got an unexpected keyword argument 'color'",
                TypeError,
            ),
            (
                "unknown key, metric",
                lambda: AUC.from_config({"color": "red"}),
                "got an unexpected keyword argument 'color'",
                TypeError,
            ),
            (
                "unknown key, layer",
                lambda: Experts.from_config(config_of(Experts(2, (3,)), color="red")),
                "Unrecognized keyword arguments passed to Experts: {'color': 'red'}",
                TypeError,
            ),
            (
                "missing key, layer",
                lambda: Experts.from_config({"num_experts": 2}),
                "missing 1 required positional argument: 'units'",
                TypeError,
            ),
            (
                "a class that is not registered",
                lambda: keras.saving.deserialize_keras_object(
                    keras.saving.serialize_keras_object(Unregistered())
                ),
                "Could not locate class 'Unregistered'. Make sure custom classes and functions "
                "are decorated with",
                TypeError,
            ),
            (
                "compile: unknown key",
                lambda again: again.compile_from_config(
                    {**made("model")[0].get_compile_config(), "color": "red"}
                ),
                "got an unexpected keyword argument 'color'",
                TypeError,
            ),
        ]
    ),
    *(
        Case(name, do, text)
        for name, do, text in [
            (
                "missing key, tasks",
                lambda plain: MultiTaskModel.from_config(without(plain.get_config(), "tasks")),
                "The config of a `MultiTaskModel` should have the key 'tasks'. Received: a config "
                "with the keys ['name',",
            ),
            (
                "missing key, preprocessor",
                lambda plain: MultiTaskModel.from_config(
                    without(plain.get_config(), "preprocessor")
                ),
                "The config of a `MultiTaskModel` should have the key 'preprocessor'. Received: ",
            ),
            (
                "missing key, tasks of a mixture",
                lambda mixture: MMoE.from_config(without(mixture.get_config(), "tasks")),
                "The config of a `MMoE` should have the key 'tasks'. Received: a config with",
            ),
            (
                "missing key, a task's loss",
                lambda: Regression.from_config({"name": "d"}),
                "The config of task `d` should have the key 'loss'. Received: a config with the "
                "keys ['name']",
            ),
            (
                "missing key, a task's name",
                lambda: Regression.from_config({}),
                "The config of a `Regression` should have the key 'name'. Received: a config with "
                "the keys []",
            ),
            (
                "another model's",
                lambda plain: HardSharing.from_config(plain.get_config()),
                "The config of a `HardSharing` should have the key 'inputs'. Received: a config",
            ),
            (
                "None, model",
                lambda: HardSharing.from_config(None),
                "The config of a `HardSharing` should be a dict. Received: config=None",
            ),
            (
                "None, task",
                lambda: Regression.from_config(None),
                "The config of a `Regression` should be a dict. Received: config=None",
            ),
            (
                "a list",
                lambda: MultiTaskModel.from_config([1]),
                "The config of a `MultiTaskModel` should be a dict. Received: config=[1]",
            ),
            (
                "wrong type, tasks",
                lambda model: HardSharing.from_config(config_of(model, tasks=3)),
                "`tasks` should be a non-empty list of tasks. Received: tasks=3",
            ),
            (
                "wrong type, units",
                lambda model: HardSharing.from_config(config_of(model, shared_units="6")),
                "`shared_units` should be a tuple of positive integers. Received: shared_units='6'",
            ),
            (
                "wrong type, inputs",
                lambda model: HardSharing.from_config(config_of(model, inputs=3)),
                "`inputs` of a config should be a dict with one key, 'single', 'list' or 'dict'. "
                "Received: inputs=3",
            ),
            (
                "wrong key, inputs",
                lambda model: HardSharing.from_config(config_of(model, inputs={"singel": {}})),
                "with one key, 'single', 'list' or 'dict'. Received: inputs={'singel': {}}",
            ),
            (
                "wrong type, temperature",
                lambda: DWA.from_config({"temperature": "2"}),
                "`temperature` should be a positive number. Received: `temperature='2'`",
            ),
            (
                "compile: None",
                lambda again: again.compile_from_config(None),
                "The config of `compile` should be a dict. Received: config=None",
            ),
            (
                "compile: no balancer",
                lambda again: again.compile_from_config({"optimizer": "sgd"}),
                "The config of `compile` should have the key 'balancer'. Received: a config with "
                "the keys ['optimizer']",
            ),
        ]
    ),
]

EXPORT = [
    Case(
        "an unknown task",
        lambda model, path: model.export(path, tasks=["nope"]),
        "`tasks` should be some of the model's tasks ['a', 'b']. Received: 'nope' in "
        "tasks=['nope']",
    ),
    Case(
        "a task that is a list",
        lambda model, path: model.export(path, tasks=[["a"]]),
        "`tasks` should be some of the model's tasks ['a', 'b']. Received: ['a'] in tasks=[['a']]",
    ),
    *(
        Case(
            f"tasks={given!r}",
            lambda model, path, given=given: export.save(model, path, tasks=given),
            f"`tasks` should be a non-empty list of names. Received: tasks={given!r}",
        )
        for given in ("a", [], 3)
    ),
    Case(
        "a task twice",
        lambda mixture, path: mixture.export(path, tasks=["a", "a"]),
        "`tasks` should have different names. Received: tasks=['a', 'a']",
    ),
    Case(
        "to a folder that is not empty",
        lambda model, files: model.export(files.folder),
        "`path` should be a new or an empty directory. Received: path='/",
    ),
    Case(
        "to a file",
        lambda model, files: model.export(files.model),
        "`path` should be a new or an empty directory. Received: path='/",
    ),
    *(
        Case(
            f"path={path!r}",
            lambda model, path=path: export.save(model, path),
            f"`path` should be the path of a directory. Received: path={path!r}",
        )
        for path in (None, 3, "")
    ),
    Case(
        "an unknown format",
        lambda model, path: model.export(path, format="nope"),
        "Unrecognized format=nope. Supported formats are: ['tf_saved_model',",
    ),
    Case(
        "an unknown argument",
        lambda model, path: model.export(path, color="red"),
        "got an unexpected keyword argument 'color'",
        TypeError,
    ),
    Case(
        "a preprocessor that is no model",
        lambda model, path: model.export(path, preprocessor=3),
        "`preprocessor` should be a Keras model, None, or 'own'. Received: preprocessor=3",
    ),
    Case(
        "a preprocessor for other inputs",
        lambda model, path: model.export(
            path, preprocessor=keras.Sequential([inputs(3), keras.layers.Rescaling(2.0)])
        ),
        "expected shape=(None, 4), found shape=(None, 3)",
    ),
    Case(
        "another model",
        lambda model, path: export.save(model.single_task("a"), path),
        "`model` should be a `MultiTaskModel`. Received: model=<Functional name=",
    ),
    Case(
        "a model without tasks",
        lambda path: export.save(MultiTaskModel(*graph()), path),
        "`model` should have tasks: make it with `tasks=`, or `compile` it before the export. "
        "Received: model=<MultiTaskModel name=",
    ),
    Case(
        "an input that cannot be a keyword",
        lambda path: HardSharing(inputs(name="class"), tasks()).export(path),
        "no keyword of Python and not 'self'. Received: an input named 'class'",
    ),
]

DATA = [
    *(
        Case(
            f"load({name!r})",
            lambda name=name: data.load(name),
            f"`name` should be one of {data.names()}. Received: name={name!r}",
        )
        for name in ("nope", 3, None, ["census_income"])
    ),
    *(
        Case(
            f"{option}={value!r}",
            lambda option=option, value=value: data.load("census_income", **{option: value}),
            f"`{option}` should be {text}. Received: {option}={value!r}",
        )
        for option, value, text in [
            ("source", "ful", "'sample' or 'full'"),
            ("batch_size", 0, "a positive integer"),
            ("batch_size", True, "a positive integer"),
            ("batch_size", 2.5, "a positive integer"),
            ("seed", "x", "an integer of at least 0, or None"),
            ("seed", -1, "an integer of at least 0, or None"),
            ("seed", True, "an integer of at least 0, or None"),
            ("preprocessed", "no", "a bool"),
            ("weighted", 1, "a bool"),
        ]
    ),
    *(
        Case(
            f"{option}={value!r} with the sample",
            lambda option=option, value=value: data.load("census_income", **{option: value}),
            f"`{option}` should be given with source='full' only, since the sample is inside the "
            f"package. Received: {option}={value!r} with source='sample'",
        )
        for option, value in [("raw_files", "/x"), ("data_dir", "/x"), ("download", True)]
    ),
    Case(
        "an unknown option",
        lambda: data.load("census_income", batchsize=3),
        "got an unexpected keyword argument 'batchsize'",
        TypeError,
    ),
    *(
        Case(
            f"raw_rows({n!r})",
            lambda n=n: census_income.raw_rows(n),
            f"`n` should be a positive integer. Received: n={n!r}",
        )
        for n in (-1, 0, True, "5")
    ),
    Case(
        "raw_rows of no split",
        lambda: census_income.raw_rows(1, split="valid"),
        "`split` should be 'train' or 'test'. Received: split='valid'",
    ),
]

ONE = {"a": 1.0, "b": 1.0}
METRICS = [
    *(
        Case(
            f"{metric.__name__}({argument}={value!r})",
            lambda m=metric, a=argument, v=value: m(**{a: v}),
            f"`{argument}` should be a positive integer. Received: {argument}={value!r}",
        )
        for metric, argument in [
            (AUC, "num_labels"),
            (AUC, "bins"),
            (Precision, "num_labels"),
            (R2Score, "dim"),
        ]
        for value in (0, -1, True, 2.5, "2")
    ),
    *(
        Case(
            f"average={average!r}",
            lambda average=average: F1Score(average=average),
            f'`average` should be "macro" or "micro". Received: average={average!r}',
        )
        for average in ("weighted", None)
    ),
    Case(
        "sums in bfloat16",
        lambda: R2Score(dtype="bfloat16"),
        "`dtype` should be 'float64' or 'float32'. Received: dtype='bfloat16'",
    ),
    *(
        Case(
            f"{metric!r} of wide outputs",
            lambda metric=metric: metric.update_state([[1.0], [0.0]], np.ones((2, 2))),
            "`y_pred` should have the shape (None, 1). Received: y_pred.shape=(2, 2)",
        )
        for metric in (AUC(), Precision(), R2Score())
    ),
    Case(
        "more classes than outputs",
        lambda: Precision(3, class_ids=True).update_state([1, 0], np.ones((2, 2))),
        "`y_pred` should have the shape (None, 3). Received: y_pred.shape=(2, 2)",
    ),
    Case(
        "labels without an axis of their own",
        lambda: R2Score().update_state([1.0, 2.0], np.ones((2, 1))),
        "`y_true` should have the shape (None, 1). Received: y_true.shape=(2,)",
    ),
    *(
        Case(f"delta_m: {name}", lambda args=args: delta_m(*args), text)
        for name, args, text in [
            ("no tasks", (ONE, ONE, []), "`tasks` should have at least one task. Received: tasks"),
            (
                "names",
                (ONE, ONE, ["a", "b"]),
                "`tasks` should hold tasks only. Received: 'a'",
            ),
            (
                "a single task",
                ({"a": 1.0}, {"a": 1.0}, Regression("a")),
                "`tasks` should be a list of tasks. Received: tasks=<Regression name=a>",
            ),
            (
                "a task twice",
                ({"a": 1.0}, {"a": 1.0}, [Regression("a"), Regression("a")]),
                "`tasks` should have different names. Received: ['a', 'a']",
            ),
            (
                "a list of results",
                ([1.0, 1.0], ONE, tasks()),
                "`results` should be a dict by task name. Received: results=[1.0, 1.0]",
            ),
            (
                "an unknown task",
                (ONE, {**ONE, "c": 1.0}, tasks()),
                "`baselines` should have only the tasks ['a', 'b'] as keys. Received: 'c'",
            ),
            *(
                (
                    f"a result {value!r}",
                    ({**ONE, "b": value}, ONE, tasks()),
                    f"`results` should have a finite number for task `b`. Received: {value!r}",
                )
                for value in (None, "1", True, float("nan"), float("inf"), [1.0])
            ),
            (
                "a missing baseline",
                (ONE, {"a": 1.0}, tasks()),
                "`baselines` should have a finite number for task `b`. Received: None",
            ),
            (
                "a baseline of 0",
                (ONE, {**ONE, "b": 0}, tasks()),
                "`baselines` should not be 0 for task `b`, since the gain is relative to it. "
                "Received: 0.0",
            ),
        ]
    ),
]

LAYERS = [
    *(
        Case(
            f"{count!r} experts",
            lambda count=count: Experts(count, (3,)),
            f"`num_experts` should be a positive integer. Received: num_experts={count!r}",
        )
        for count in (0, -1, True, 2.5, None)
    ),
    *(
        Case(
            f"units={units!r}",
            lambda units=units: Experts(2, units),
            f"`units` should be a tuple of positive integers. Received: units={units!r}",
        )
        for units in (3, (0,), (True,), "3", None)
    ),
    Case(
        "no units",
        lambda: Experts(2, ()),
        "`units` should have at least one layer. Received: units=()",
    ),
    *(
        Case(
            f"dropout={rate!r}", lambda rate=rate: Experts(2, (3,), dropout=rate), f"{RATE}{rate!r}"
        )
        for rate in (1.0, -0.5, True, "0.5")
    ),
    Case(
        "activation='rleu'",
        lambda: Experts(2, (3,), activation="rleu"),
        "Could not interpret activation function identifier: rleu",
    ),
    Case(
        "kernel_initializer='nope'",
        lambda: Experts(2, (3,), kernel_initializer="nope"),
        "Could not interpret initializer identifier: nope",
    ),
    Case(
        "an initializer that is a function",
        lambda: Experts(2, (3,), kernel_initializer=keras.ops.zeros),
        "`kernel_initializer` should be a Keras initializer or its name, of which each expert gets "
        "one of its own. Received: kernel_initializer=<function zeros",
    ),
    Case(
        "features of one axis",
        lambda: Experts(2, (3,), name="bank")(np.ones(3)),
        "of layer 'bank' is incompatible with the layer: expected min_ndim=2, found ndim=1",
    ),
    Case(
        "features of unknown width",
        lambda: Experts(2, (3,))(keras.Input((None,))),
        "The features of `Experts` should have shape (None, ..., F), with F known. "
        "Received: shape=(None, None)",
    ),
    Case(
        "features of another width",
        lambda mixture: mixture.get_layer("experts")(np.ones((2, 5))),
        "expected axis -1 of input shape to have value 4, but received input with shape (2, 5)",
    ),
    Case(
        "an unknown argument",
        lambda: Experts(2, (3,), color="red"),
        "Unrecognized keyword arguments passed to Experts: {'color': 'red'}",
    ),
]

TABLE = {
    "names": NAMES,
    "tasks": TASKS,
    "outputs": OUTPUTS,
    "architectures": ARCHITECTURES,
    "compile": COMPILE,
    "fit": FIT,
    "labels": LABELS,
    "dtypes": DTYPES,
    "sample weights": SAMPLE_WEIGHTS,
    "balancers": BALANCERS,
    "files": FILES,
    "configs": CONFIGS,
    "export": EXPORT,
    "data": DATA,
    "metrics": METRICS,
    "layers": LAYERS,
}


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=f"{group}: {c.name}") for group, cases in TABLE.items() for c in cases],
)
def test_it_is_refused_and_nothing_is_updated(case, tmp_path, request):
    given, variables = {}, []
    for name, parameter in inspect.signature(case.do).parameters.items():
        if parameter.default is not parameter.empty:
            continue
        if name == "path":
            given[name] = tmp_path / "new"
        elif name == "files":
            given[name] = request.getfixturevalue("files")
        else:
            given[name], held = fresh(name)
            variables += held
    before = contents(variables)
    with pytest.raises(case.error, match=re.escape(case.text)) as caught:
        case.do(**given)
    assert type(caught.value) is case.error
    assert contents(variables) == before
    assert not list(tmp_path.iterdir())


# -- what is not of that form -------------------------------------------------------------------


def test_after_a_refused_compile_the_next_one_trains():
    model = compiled(hard_sharing())
    with pytest.raises(ValueError, match="Did you mean 'pcgrad'"):
        compiled(model, "pc_grad")
    before = contents(model.trainable_variables)
    with pytest.raises(ValueError, match=r"should be compiled first, by `model.compile\(...\)`\."):
        model.fit(X, Y, verbose=0)
    assert contents(model.trainable_variables) == before
    trained(compiled(model, "pcgrad"))
    assert contents(model.trainable_variables) != before


@pytest.mark.slow
def test_an_optimizer_is_for_one_set_of_variables():
    optimizer = keras.optimizers.Adam()
    optimizer.build([keras.Variable([1.0])])
    with pytest.raises(ValueError, match="`optimizer` should be a new optimizer, so that"):
        compiled(hard_sharing(), "equal", optimizer)
    model = compiled(hard_sharing(), "equal", keras.optimizers.SGD())
    with pytest.raises(ValueError, match="which does not know `log_variance`"):
        compiled(model, "uncertainty", model.optimizer)
    trained(compiled(model, "pcgrad", model.optimizer))  # the same variables


@pytest.mark.slow
def test_sample_weights_may_be_lists_or_none_for_a_task():
    results = []
    for weights in ({"a": [1.0, 2.0] * 4, "b": None}, {"a": np.array([1.0, 2.0] * 4)}):
        keras.utils.set_random_seed(1)
        model = compiled(hard_sharing())
        model.fit(X, Y, sample_weight=weights, shuffle=False, verbose=0)
        results.append(contents(model.variables))
    assert results[0] == results[1]


@pytest.mark.slow
def test_an_illegal_weight_where_there_is_no_label_does_no_harm():
    rest = np.array([0, 1] * 3)
    results = []
    for weight in (1.0, np.nan):
        keras.utils.set_random_seed(1)
        model = compiled(hard_sharing())
        y = {**Y, "a": np.append(rest, [-1, -1])}
        stream(model, X, y, {"a": np.append(ONES[:6], [weight, weight])}, shuffle=False)
        results.append(contents(model.trainable_variables))
    assert results[0] == results[1]


@pytest.mark.slow
def test_weights_that_fit_are_loaded(files):
    model, _ = made("model")
    other = compiled(hard_sharing())
    model.save_weights(files.folder / "same.weights.h5")
    other.load_weights(files.folder / "same.weights.h5")
    assert contents(other.weights) == contents(model.weights)
