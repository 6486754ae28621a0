"""One model out of the best of each task: what is taken, and what it can be measured on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import HardSharing, Regression
from mtlzoo.ensembles.members import weights_of
from mtlzoo.training import Distillation, TaskEarlyStopping
from mtlzoo.training.task_scheduling.assembling import assemble, check_assembling, check_validation

# Of tf.data, which is not meant to be eager here.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = {"a": X[:, :1], "b": X[:, 1:2], "c": X[:, 2:3]}


@pytest.fixture(autouse=True)
def eagerly():
    """Nothing is traced: a few steps are faster so."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    found = HardSharing(keras.Input((4,)), [Regression(name) for name in Y], shared_units=(5,))
    found.compile("sgd", jit_compile=False)
    return found


@pytest.fixture
def best(model):
    """By task the best epoch, its metric, and the weights, which are all 7."""
    sevens = [np.full(v.shape, 7, "float32") for v in weights_of(model)]
    return {name: (0, 1.0, sevens) for name in Y}


def values(variables):
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_each_task_is_taken_from_where_it_is_better(model, best):
    finals = {name: values(model.task_variables(name)) for name in Y}
    common = values(model.shared_variables)
    answers = iter([{"a": 1.0, "b": 2.0, "c": np.nan}, {"a": 2.0, "b": 1.0, "c": np.nan}])
    stopping = TaskEarlyStopping()
    stopping._signs = dict.fromkeys(Y, -1.0)
    found = assemble(model, best, 3, lambda: next(answers), stopping._is_worse)
    # One that was not measured stays what it is.
    assert {n: t.taken for n, t in found.items()} == {"a": "last", "b": "best", "c": "last"}
    assert {n: t.epoch for n, t in found.items()} == {"a": 3, "b": 0, "c": 3}
    assert (found["a"].metric, found["b"].metric) == (1.0, 1.0)
    for name, old in finals.items():
        own = values(model.task_variables(name))
        assert same(own, [np.full_like(v, 7) for v in own] if name == "b" else old)
    assert same(values(model.shared_variables), common)


def test_a_model_that_cannot_be_measured_is_left_as_it_was(model, best):
    before = values(model.variables)
    answers = iter([dict.fromkeys(Y, 1.0)])

    def measure():
        for found in answers:
            return found
        raise OSError("The data are gone.")

    with pytest.raises(OSError, match=r"The data are gone"):
        assemble(model, best, 3, measure, lambda *_: False)
    assert same(values(model.variables), before)


@pytest.mark.slow
def test_the_best_model_of_a_task_that_is_distilled_is_that_of_the_student():
    keras.utils.set_random_seed(0)
    teacher = HardSharing(
        keras.Input((4,), name="x"), [Regression("a"), Regression("b")], shared_units=(8,)
    )
    model = Distillation(teacher.student(0.5), teacher)
    model.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    two = {name: Y[name] for name in ("a", "b")}
    stopping = TaskEarlyStopping(9, restore="assemble", validation=(X, {**two}))
    model.fit(X, {**two}, validation_data=(X, {**two}), callbacks=[stopping], verbose=0)
    assert stopping.report.keys() == {"a", "b"}
    found = stopping.best_model("a").predict(X, verbose=0)
    np.testing.assert_allclose(found["a"], model.predict(X, verbose=0)["a"], rtol=1e-6)


class Batches(keras.utils.PyDataset):
    """One batch with labels of one task."""

    def __len__(self):
        return 1

    def __getitem__(self, i):
        return X, {"a": Y["a"]}


ONE_TASK = {
    "arrays": (X, {"a": Y["a"]}),
    "batches": tf.data.Dataset.from_tensors((X, {"a": Y["a"]})),
    "batches of Keras": Batches(),
}


@pytest.mark.parametrize("case", ONE_TASK)
def test_data_without_labels_of_a_task_are_refused(case, model):
    check_validation(model, ONE_TASK[case], ["a"])
    with pytest.raises(ValueError, match=r"have labels of task `b`, .* labels of \['a'\]"):
        check_validation(model, ONE_TASK[case], ["a", "b"])


def test_data_of_another_form_are_refused(model):
    with pytest.raises(ValueError, match=r"that can be read more than once .* type generator"):
        check_validation(model, (batch for batch in [(X, Y)]), ["a"])
    with pytest.raises(ValueError, match=r"or a tuple of arrays. Received: .* of type list"):
        check_validation(model, [X, Y], ["a"])
    with pytest.raises(
        ValueError,
        match=r"\['a', 'b', 'c'\] as keys; .*labels_of.* leaves others out. Received: 'z'",
    ):
        check_validation(model, (X, {"z": Y["a"]}), ["a"])


@pytest.mark.parametrize(("key", "about"), [("val_loss", None), ("val_b_rmse", "b")])
def test_a_task_that_is_judged_by_others_is_not_assembled(key, about, model):
    check_assembling(model, {"a": "val_a_mae"}, {"a": "a"}, (X, Y))
    with pytest.raises(ValueError, match=rf"task `a` should be of the task itself .* '{key}'"):
        check_assembling(model, {"a": key}, {"a": about}, (X, Y))
