"""What saving promises: a model read back is the model that was written."""

import copy
import json
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from conformance.registry import BALANCERS, TASKS, USUAL_BALANCER, Case, rows
from conformance.training import (
    answers,
    assert_equal,
    assert_moved,
    copies,
    everything,
    small,
    train,
)
from mtlzoo import BinaryClassification, export


def check_resumed(case: Case, tmp_path, optimizer=None):
    """A saved and reloaded model goes on as if nothing had happened, bit for bit."""
    model = small(case, optimizer or keras.optimizers.Adam(0.01))
    data = rows(model)
    train(model, data)  # 3 steps, an odd number, for the balancers that act each second one
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model) and loaded.task_names == model.task_names
    assert_equal(everything(loaded), copies(everything(model)))
    assert_equal(answers(loaded, data[0]), answers(model, data[0]))
    more = [train(each, data, epochs=2).history for each in (model, loaded)]
    assert more[0] == more[1]
    assert_equal(everything(loaded), copies(everything(model)))
    assert loaded.task_weights == model.task_weights


def check_resumed_with_momentum(case: Case, tmp_path):
    check_resumed(case, tmp_path, keras.optimizers.SGD(0.1, momentum=0.9))


def check_recompiled(case: Case, tmp_path):
    """After another balancer a model is saved, loaded and trained on with this one."""
    name = "uncertainty" if case.balancer != "uncertainty" else USUAL_BALANCER
    other = replace(case, balancer=name)
    if other.refusal():
        return
    model = small(other, keras.optimizers.Adam(0.01))
    data = rows(model)
    train(model, data)
    model.compile(
        keras.optimizers.Adam(0.01),
        balancer=BALANCERS[case.balancer](),
        metrics={name: [] for name in TASKS},
        run_eagerly=True,
    )
    train(model, data)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert repr(loaded.balancer) == repr(BALANCERS[case.balancer]())
    assert {v.name for v in loaded.balancer.variables} == {v.name for v in model.balancer.variables}
    assert_equal(everything(loaded), copies(everything(model)))
    for each in (model, loaded):
        train(each, data)
    assert_equal(everything(loaded), copies(everything(model)))
    wrong = small(other)
    before = copies(wrong.variables)
    with pytest.raises(ValueError, match="balancer state should have the variables"):
        wrong.load_weights(tmp_path / "model.weights.h5")
    assert_equal(wrong.variables, before)


def check_config(case: Case, tmp_path):
    model = case.compiled(loss_weights={"kind": 0.5}, guard="all")
    config = json.dumps(model.get_config())
    again = type(model).from_config(json.loads(config))
    assert json.dumps(again.get_config()) == config
    of_balancer = {id(v) for v in model.balancer.variables}
    own = [v for v in model.variables if id(v) not in of_balancer]
    assert [(v.name, v.shape) for v in again.variables] == [(v.name, v.shape) for v in own]
    compile_config = json.dumps(model.get_compile_config())
    again.compile_from_config(json.loads(compile_config))
    assert json.dumps(again.get_compile_config()) == compile_config
    assert repr(again.balancer) == repr(model.balancer) == repr(BALANCERS[case.balancer]())
    assert again.balancer is not model.balancer
    again.set_weights(model.get_weights())
    data = rows(model)
    assert_equal(answers(again, data[0]), answers(model, data[0]))


def check_deep_copy(case: Case, tmp_path):
    """A deep copy is a model of its own, which trains on as the original would have."""
    model = small(case)
    data = rows(model)
    train(model, data)
    copied = copy.deepcopy(model)
    assert type(copied) is type(model) and repr(copied.balancer) == repr(model.balancer)
    assert not {id(v) for v in everything(copied)} & {id(v) for v in everything(model)}
    before = copies(everything(model))
    assert_equal(everything(copied), before)
    train(copied, data)
    # Of a balancer that warms up, only the method in use is trained.
    resting = case.balancer.startswith("warm_up")
    moved, unmoved = (
        each.trainable_variables[: -len(each.balancer_variables) if resting else None]
        for each in (copied, model)
    )
    assert_moved(moved, copies(unmoved))
    assert_equal(everything(model), before)
    train(model, data)
    assert_equal(everything(copied), copies(everything(model)))


def check_weights_by_name(case: Case, tmp_path):
    """Saved weights are those of named tasks: in any order of tasks they give the same answers by
    name, and a model of fewer or other tasks refuses them."""
    path = tmp_path / "all.weights.h5"
    model = case.build()
    x, _ = rows(model)
    model.save_weights(path)
    tasks = case.tasks()
    other = case.build([tasks[1], tasks[2], tasks[0]], seed=2)
    assert np.abs(answers(other, x)[0] - answers(model, x)[0]).max() > 0
    other.load_weights(path)
    assert_equal(answers(other, x), answers(model, x))
    renamed = [BinaryClassification("bought"), *tasks[1:]]
    more = [*tasks, BinaryClassification("bought")]
    for given in (tasks[:2], tasks[1:], renamed, more):
        other = case.build(given, seed=3)
        before = copies(other.variables)
        names = sorted(task.name for task in given)
        for skip in (False, True):
            with pytest.raises(ValueError, match=re.escape(f"of the tasks {names}")):
                other.load_weights(path, skip_mismatch=skip)
            assert_equal(other.variables, before)


def check_export(case: Case, tmp_path):
    model = small(case)
    x, y = rows(model)
    train(model, (x, y))
    export.save(model, tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served")
    raw = model.predict(x, verbose=0)
    together = served.signatures["serve"](**{k: tf.constant(v) for k, v in x.items()})
    answers = {}
    for name, task in model.tasks.items():
        expected = task.serve(raw[name])
        answers |= expected
        alone = served.signatures[name](**{k: tf.constant(v[:5]) for k, v in x.items()})
        assert set(alone) == set(expected)
        for key, value in expected.items():
            np.testing.assert_allclose(alone[key], value[:5], atol=1e-6)
            np.testing.assert_allclose(together[key], value, atol=1e-6)
    assert set(together) == set(answers)
