"""What is refused, with which words, and that nothing was updated."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from model_cases import Constant, assert_same, compiled, copies, data, hard_sharing, tasks

from mtlzoo import (
    BinaryClassification,
    Classification,
    HardSharing,
    MMoE,
    MultiTaskModel,
    Regression,
)
from mtlzoo.balancing import Balancer, LossBalancer

dense = keras.layers.Dense


def refused(message):
    return pytest.raises(ValueError, match=re.escape(message))


# -- names and outputs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "two words", "1st", "_a", "a-b", "é", "a/b", "loss", "serve", "serving_default"]
)
@pytest.mark.parametrize("where", ["task", "output"])
def test_unusable_names(name, where):
    with pytest.raises(ValueError, match=r"`name` of a task should.*Received: name=") as error:
        if where == "task":
            BinaryClassification(name)
        else:
            inputs = keras.Input((4,))
            MultiTaskModel(inputs, {name: dense(1)(inputs)})
    assert str(error.value).endswith(f"name={name!r}")


@pytest.mark.parametrize("name", ["val_a", None, 3, ("a",)])
def test_names_that_are_none(name):
    with refused(f"Received: name={name!r}"):
        Regression(name)


def graph(names="ab"):
    inputs = keras.Input((4,), name="x")
    trunk = dense(3)(inputs)
    return inputs, {name: dense(1, name=name)(trunk) for name in names}


ALL_KINDS = [
    lambda given: MultiTaskModel(*graph(), tasks=given),
    lambda given: HardSharing(keras.Input((4,)), given),
    lambda given: MMoE(keras.Input((4,)), given),
]


@pytest.mark.parametrize("build", ALL_KINDS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Regression("a"), Regression("a")], "`tasks` should have different names. Received: 'a'"),
        ([], "`tasks` should be a non-empty list of tasks. Received: tasks=[]"),
        ("ab", "`tasks` should be a non-empty list of tasks. Received: tasks='ab'"),
        ({"a": Regression("a")}, "`tasks` should be a non-empty list of tasks. Received: tasks={"),
        (Regression("a"), "`tasks` should be a non-empty list of tasks. Received: tasks=<"),
        (["a"], "`tasks` should hold tasks only. Received: 'a'"),
        ([Regression], "`tasks` should hold tasks only. Received: <class"),
    ],
)
def test_tasks_that_are_no_list_of_different_tasks(build, given, message):
    with refused(message):
        build(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            [Regression("a")],
            "`outputs` should be one for each of the tasks ['a']. "
            "Received: an output without a task, 'b'",
        ),
        (
            [*tasks(), Regression("c")],
            "a task without an output, 'c'; the outputs are ['a', 'b']",
        ),
        (
            [tasks()[0], Classification("b", 5)],
            "The output of task `b` should have shape (None, 5). Received: shape=(None, 1)",
        ),
    ],
)
def test_tasks_that_do_not_fit_the_outputs(given, message):
    with refused(message):
        MultiTaskModel(*graph(), tasks=given)


def test_outputs_that_are_no_dict_of_tensors():
    inputs, outputs = graph()
    for wrong in (list(outputs.values()), outputs["a"], {}, None):
        with refused("`outputs` should be a dict of tensors by task name, also for one task."):
            MultiTaskModel(inputs, wrong, tasks=tasks())
    with refused("The output of task `a` should be a tensor of a functional graph. Received: 1"):
        MultiTaskModel(inputs, {"a": 1})


def test_an_input_with_the_name_of_a_task():
    inputs = keras.Input((4,), name="a")
    message = "An input and a task should not share a name. Received: an input and a task named 'a'"
    with refused(message):
        MultiTaskModel(inputs, {t.name: t.head(dense(3)(inputs)) for t in tasks()}, tasks=tasks())
    with refused(message):
        HardSharing(inputs, tasks(), shared_units=(3,))


# -- architectures ----------------------------------------------------------------------------


@pytest.mark.parametrize("build", [HardSharing, MMoE])
def test_inputs_and_backbones(build):
    x = keras.Input((4,), name="x")
    with refused("`inputs` should be `keras.Input`s; what is learned before the tasks part is"):
        build(dense(3)(x), tasks())
    with refused("`inputs` should be `keras.Input`s"):
        build(np.ones((2, 4)), tasks())
    for wrong, shown in (
        (keras.Input((4, 3), name="image"), "input `image` of shape (None, 4, 3)"),
        (keras.Input((4,), dtype="int32", name="ids"), "input `ids` of shape (None, 4) and dtype"),
        (keras.Input((4,), dtype="string", name="s"), "input `s` of shape (None, 4) and dtype str"),
    ):
        with refused("`inputs` should be vectors of floats where there is no `backbone`") as error:
            build(wrong, tasks())
        assert shown in str(error.value)
    with refused("`backbone` should return one tensor of features. Received: ["):
        build(x, tasks(), backbone=lambda inputs: [inputs, inputs])
    with refused("`backbone` should return one tensor of features. Received: None"):
        build(x, tasks(), backbone=lambda inputs: None)
    with refused("The features of task `a` should have shape (None, F). Received: shape=(None, 4,"):
        HardSharing(keras.Input((4, 3)), tasks(), backbone=lambda inputs: inputs)


@pytest.mark.parametrize("units", [3, (0,), (2.5,), ("3",), None, (3, -1), (True,)])
def test_widths(units):
    x = keras.Input((4,))
    for build, argument in (
        (HardSharing, "shared_units"),
        (HardSharing, "tower_units"),
        (MMoE, "expert_units"),
        (MMoE, "tower_units"),
    ):
        message = f"`{argument}` should be a tuple of positive integers. Received: {argument}="
        with refused(f"{message}{units!r}"):
            build(x, tasks(), **{argument: units})


# -- compile ----------------------------------------------------------------------------------


class Needing(LossBalancer):
    needs = frozenset({"losses", "second_forward"})


class OfNoKind(Balancer):
    pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"balancer": "pcgrda"}, "Did you mean 'pcgrad'? Received: `balancer='pcgrda'`"),
        ({"balancer": "xyz"}, "`balancer` should be one of ['dwa', 'equal', 'grad_drop',"),
        ({"balancer": 3}, "`balancer` should be a name, a `Balancer`, its class or its serialized"),
        ({"balancer": None}, "Received: `balancer=None`"),
        ({"balancer": Needing()}, "Received: Needing(), which needs ['second_forward']"),
        (
            {"loss_weights": {"c": 1.0}},
            "`loss_weights` should have only the tasks ['a', 'b'] as keys. Received: 'c'",
        ),
        ({"loss_weights": [1, 2]}, "`loss_weights` should be a dict by task name. Received: "),
        (
            {"loss_weights": {"a": -1}},
            "The loss weight of task `a` should be a number that is not negative. Received: -1",
        ),
        ({"loss_weights": {"b": float("nan")}}, "The loss weight of task `b` should be a number"),
        ({"loss_weights": {"b": float("inf")}}, "The loss weight of task `b` should be a number"),
        ({"loss_weights": {"b": "much"}}, "is not negative. Received: 'much'"),
        ({"loss": {"c": "mse"}}, "`loss` should have only the tasks ['a', 'b'] as keys."),
        ({"loss": "mse"}, "`loss` should be a dict by task name. Received: loss='mse'"),
        ({"loss": {"a": "hnge"}}, "The loss of task `a` should be a Keras loss, the name of one,"),
        ({"metrics": {"c": []}}, "`metrics` should have only the tasks ['a', 'b'] as keys."),
        ({"metrics": ["auc"]}, "`metrics` should be a dict by task name."),
        ({"metrics": {"b": ["nonsense"]}}, "The metrics of task `b` should be Keras metrics,"),
        ({"metrics": {"b": ["mae", "mae"]}}, "The metrics of task `b` should have different names"),
        (
            {"weighted_metrics": {"b": [keras.metrics.MeanSquaredError("loss")]}},
            "The metrics of task `b` should have different names, none of them 'loss'.",
        ),
        ({"weighted_metrics": {"c": []}}, "`weighted_metrics` should have only the tasks"),
        ({"guard": "some"}, "`guard` should be None or 'all'. Received: guard='some'"),
    ],
)
def test_arguments_of_compile(arguments, message):
    model = hard_sharing()
    with refused(message):
        compiled(model, **arguments)
    with pytest.raises(ValueError, match="compile"):
        model.fit(*data())


def test_after_a_refused_compile_there_is_no_training_with_the_one_before():
    model = compiled(hard_sharing(), "uncertainty")
    with refused("Did you mean 'pcgrad'?"):
        model.compile("adam", balancer="pc_grad", run_eagerly=True)
    before = copies(model.trainable_variables)
    with refused("The model should be compiled first, by `model.compile(...)`."):
        model.fit(*data(), verbose=0)
    assert_same(model.trainable_variables, before)
    compiled(model, "pcgrad")
    model.fit(*data(), verbose=0)


def test_a_balancer_of_no_kind_is_refused_before_the_first_update():
    model = hard_sharing()
    before = copies(model.trainable_variables)
    with refused("`balancer` should be"):
        compiled(model, OfNoKind())
        model.fit(*data(), verbose=0)
    assert_same(model.trainable_variables, before)


def test_an_optimizer_that_is_built_already():
    optimizer = keras.optimizers.Adam()
    optimizer.build([keras.Variable([1.0])])
    with refused("`optimizer` should be a new optimizer"):
        compiled(hard_sharing(), optimizer=optimizer)
    model = compiled(hard_sharing(), optimizer=keras.optimizers.SGD())
    with refused("`optimizer` should be a new optimizer, since it was built for other variables."):
        compiled(hard_sharing(), optimizer=model.optimizer)
    with refused("which does not know `log_variance`"):
        compiled(model, "uncertainty", model.optimizer)
    compiled(model, "pcgrad", model.optimizer)  # the same variables
    model.fit(*data(), verbose=0)


@pytest.mark.parametrize("loss", [None, "mse", {"a": "mse"}, {"a": "mse", "b": "mse", "c": "mse"}])
def test_a_model_without_tasks_needs_all_losses(loss):
    message = (
        "`loss` should be a dict with one loss for each output ['a', 'b'], since the model was "
        f"made without tasks. Received: loss={loss!r}"
    )
    with refused(message):
        MultiTaskModel(*graph()).compile("sgd", loss=loss)


# -- labels and sample weights ----------------------------------------------------------------


def labels(**changed):
    _, y = data()
    return {**y, **changed}


BAD_LABELS = {
    "an unknown key": (
        labels(c=np.ones(8)),
        "Labels should have only the tasks ['a', 'b'] as keys. Received: 'c'",
    ),
    "a list": (list(labels().values()), "Labels should be a dict by task name"),
    "a tuple": (tuple(labels().values()), "labels of type tuple"),
    "an array": (np.ones(8), "Received: labels of type ndarray"),
    "two columns": (
        labels(b=np.ones((8, 2))),
        "Labels of task `b` should have shape (None,). Received: shape=(",
    ),
    "three axes": (labels(a=np.ones((8, 1, 1))), "Labels of task `a` should have shape"),
    "strings": (labels(a=np.array(["yes"] * 8)), "Labels of task `a` should be numbers."),
    "complex numbers": (
        labels(b=np.ones(8, "complex64")),
        "should be numbers. Received: dtype=com",
    ),
    "a task that is None": (labels(a=None), "task `a`"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_labels_that_cannot_be_read(kind):
    y, message = BAD_LABELS[kind]
    model = compiled(hard_sharing())
    x, _ = data()
    before = copies(model.trainable_variables)
    with refused(message):
        model.fit(x, y, batch_size=4, verbose=0)
    with refused(message):
        model.evaluate(x, y, verbose=0)
    assert_same(model.trainable_variables, before)


@pytest.mark.parametrize("kind", ["an unknown key", "a tuple", "an array", "two columns"])
def test_labels_of_a_dataset_and_of_validation_data(kind):
    y, message = BAD_LABELS[kind]
    model = compiled(hard_sharing())
    x, _ = data()
    before = copies(model.trainable_variables)
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    for eager in (True, False):
        compiled(model, run_eagerly=eager)
        with pytest.raises(ValueError, match=re.escape(message.replace("ndarray", ""))):
            model.fit(rows, shuffle=False, verbose=0)
    with refused(message):
        model.fit(x, labels(), validation_data=(x, y), verbose=0)
    assert_same(model.trainable_variables, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, 2, 3], "Labels of task `kind` should be legal labels of .*: a label of value 3"),
        ([0, 1, 2, -5], "Labels of task `kind` should be legal labels of .*: a label of value -5"),
    ],
)
def test_class_ids_out_of_range(values, message):
    model = hard_sharing([Classification("kind", 3)])
    compiled(model, metrics={"kind": []})
    before = copies(model.trainable_variables)
    with pytest.raises(ValueError, match=message):
        model.fit(data(4)[0], {"kind": np.array(values)}, verbose=0)
    assert_same(model.trainable_variables, before)


def test_class_ids_that_are_floats():
    model = hard_sharing([Classification("kind", 3)])
    compiled(model, metrics={"kind": []})
    with refused("Labels of task `kind` should be class ids of an integer type"):
        model.fit(data(4)[0], {"kind": np.array([0.0, 1.0, 2.0, 0.0])}, verbose=0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"c": np.ones(8)},
            "Sample weights should have only the tasks ['a', 'b'] as keys. Received: 'c'",
        ),
        ([np.ones(8), np.ones(8)], "Sample weights should be a dict by task name, or one tensor"),
        (
            {"a": np.ones((8, 2))},
            "Sample weights of task `a` should have one number for each row",
        ),
        ({"b": np.ones((8, 3))}, "Sample weights of task `b` should have one number for each row"),
        (
            {"a": np.array(["1"] * 8)},
            "Sample weights of task `a` should be an array or a tensor of n",
        ),
        ({"b": 1.0}, "Sample weights of task `b` should be an array or a tensor of numbers."),
    ],
)
def test_sample_weights(weights, message):
    model = compiled(hard_sharing(), Constant())
    x, y = data()
    before = copies(model.trainable_variables)
    with refused(message):
        model.fit(x, y, sample_weight=weights, verbose=0)
    with refused(message):
        model.evaluate(x, y, sample_weight=weights, verbose=0)
    assert_same(model.trainable_variables, before)


def test_sample_weights_may_be_lists_or_none_for_a_task():
    x, y = data()
    trained = []
    for weights in ({"a": [1.0, 2.0] * 4, "b": None}, {"a": np.array([1.0, 2.0] * 4)}):
        model = compiled(hard_sharing())
        model.fit(x, y, sample_weight=weights, shuffle=False, verbose=0)
        trained.append(copies(model.variables))
    assert_same(*trained)


def test_numbers_of_rows_that_differ():
    model = compiled(hard_sharing())
    x, y = data()
    with pytest.raises(ValueError, match="cardinality"):
        model.fit(x, {**y, "b": y["b"][:5]}, verbose=0)
