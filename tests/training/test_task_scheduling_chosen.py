"""A scheduler and what others choose: what is off, selected, weighed or evaluated meanwhile."""

import json

import keras
import numpy as np
import pytest
from absl import logging
from scheduled import Notes, Steps, arrays, batches, compiled, fitted, mixed

from mtlzoo import BinaryClassification, HardSharing, Regression
from mtlzoo.training import (
    EXP3,
    UCB,
    Curriculum,
    Distillation,
    LearningSpeed,
    RoundRobin,
    TaskEarlyStopping,
    TaskPolicy,
    TaskScheduler,
)


class All(TaskPolicy):
    """All to one."""

    def shares(self):
        return {name: float(name == "a") for name in self.names}


class Switches(keras.callbacks.Callback):
    """Switches task `a` at the end of an epoch."""

    def __init__(self, epoch, on):
        super().__init__()
        self._epoch, self._on = epoch, on

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self._epoch:
            self.model.switch_tasks(a=self._on)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [UCB(), RoundRobin(), Curriculum(["a", "b"]), All()])
def test_the_others_are_trained_when_a_task_is_switched_off(policy):
    model, steps = compiled(run_eagerly=True), Steps()
    callbacks = [Switches(0, False), steps]
    data = batches(2, "a", "b", rows=8)
    *_, logs = fitted(policy, "selection", model, callbacks, every=1, x=data, epochs=4)
    assert logs["a_steps"][1:] == [0, 0, 0] and logs["b_steps"][1:] == [2, 2, 2]
    assert logs["a_share"][1:] == [0.0, 0.0, 0.0]
    assert steps.moved[2:] == [["b"]] * 6
    assert model.selected_tasks == ["a", "b"]


@pytest.mark.slow
def test_a_task_that_stopped_early_gets_nothing_in_either_order():
    for first in (True, False):
        stopping = TaskEarlyStopping({"a": 1, "b": 9}, {"a": 1e9, "b": 0.0})
        scheduler = TaskScheduler(UCB(), "selection", every=1)
        callbacks = [stopping, scheduler] if first else [scheduler, stopping]
        model, data = compiled(run_eagerly=True), batches(2, "a", "b", rows=8)
        logs = model.fit(
            data, epochs=6, validation_data=data, callbacks=callbacks, verbose=0
        ).history
        stopped = stopping.stopped_epochs["a"]
        assert stopped < 5
        assert logs["a_steps"][stopped + 1 :] == [0] * (5 - stopped)
        assert logs["b_steps"][stopped + 1 :] == [2] * (5 - stopped)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [TaskPolicy, RoundRobin])
def test_a_mixture_draws_no_more_of_what_is_off(policy):
    mixture = mixed(steps_per_epoch=16)
    model = compiled()
    model.switch_tasks(a=False)
    scheduler, _, logs = fitted(policy(), mixture, model, [Switches(1, True)], every=8, epochs=4)
    assert logs["first_steps"][:3] == [0, 0, 0]
    assert logs["second_steps"][1:3] == [16, 16]  # after the lag
    assert {tuple(mixture.drawn_at(step)) for step in range(16, 48)} == {("second",)}
    assert 0 < logs["first_steps"][3] < 16  # on again after the second epoch, and the lag
    assert scheduler.shares == {"first": 0.5, "second": 0.5}
    # What was changed is kept.
    other = mixed(steps_per_epoch=16)
    TaskScheduler(policy(), other)
    other.restore(json.loads(json.dumps(mixture.state)))
    steps = range(64)
    assert [other.drawn_at(s) for s in steps] == [mixture.drawn_at(s) for s in steps]


@pytest.mark.slow
def test_what_was_selected_and_weighed_before_is_kept_and_found_again():
    model, steps = compiled(run_eagerly=True), Steps()
    model.select_tasks(["b"])
    model.weigh_tasks(b=3.0)
    mixture = mixed(steps_per_epoch=4)
    weighing = TaskScheduler(LearningSpeed(), "weights", every=2)
    seen = []
    reading = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(model.task_factors)
    )
    callbacks = [weighing, steps, reading]
    *_, logs = fitted(RoundRobin(), mixture, model, callbacks, epochs=2)
    assert logs["first_steps"] == [0, 0] and logs["a_share"] == [0.0, 0.0]
    assert {name for each in steps.moved for name in each} == {"b"}
    assert all(each == {"a": 0.0, "b": 3.0} for each in seen)
    assert model.selected_tasks == ["b"]
    assert model.task_factors == {"a": 1.0, "b": 3.0}
    fitted(All(), "selection", model, epochs=1)
    assert model.selected_tasks == ["b"]


def test_factors_multiply_those_of_before():
    model = compiled(run_eagerly=True)
    model.weigh_tasks(a=2.0)
    scheduler = TaskScheduler(TaskPolicy(), "weights")
    scheduler.set_params({})
    scheduler.set_model(model)
    scheduler.on_train_begin()
    assert model.task_factors == {"a": 2.0, "b": 1.0}
    state = scheduler.get_state()
    scheduler.on_train_end()
    model.weigh_tasks(a=0.5)  # as if a training went on, with what was scheduled
    scheduler.set_params({})
    scheduler.on_train_begin()
    scheduler.set_state(state)
    assert model.task_factors == {"a": 2.0, "b": 1.0}
    scheduler.on_train_end()
    assert model.task_factors == {"a": 2.0, "b": 1.0}


