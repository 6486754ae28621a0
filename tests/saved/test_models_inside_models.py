"""A multi-task model as a part of plain Keras models is saved with its tasks and its weights.

That of a multi-task model inside another is an entry of the conformance suite.
"""

import copy

import keras
import numpy as np
import pytest
from conformance.registry import TASKS, Case, make_tasks, rows
from conformance.training import answers, assert_equal, copies, small, train

from mtlzoo import HardSharing, MultiTaskModel, Regression


def around(inner):
    """A plain model that calls `inner` on its scaled input and adds up what it answers."""
    x = keras.Input((6,), name="x")
    outputs = inner({"features": keras.layers.Rescaling(0.5)(x)})
    total = keras.layers.Add(name="total")([outputs["click"], outputs["stay"]])
    return keras.Model(x, {"total": total, "kind": outputs["kind"]})


def trained():
    model = small(Case())
    train(model, rows(model))
    return model


@pytest.mark.slow
def test_a_plain_model_around_a_trained_one_goes_through_a_file_and_a_copy(tmp_path):
    inner = trained()
    outer = around(inner)
    x = rows(inner)[0]["features"]
    outer.save(tmp_path / "outer.keras")
    for again in (keras.saving.load_model(tmp_path / "outer.keras"), copy.deepcopy(outer)):
        for name, values in outer(x).items():
            np.testing.assert_array_equal(again(x)[name], values)
        (found,) = [layer for layer in again.layers if isinstance(layer, MultiTaskModel)]
        assert type(found) is HardSharing and found.task_names == TASKS
        paths = [v.path.split("/")[-2:] for v in found.task_variables("kind")]
        assert paths == [["kind", "kernel"], ["kind", "bias"]]
        # It can be trained on by itself.
        found.compile("sgd", balancer="mgda", run_eagerly=True, metrics={n: [] for n in TASKS})
        train(found, rows(found))


def test_weights_inside_a_plain_model_are_those_of_named_tasks_too(tmp_path):
    outer = around(Case().build())
    outer.save_weights(tmp_path / "outer.weights.h5")
    tasks = make_tasks()
    same = around(Case().build([tasks[2], tasks[0], tasks[1]], seed=2))
    same.load_weights(tmp_path / "outer.weights.h5")
    x = rows(Case().build())[0]["features"]
    for name, values in outer(x).items():
        np.testing.assert_array_equal(same(x)[name], values)
    x = keras.Input((6,), name="x")
    part = Case().build(tasks[:2], seed=2)
    other = keras.Model(x, part({"features": keras.layers.Rescaling(0.5)(x)}))
    with pytest.raises(ValueError, match=r"Received: weights of the tasks \['click', 'kind', 's"):
        other.load_weights(tmp_path / "outer.weights.h5")


@pytest.mark.slow
def test_a_part_of_a_trained_model_keeps_its_weights(tmp_path):
    model = trained()
    single = model.single_task("kind")
    single.save(tmp_path / "kind.keras")
    loaded = keras.saving.load_model(tmp_path / "kind.keras")
    x, _ = rows(model)
    np.testing.assert_array_equal(loaded(x)["kind"], answers(model, x)[TASKS.index("kind")])
    before = copies(loaded.variables)
    train(model, rows(model))  # the file and what was loaded from it have variables of their own
    assert_equal(loaded.variables, before)


def test_weights_of_other_tasks_further_inside_are_refused_too(tmp_path):
    """Also where mismatches are to be skipped, and nothing is changed."""

    def outer(names, seed):
        keras.utils.set_random_seed(seed)
        inner = HardSharing(keras.Input((6,)), [Regression(name) for name in names])
        x = keras.Input((6,), name="x")
        joined = keras.layers.Concatenate()(list(inner(x).values()))
        return MultiTaskModel(
            x, {"stay": Regression("stay").head(joined)}, tasks=[Regression("stay")]
        )

    outer(["a", "b"], 1).save_weights(tmp_path / "outer.weights.h5")
    other = outer(["c", "d"], 2)
    before = copies(other.variables)
    for skip in (False, True):
        with pytest.raises(ValueError, match=r"Received: weights of the tasks \['a', 'b'\]"):
            other.load_weights(tmp_path / "outer.weights.h5", skip_mismatch=skip)
        assert_equal(other.variables, before)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("balancer", ["equal", "pcgrad", "grad_drop"])
def test_the_balancer_of_a_model_inside_is_not_trained(balancer):
    """It has no loss here, so that weight decay would move it."""
    inner = HardSharing(keras.Input((6,)), [Regression("a"), Regression("b")], shared_units=(3,))
    inner.compile("sgd", balancer="uncertainty", metrics={"a": [], "b": []})
    inner.balancer.log_variance.assign([1.0, 1.0])
    x = keras.Input((6,), name="features")
    joined = keras.layers.Concatenate()(list(inner(x).values()))
    tasks = make_tasks()
    model = MultiTaskModel({"features": x}, {t.name: t.head(joined) for t in tasks}, tasks=tasks)
    optimizer = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    model.compile(optimizer, balancer, run_eagerly=True, metrics={name: [] for name in TASKS})
    parts = [*model.shared_variables, *model.balancer_variables]
    parts += [v for name in TASKS for v in model.task_variables(name)]
    assert {id(v) for v in parts} == {id(v) for v in model.trained_variables}
    assert not any(v is inner.balancer.log_variance for v in parts)
    train(model, rows(model))
    assert_equal([inner.balancer.log_variance], [np.ones(2)])
    inner.compile("sgd", balancer="uncertainty", metrics={"a": [], "b": []})
    train(model, rows(model))  # whatever happens to the part
