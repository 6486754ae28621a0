"""A scheduler in training: what it selects, weighs and draws, what it logs, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scheduled import Interrupts, Notes, Steps, arrays, batches, compiled, fitted, mixed, values

from mtlzoo import data
from mtlzoo.training import (
    EXP3,
    UCB,
    Backup,
    Curriculum,
    LearningSpeed,
    MetricPriority,
    Priority,
    Proportional,
    RoundRobin,
    TaskPolicy,
    TaskScheduler,
)

TASK = {"first": "a", "second": "b"}


@pytest.fixture(scope="module")
def trained():
    """A training by a mixture, with what each step did."""
    steps = Steps()
    mixture = mixed()
    policy = EXP3(step_size=2.0)
    found = fitted(policy, mixture, compiled("pcgrad"), [steps], epochs=4)
    return mixture, steps, *found


@pytest.fixture(scope="module")
def model():
    """A model that is not trained."""
    return compiled()


def begun(scheduler, model):
    """The scheduler at the beginning of a training."""
    scheduler.set_params({})
    scheduler.set_model(model)
    scheduler.on_train_begin()
    return scheduler


# -- a mixture ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_step_trains_only_what_it_draws(trained):
    mixture, steps, *_ = trained
    drawn = [mixture.drawn_at(step) for step in range(40)]
    assert steps.selected == steps.moved == [[TASK[name]] for (name,) in drawn]
    assert {"first", "second"} == {name for (name,) in drawn}


@pytest.mark.slow
def test_shares_are_in_the_logs_and_in_the_history(trained):
    mixture, _, scheduler, model, logs = trained
    steps = scheduler.history["step"]
    # Windows of three steps in epochs of ten, and what is left of them.
    ends = [10 * epoch + k for epoch in range(4) for k in (3, 6, 9, 10)]
    assert steps.tolist() == [0, *ends]
    shares = scheduler.history["shares"]
    np.testing.assert_allclose(shares["first"] + shares["second"], 1)
    assert {n: v[-1] for n, v in shares.items()} == scheduler.shares
    assert np.ptp(shares["first"]) > 0.1
    for epoch in range(4):
        mine = range(10 * epoch, 10 * epoch + 10)
        for name in TASK:
            expected = np.mean([mixture.probabilities(step)[name] for step in mine])
            assert logs[f"{name}_share"][epoch] == pytest.approx(expected)
            count = sum(mixture.drawn_at(step) == [name] for step in mine)
            assert logs[f"{name}_steps"][epoch] == count
    assert model.selected_tasks == ["a", "b"]


def test_changes_obey_the_lag(trained):
    mixture, _, scheduler, *_ = trained
    assert [mixture.probabilities(step)["first"] for step in range(16)] == [0.5] * 16
    steps, shares = scheduler.history["step"], scheduler.history["shares"]["first"]
    for step in range(40):
        decided = [
            s for at, s in zip(steps, shares, strict=True) if -(-(at + 16) // 16) * 16 <= step
        ]
        expected = decided[-1] if decided else 0.5
        assert mixture.probabilities(step)["first"] == pytest.approx(expected)


def test_turns_are_exact_from_the_first_step_on():
    mixture = mixed()
    TaskScheduler(RoundRobin(["second", "first", "first"]), mixture, every=4)
    y = [w for _, _, w in mixture.dataset.take(9)]
    assert [bool(w["a"].numpy().all()) for w in y] == [False, True, True] * 3
    with pytest.raises(ValueError, match=r"`order` should have names among \['first', 'second'\]"):
        TaskScheduler(RoundRobin(["a"]), mixed())


def test_a_mixture_begins_with_the_shares_of_the_policy():
    sizes = {"first": 30, "second": 10}
    mixture = mixed(sampling_weights="uniform", sizes=sizes)
    scheduler = TaskScheduler(Proportional(), mixture)
    assert mixture.probabilities(0) == scheduler.shares == {"first": 0.75, "second": 0.25}


@pytest.mark.slow
def test_several_steps_of_an_execution_select_what_any_of_them_draws():
    steps = Steps()
    mixture = mixed(steps_per_epoch=6)
    order = ["first", "second", "second", "second"]
    model = compiled(steps_per_execution=2)
    scheduler, *_, logs = fitted(RoundRobin(order), mixture, model, [steps], epochs=2)
    assert steps.selected == [["a", "b"], ["b"]] * 3 == steps.moved
    assert logs["first_steps"] == [2, 1] and logs["second_steps"] == [4, 5]
    assert scheduler.history["step"].tolist() == [0, 4, 6, 6, 10, 12, 12]
    assert (scheduler.history["shares"]["first"] == 0.25).all()  # of a round


@pytest.mark.slow
def test_of_rows_only_the_probabilities_change():
    steps = Steps()
    mixture = mixed(form="rows", batch_size=8)
    scheduler, *_ = fitted(Curriculum(["first", "second"]), mixture, None, [steps], every="epoch")
    assert steps.selected == [["a", "b"]] * 30
    assert scheduler.history["step"].tolist() == [0, 10, 20, 30]
    assert mixture.probabilities(31) == {"first": 1.0, "second": 0.0}
    assert mixture.probabilities(32) == {"first": 0.5, "second": 0.5}
    assert steps.moved[0] == ["a"] and steps.moved[-1] == ["a"]


# -- weights and selection ----------------------------------------------------------------------


@pytest.mark.slow
def test_shares_as_weights_are_loss_weights():
    policy = Proportional({"a": 3.0, "b": 1.0})
    _, model, logs = fitted(policy, "weights", compiled("pcgrad"))
    assert logs["a_share"] == [0.75] * 3 and "a_steps" not in logs
    by_hand = compiled("pcgrad", loss_weights={"a": 1.5, "b": 0.5})
    by_hand.fit(batches(2, "a", "b", rows=40), epochs=3, verbose=0)
    for a, b in zip(values(model), values(by_hand), strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert model.task_factors == {"a": 1.0, "b": 1.0}  # after the training


@pytest.mark.slow
def test_windows_select_tasks_by_their_shares():
    class Turns(RoundRobin):
        needs_losses = True
        windows_seen: list = []

        def observe(self, window):
            super().observe(window)
            self.windows_seen.append(window)

    steps, policy = Steps(), Turns()
    _, model, logs = fitted(policy, "selection", None, [steps], every=4)
    by_window = [["a"]] * 4 + [["b"]] * 4 + [["a"]] * 2 + [["b"]] * 4 + [["a"]] * 4 + [["b"]] * 2
    assert steps.selected[:20] == steps.moved[:20] == by_window
    assert logs["a_steps"] == [6, 4, 6] and logs["a_share"] == [0.6, 0.4, 0.6]
    told = [
        {name: set(of) for name, of in vars(w).items() if name in ("losses", "steps")}
        for w in policy.windows_seen
    ]
    assert told == [{"losses": {name}, "steps": {name}} for name in "ababababa"]
    assert model.selected_tasks == ["a", "b"]


def test_several_tasks_are_drawn_at_once_and_no_more_than_have_shares(model):
    chosen = []
    policy = Proportional({"a": 3, "b": 1})
    for at_once in (1, 2):
        scheduler = begun(TaskScheduler(policy, "selection", at_once=at_once), model)
        for window in range(400):
            scheduler._action.act({"a": 0.75, "b": 0.25}, 0, window)
            chosen.append(model.selected_tasks)
        scheduler.on_train_end()
    assert chosen[400:] == [["a", "b"]] * 400
    assert abs(sum(each == ["a"] for each in chosen[:400]) / 400 - 0.75) < 0.07
    # What is left of rounding is no share.
    scheduler._action.act({"a": 1.0, "b": 1e-12}, 0, 0)
    assert model.selected_tasks == ["a"]
    scheduler.on_train_end()


# -- windows ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_policies_are_told_the_losses_of_windows():
    policy = Notes()
    x, y = arrays(5, rows=20)
    y["b"][8:12] = np.nan  # a batch without labels
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    model = compiled(optimizer=keras.optimizers.SGD(0.0))
    fitted(policy, "weights", model, x=dataset, validation_data=dataset, every=2, epochs=2)
    errors = {n: (p - y[n]) ** 2 for n, p in model.predict(x, verbose=0).items()}
    assert [w.step for w in policy.windows] == [2, 4, 5, 7, 9, 10]
    assert [w.epoch for w in policy.windows] == [0, 0, 0, 1, 1, 1]
    for window, (first, last) in zip(policy.windows, [(0, 8), (8, 16), (16, 20)] * 2, strict=True):
        for name in "ab":
            expected = np.nanmean(errors[name][first:last])
            assert window.losses[name] == pytest.approx(expected, rel=1e-4)
        assert window.steps == dict.fromkeys("ab", (last - first) // 4)
        assert ("val_a_rmse" in window.metrics) == (last == 20)


# -- going on -----------------------------------------------------------------------------------


def values_of(*found):
    """What came out of a training: histories of schedulers, logs and variables."""
    schedulers, model, logs = found
    return [s.history for s in schedulers], logs, values(model)


def scheduled_twice(path=None, interrupted=None):
    """A training of which one scheduler mixes, and another weighs."""
    mixture, weighing = mixed(), TaskScheduler(LearningSpeed(decay=0.0), "weights", every="epoch")
    callbacks = [weighing]
    callbacks += [] if path is None else [Backup(path, every=2, mixture=mixture)]
    callbacks += [] if interrupted is None else [Interrupts(*interrupted)]
    model = compiled("pcgrad")
    mixing, model, logs = fitted(UCB(least=0.2), mixture, model, callbacks)
    return values_of([mixing, weighing], model, logs)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        scheduled_twice(tmp_path / "backup", (1, 7))
    np.testing.assert_equal(scheduled_twice(tmp_path / "backup"), scheduled_twice())


ALONE = {
    "weights": lambda: (MetricPriority(), "weights"),
    "selection": lambda: (Priority({"a": 2}, targets={"a": ("rmse", 0.9)}), "selection"),
    "turns": lambda: (RoundRobin(), mixed()),
    "curriculum": lambda: (Curriculum(pace=7, unit="steps"), mixed()),
    "rows": lambda: (EXP3(), mixed(form="rows", batch_size=4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_every_way_to_act_goes_on(name, tmp_path):
    def train(path=None, interrupted=None):
        policy, through = ALONE[name]()
        mixture = through if isinstance(through, data.Mixture) else None
        callbacks = [] if path is None else [Backup(path, every=2, mixture=mixture)]
        callbacks += [] if interrupted is None else [Interrupts(*interrupted)]
        given = {"validation_data": batches(9, "a", "b")}
        scheduler, *found = fitted(policy, through, None, callbacks, **given)
        return values_of([scheduler], *found)

    for when in ((0, 9), (1, 7)):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "backup", when)
    np.testing.assert_equal(train(tmp_path / "backup"), train())


# -- bad input ----------------------------------------------------------------------------------


def test_bad_arguments_are_named():
    for change, message in (
        ({"policy": "ucb"}, "`policy` should be a `TaskPolicy`. Received: policy='ucb'"),
        ({"policy": UCB}, "`policy` should be a `TaskPolicy`. Received: policy=<class"),
        ({"through": "masks"}, "`through` should be what `mtlzoo.data.mix` gives, 'weights' or 's"),
        ({"through": None}, "`through` should be what `mtlzoo.data.mix` gives, 'weights' or 'sel"),
        ({"every": 0}, "`every` should be an integer of at least 1. Received: every=0"),
        ({"every": "step"}, "`every` should be an integer of at least 1. Received: every='step'"),
        ({"at_once": 2}, "`at_once` should be given with through='selection' only. Received: at_"),
        ({"seed": -1}, "`seed` should be an integer of at least 0. Received: seed=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            TaskScheduler(**{"policy": UCB(), "through": "weights", **change})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            Priority({"c": 1}),
            r"`importance` should have names among \['a', 'b'\] only. Received: 'c'",
        ),
        (
            Priority(targets={"a": ("auc", 0.9)}),
            r"`targets\['a'\]` should name a metric of the task, one of \[.loss., .rmse.\]",
        ),
        (
            Priority(targets={"a": ("rmse", -0.5)}),
            r"`targets\['a'\]` should be one that can be reached: rmse is at least 0",
        ),
        (
            Curriculum(by={"a": "auc", "b": "rmse"}),
            r"`by` should name a metric of task `a`, one of",
        ),
    ],
)
def test_policies_that_do_not_fit_the_model_are_refused_before_the_first_step(
    policy, message, model
):
    with pytest.raises(ValueError, match=message):
        fitted(policy, "weights", model)
    assert int(model.optimizer.iterations) == 0


def test_two_that_act_through_the_same_are_refused(model):
    for first, second in (
        ("weights", "weights"),
        ("selection", "selection"),
        (mixed(), "selection"),
        (mixed(), mixed()),
    ):
        other = TaskScheduler(TaskPolicy(), second)
        with pytest.raises(
            ValueError, match=r"one `TaskScheduler` for each thing .* \['a', 'b'\], with"
        ):
            fitted(UCB(), first, model, [other])
    assert int(model.optimizer.iterations) == 0


def test_a_mixture_of_other_tasks_is_refused(model):
    mixture = data.mix({"first": batches(0, "a"), "other": batches(0, "a").map(named_c)})
    with pytest.raises(
        ValueError, match=r"labels of the tasks \['a', 'b'\] only. Received: task `c`"
    ):
        fitted(UCB(), mixture, model)


def named_c(x, y):
    return x, {"c": y["a"]}


@pytest.mark.slow
def test_another_mixture_than_the_one_that_is_fitted_is_refused():
    with pytest.raises(
        ValueError, match=r"`through` should be the mixture that is fitted: fit\(mixt"
    ):
        fitted(UCB(), mixed(), compiled(run_eagerly=True), x=mixed().dataset)
    with pytest.raises(ValueError, match=r"should be a mixture that is read once, .* steps \[10\]"):
        mixture = mixed()
        fitted(UCB(), mixture, compiled(run_eagerly=True), x=mixture.starting_at(10))
    with pytest.raises(
        ValueError, match=r"should be a mixture that is read once, .* steps \[0, 0\]"
    ):
        mixture = mixed()
        given = {"x": mixture.dataset.take(2), "steps_per_epoch": None}
        fitted(UCB(), mixture, compiled(run_eagerly=True), **given)


def test_a_scheduler_of_a_mixture_serves_one_training(trained):
    mixture, _, scheduler, model, _ = trained
    with pytest.raises(
        ValueError, match=r"`fit` once: .* scheduler of the tasks \['a', 'b'\] again"
    ):
        model.fit(mixture.dataset, steps_per_epoch=10, callbacks=[scheduler], verbose=0)
    with pytest.raises(
        ValueError, match=r"`begin_with` should be called before .* with \d+ changes"
    ):
        TaskScheduler(UCB(), mixture)


def test_shares_that_are_none_are_refused():
    class Wrong(TaskPolicy):
        def __init__(self, found):
            self.found = found

        def shares(self):
            return self.found

    for found, message in (
        ({"first": 1.0}, r"shares of the policy `Wrong` should be those of \['first', 'second'\]"),
        (
            {"first": 1.5, "second": -0.5},
            "The share of `first` should be a number from 0 to 1. Rec",
        ),
        ({"first": float("nan"), "second": 1}, "The share of `first` should be a number from 0 to"),
        ({"first": 0.5, "second": 0.1}, "shares of the policy `Wrong` should have the sum 1. Rece"),
    ):
        with pytest.raises(ValueError, match=message):
            TaskScheduler(Wrong(found), mixed())


def test_a_state_without_that_of_the_mixture_is_refused(trained, model):
    scheduler = begun(TaskScheduler(EXP3(), mixed()), model)
    with pytest.raises(ValueError, match=r"`mixture` of `Backup` should be the one that the sched"):
        scheduler.set_state(trained[2].get_state())