def test_which_tasks_were_off_is_kept():
    model, found = compiled(run_eagerly=True), []
    state = None
    for _ in range(2):
        scheduler = TaskScheduler(TaskPolicy(), "selection")
        scheduler.set_params({})
        scheduler.set_model(model)
        scheduler.on_train_begin()
        if state is not None:  # the task was switched off after the last decision
            scheduler.set_state(state)
        state = scheduler.get_state()
        model.switch_tasks(a=False)
        scheduler.on_epoch_begin(1)
        found.append(scheduler.shares)
        scheduler.on_train_end()
    assert found == [{"a": 0.0, "b": 1.0}] * 2
    assert len(scheduler.history["step"]) == 2


def test_policies_are_told_how_they_are_used():
    class Told(TaskPolicy):
        def check_use(self, through, at_once):
            found.append((through, at_once))
            raise ValueError("`policy` should be used otherwise.")

    found, model = [], compiled(run_eagerly=True)
    for through, at_once in (("selection", 2), ("weights", 1), (mixed(), 1)):
        scheduler = TaskScheduler(Told(), through, at_once=at_once)
        with pytest.raises(ValueError, match="used otherwise"):
            model.fit(batches(2, "a", "b"), callbacks=[scheduler], verbose=0)
    assert found == [("selection", 2), ("weights", 1), ("mixture", 1)]


@pytest.mark.slow
def test_tasks_that_are_balanced_as_one_have_one_share():
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    y = {"click": (x[:, 0] > 0).astype("float32"), "stay": x[:, 1]}
    tasks = [BinaryClassification("click"), Regression("stay")]
    teacher = HardSharing(keras.Input((3,)), tasks, shared_units=[4])
    model = Distillation(teacher.student(0.5), teacher)
    model.compile("sgd", jit_compile=False, run_eagerly=True)
    scheduler = TaskScheduler(RoundRobin(), "selection", every=1)
    logs = model.fit(x, y, batch_size=4, callbacks=[scheduler], verbose=0).history
    assert logs["click_steps"] == logs["stay_steps"] == [2]
    assert [key for key in logs if key.endswith("_share")] == ["click_share", "stay_share"]
    factors = []
    model.fit(
        *(x, y),
        callbacks=[
            TaskScheduler(Curriculum(["stay", "click"]), "weights"),
            keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: factors.append(model.task_factors)
            ),
        ],
        verbose=0,
    )
    assert {name for name, factor in factors[0].items() if factor == 0} == {
        name for name in model.task_names if model.row_of.get(name, name) == "click"
    }
    assert len(model.task_names) == 4


@pytest.mark.slow
def test_an_evaluation_in_the_middle_is_no_part_of_a_window():
    x, y = arrays(5, rows=16)
    policy = Notes()
    model = compiled(run_eagerly=True, optimizer=keras.optimizers.SGD(0.0))

    class Evaluates(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                many = {name: np.tile(of, (4, 1)) for name, of in y.items()}
                model.evaluate(np.tile(x, (4, 1)) * 3, many, verbose=0)

    given = {"y": y, "batch_size": 4, "shuffle": False}
    fitted(policy, "weights", model, [Evaluates()], every=4, epochs=1, x=x, **given)
    errors = {n: (p - y[n]) ** 2 for n, p in model.predict(x, verbose=0).items()}
    assert policy.windows[0].step == 4
    for name in "ab":  # of the steps since then
        assert policy.windows[0].losses[name] == pytest.approx(errors[name][8:].mean(), rel=1e-3)


def test_data_that_end_within_an_execution_are_counted_as_they_are():
    model = compiled(steps_per_execution=3)
    data = batches(2, "a", "b", rows=16)
    scheduler, _, logs = fitted(All(), "selection", model, every=99, epochs=2, x=data)
    assert scheduler.history["step"].tolist() == [0, 4, 8]
    assert logs["a_steps"] == [4, 4] and logs["a_share"] == [1.0, 1.0]


@pytest.mark.slow
def test_bandits_are_told_the_shares_that_were_in_force(monkeypatch):
    warned, policy = [], EXP3()
    monkeypatch.setattr(logging, "warning", lambda text, *args: warned.append(text % args))
    told = []
    monkeypatch.setattr(policy, "observe", lambda window: told.append(dict(window.shares)))
    policy.shares = lambda: {"first": 0.25 + len(told) / 100, "second": 0.75 - len(told) / 100}
    mixture = mixed(steps_per_epoch=20)
    fitted(policy, mixture, compiled(), every=15, epochs=2)
    for shares, (first, last) in zip(told, [(0, 15), (15, 20), (20, 35), (35, 40)], strict=True):
        inside = [mixture.probabilities(step)["first"] for step in range(first, last)]
        assert shares["first"] == pytest.approx(np.mean(inside))
    assert len({shares["first"] for shares in told}) == 3  # not those that were decided last
    assert any(
        "`every` should be at least the `lag` of the mixture with the policy `EXP3`" in text
        and "every=15, lag=16" in text
        for text in warned
    )


def test_a_plain_model_is_refused():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.ones((4, 3), "float32")
    with pytest.raises(ValueError, match=r"`TaskScheduler` should be given to `fit` of a multi-t"):
        model.fit(x, x[:, :1], callbacks=[TaskScheduler(UCB(), "weights")], verbose=0)
