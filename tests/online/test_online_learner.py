"""A model that learns from a stream: predictions first, and the training of `fit`."""

import dataclasses
import signal
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from stream_models import accounted, compiled, elements, model, rows, same, weights

from mtlzoo import BinaryClassification, HardSharing, Regression
from mtlzoo.online import (
    Decision,
    EveryBatch,
    HeldBack,
    Intake,
    OnlineLearner,
    Quarantine,
    Reservoir,
    UpdatePolicy,
    Windows,
)
from mtlzoo.training import Distillation, model_state


@pytest.mark.slow
def test_prequential_metrics_are_those_of_predictions_made_before_learning():
    x, y = rows(120, missing=0.3)
    made, seen = model(), []

    def stream():
        for inputs, labels in elements(x, y, 20):
            seen.append(made.predict(inputs, verbose=0))
            yield inputs, labels

    history = OnlineLearner(made, batch_size=20, window=60).run(stream())
    outputs = {name: np.concatenate([each[name] for each in seen])[:, 0] for name in y}
    assert history.series("stay", "rmse")[0] == [60, 120]
    for total in (False, True):
        for i, (begin, end) in enumerate([(0, 60), (0 if total else 60, 120)]):
            there = np.isfinite(y["stay"][begin:end])
            errors = (outputs["stay"] - y["stay"])[begin:end][there]
            found = {m: history.series("stay", m, total)[1][i] for m in ("loss", "rmse", "labels")}
            assert found["loss"] == pytest.approx((errors**2).mean(), rel=1e-4)
            assert found["rmse"] == pytest.approx((errors**2).mean() ** 0.5, rel=1e-4)
            assert found["labels"] == there.sum()
            there = y["click"][begin:end] >= 0
            labels, logits = (a[begin:end][there] for a in (y["click"], outputs["click"]))
            losses = np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0) - labels * logits
            assert history.series("click", "loss", total)[1][i] == pytest.approx(
                losses.mean(), rel=1e-4
            )


def test_online_learning_is_a_loop_of_train_on_batch():
    x, y = rows(96)
    y["stay"][::3] = np.nan
    made = model("pcgrad", dropout=0.2)
    history = OnlineLearner(made, EveryBatch(), batch_size=16).run(elements(x, y, 16))
    online = weights(made)
    made = model("pcgrad", dropout=0.2)
    for inputs, labels in elements(x, y, 16):
        made.train_on_batch(inputs, labels)
    assert same(online, weights(made))
    assert [each["trained"] for each in history.updates] == [16] * 6
    assert [each["rows"] for each in history.updates] == [16, 32, 48, 64, 80, 96]


@pytest.mark.slow
def test_windows_are_fit_on_the_windows():
    x, y = rows(96)
    made = model()
    learner = OnlineLearner(made, Windows(rows=48, passes=2), batch_size=16)
    history = learner.run(elements(x, y, 8))  # of other sizes than batches
    online, made = weights(made), model()
    for begin in (0, 48):
        part = {name: labels[begin : begin + 48] for name, labels in y.items()}
        made.fit(x[begin : begin + 48], part, batch_size=16, epochs=2, shuffle=False, verbose=0)
    assert same(online, weights(made))
    assert [(u["rows"], u["steps"], u["reason"]) for u in history.updates] == [
        (48, 6, "48 rows"),
        (96, 6, "48 rows"),
    ]


@pytest.mark.slow
def test_any_size_of_elements_is_traced_once_and_every_row_is_learned():
    x, y = rows(150, missing=0.5)
    made = compiled()
    traced, step = [], made.train_step
    made.train_step = lambda data: (traced.append(data), step(data))[1]
    learner = OnlineLearner(made, batch_size=16, replay=Reservoir(40))

    def stream():
        yield x[:70], {name: labels[:70] for name, labels in y.items()}
        for i in range(70, 150):
            yield [{"x": x[i], "y": {name: labels[i] for name, labels in y.items()}}]

    counts = learner.run(stream()).counts
    assert len(traced) == 1
    labelled = int(((y["click"] >= 0) | np.isfinite(y["stay"])).sum())
    assert counts["learned"] == labelled
    assert counts["unlabelled"] == 150 - labelled
    assert counts["read"] == counts["predicted"] == 150 and accounted(counts)
    assert counts["replayed"] == counts["steps"] * 16 - labelled > 0


@pytest.mark.slow
def test_the_last_rows_are_learned_or_kept():
    x, y = rows(40)
    kept = OnlineLearner(model(), batch_size=16)
    assert kept.run(elements(x, y, 16), at_end="keep").counts["learned"] == 32
    assert kept.counts["waiting"] == 8 and accounted(kept.counts)
    assert kept.run(elements(x[:8], {k: v[:8] for k, v in y.items()}, 8)).counts["learned"] == 48
    full = OnlineLearner(model(), Windows(seconds=1e9), batch_size=16, most_waiting=32)
    assert [u["reason"] for u in full.run(elements(x, y, 8)).updates] == [
        "32 rows wait",
        "the stream has ended",
    ]


@pytest.mark.slow
def test_a_data_set_is_a_stream():
    x, y = rows(40)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    assert OnlineLearner(model(), batch_size=16).run(dataset).counts["learned"] == 40


@pytest.mark.slow
def test_a_student_is_predicted_and_learns_from_its_teacher():
    x, y = rows(48)
    tasks = [BinaryClassification("click"), Regression("stay", metrics=["rmse"])]
    student = HardSharing(keras.Input((4,)), tasks, shared_units=[4])
    made = Distillation(student, model())
    made.compile(keras.optimizers.Adam(0.01))
    model_state.build_metrics(made)
    before, first = model_state.read(made), student.predict(x[:16], verbose=0)["stay"][:, 0]
    learner = OnlineLearner(made, batch_size=16, window=16)
    history = learner.run(elements(x, y, 16))
    online = weights(made)
    assert history.counts["learned"] == 48 and set(history.windows[0]["tasks"]) == {"click", "stay"}
    rmse = ((first - y["stay"][:16]) ** 2).mean() ** 0.5
    assert history.series("stay", "rmse")[1][0] == pytest.approx(rmse, rel=1e-4)
    model_state.restore(made, before)
    for inputs, labels in elements(x, y, 16):
        made.train_on_batch(inputs, labels)
    assert same(online, weights(made))


def test_rows_are_not_learned_twice_after_an_error():
    x, y = rows(48)
    learner = OnlineLearner(model(), Windows(rows=48, passes=2), batch_size=16)
    train, steps = learner._batches._steps.train, []

    def failing(new, old=None):
        steps.append(new.x[0])
        if len(steps) == 2:
            raise tf.errors.ResourceExhaustedError(None, None, "the memory is full")
        train(new, old)

    learner._batches._steps.train = failing
    with pytest.raises(tf.errors.ResourceExhaustedError):
        learner.run(elements(x, y, 16))
    assert (learner.counts["learned"], learner.counts["waiting"], learner.counts["steps"]) == (
        (16, 32, 1)
    )
    assert accounted(learner.counts)
    counts = learner.run([]).counts
    assert counts["learned"] == 48 and accounted(counts)
    assert same(steps, [x[0], x[16], x[16], x[32]])


class Sampled(list):
    """A stream that leaves out rows."""

    left_out = 0
    __hash__ = object.__hash__


def test_rows_that_a_stream_leaves_out_are_counted_once():
    learner, stream = OnlineLearner(model(), batch_size=16), Sampled(elements(*rows(16), 16))
    for left_out, total in ((5, 5), (5, 5), (8, 8)):
        stream.left_out = left_out
        assert learner.run(stream).counts["left_out"] == total
    other = Sampled()
    other.left_out = 2
    assert learner.run(other).counts["left_out"] == 10
    with Intake([], 2, "sample") as intake, pytest.raises(ValueError, match=r"`skip_read` should"):
        learner.run(intake, skip_read=True)


class Decides(UpdatePolicy):
    def __init__(self, what):
        self.what = what

    def decide(self, moment):
        return self.what


def test_what_a_policy_decides_is_checked():
    learner = OnlineLearner(model(), Decides(None), batch_size=16)
    with pytest.raises(ValueError, match=r"`decide` of Decides should return a .*Received: None"):
        learner.run(elements(*rows(16), 16))
    with pytest.raises(ValueError, match=r"`updates` should be an integer of at least 0"):
        Decision(1.5)
    with pytest.raises(ValueError, match=r"`reason` should be a text"):
        Decision(1, None)
    with pytest.raises(ValueError, match=r"`drifts` should be a tuple of names of tasks"):
        Decision(1, drifts="click")


class Times(UpdatePolicy):
    def __init__(self):
        self.windows, self.times = Windows(seconds=10), []

    def decide(self, moment):
        self.times.append(moment.time)
        return self.windows.decide(moment)


def test_a_clock_that_goes_backwards_neither_stops_windows_nor_runs_them_twice():
    x, y = rows(96)
    clock = iter([100, 105, 111, 20, 26, 31, 36, 1e9, 40, 45])

    def stream():
        for inputs, labels in elements(x, y, 8, end=80):
            yield {"x": inputs, "y": labels, "time": np.full(8, float(next(clock)))}
        yield from elements(x, y, 8, begin=80)  # without times

    policy, arrivals = Times(), iter([5.0, 8.0])
    learner = OnlineLearner(model(), policy, batch_size=8, clock=lambda: next(arrivals))
    history = learner.run(stream())
    assert policy.times == [0, 5, 11, 11, 11, 11, 16, 16, 20, 25, 25, 25]
    assert [u["rows"] for u in history.updates] == [24, 80, 96]
    assert history.counts["clock_backwards"] == 3


def test_bad_rows_are_quarantined_and_the_stream_goes_on(tmp_path):
    x, y = rows(64)
    x[3, 0] = np.nan
    x[20] = 1e30  # finite, and its loss is not
    y["click"][5] = 7
    quarantine = Quarantine(tmp_path / "rows.jsonl")
    made = model()
    learner = OnlineLearner(made, batch_size=16, quarantine=quarantine)
    stream = [*elements(x, y, 16), "nonsense"]
    counts = learner.run(stream).counts
    assert counts["quarantined"] == quarantine.count == 4
    assert counts["learned"] == 61 and accounted(counts)
    assert any("The loss of task `stay` should be finite" in r for r in quarantine.by_reason)
    assert all(np.isfinite(w).all() for w in weights(made))
    assert np.isfinite(learner.history.series("stay", "rmse")[1]).all()


def test_a_step_that_fails_changes_nothing_and_many_in_a_row_are_an_error(tmp_path):
    x, y = rows(64)
    made = model()
    learner = OnlineLearner(made, batch_size=16, quarantine=Quarantine(tmp_path / "rows.jsonl"))
    train, steps = learner._batches._steps.train, []

    def failing(new, old=None, which=(2,)):
        steps.append(new)
        inputs = np.full_like(new.x, np.nan) if len(steps) in which else new.x
        return train(dataclasses.replace(new, x=inputs), old)

    learner._batches._steps.train = failing
    counts = learner.run(elements(x, y, 16)).counts
    assert counts["failed_steps"] == 1 and counts["quarantined"] == 16
    assert counts["learned"] == 48 and accounted(counts)
    online, made = weights(made), model()
    for i, (inputs, labels) in enumerate(elements(x, y, 16)):
        if i != 1:
            made.train_on_batch(inputs, labels)
    assert same(online, weights(made))
    learner._batches._steps.train = lambda new, old: failing(new, old, range(100))
    with pytest.raises(
        FloatingPointError, match=r"stopped after 10 steps in a row; their rows are"
    ):
        learner.run(elements(*rows(400), 16))
    assert same(online, weights(made)) and accounted(learner.counts)
    made.get_layer("click").bias.assign([np.nan])
    sick = OnlineLearner(made, batch_size=16, most_failures=2)
    with pytest.raises(FloatingPointError, match=r"2 mini-batches without one finite prediction"):
        sick.run(elements(x, y, 16))


def test_the_learning_rate_of_the_stream_is_put_back():
    x, y = rows(32)
    made, seen = model(), []
    OnlineLearner(made, batch_size=16, learning_rate=0.5).run(
        elements(x, y, 16), after_batch=lambda _: seen.append(float(made.optimizer.learning_rate))
    )
    assert seen == [0.5, 0.5]
    assert float(made.optimizer.learning_rate) == pytest.approx(0.01)
    online, made = made.get_weights(), model()
    made.optimizer.learning_rate = 0.5
    for inputs, labels in elements(x, y, 16):
        made.train_on_batch(inputs, labels)
    assert same(online, made.get_weights())


def test_balancers_get_an_epoch_at_the_end_of_each_window():
    x, y = rows(64)
    made, logs = model(), []
    made.balancer.on_epoch_end = logs.append
    OnlineLearner(made, batch_size=16, window=32).run(elements(x, y, 16))
    assert len(logs) == 2 and {"click_loss", "stay_loss", "stay_rmse"} <= set(logs[0])
    assert logs[0]["stay_loss"] != logs[1]["stay_loss"]
    del made.balancer.on_epoch_end


@pytest.fixture
def interruptible():
    """A process that was started in the background may have been told to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_stopping_and_ctrl_c_take_effect_after_the_mini_batch(tmp_path):
    x, y = rows(96)
    learner = OnlineLearner(model(), batch_size=16, state=tmp_path / "state.npz")

    def ctrl_c(learner):
        if learner.counts["read"] == 32:
            signal.raise_signal(signal.SIGINT)

    take = learner._batches.take

    def interrupted(batch, load):
        found = take(batch, load)
        ctrl_c(learner)
        return found

    learner._batches.take = interrupted
    with pytest.raises(KeyboardInterrupt):
        learner.run(elements(x, y, 48))
    assert learner.counts["learned"] == 32
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    other = OnlineLearner(model(), batch_size=16, state=tmp_path / "state.npz")
    assert other.counts["learned"] == 32 and other.position == 1
    thread = threading.Thread(
        target=other.run,
        args=(elements(x, y, 48),),
        kwargs={"after_batch": lambda each: each.counts["learned"] == 64 and each.stop()},
    )
    thread.start()
    thread.join()
    assert other.counts["learned"] == 64  # the rest of the first element, and some of the next


def test_bad_arguments_are_errors():
    made = model()
    for given, text in [
        ({"batch_size": 0}, r"`batch_size` should be an integer of at least 1"),
        ({"update": "every"}, r"`update` should be of `mtlzoo.online.UpdatePolicy`, or None"),
        ({"replay": 3}, r"`replay` should be of `mtlzoo.online.Reservoir`"),
        ({"versions": "folder"}, r"`versions` should have the methods \['publish', 'newest'"),
        ({"learning_rate": -1}, r"`learning_rate` should be a positive number or None"),
        (
            {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)},
            r"`learning_rate` should be a number, since a stream has no end",
        ),
        ({"state": ""}, r"`state` should be the path of a file"),
        ({"replay": Reservoir(1, per_task=True)}, r"`capacity` should be at least 2"),
        ({"preprocessor": "own"}, r"`preprocessor` should be a Keras model, or None, for a model"),
        (
            {"update": Windows(rows=80), "most_waiting": 60},
            r"`most_waiting` should be at least the `rows` of the update policy",
        ),
    ]:
        with pytest.raises(ValueError, match=text):
            OnlineLearner(made, **given)
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with pytest.raises(
        ValueError, match=r"`learning_rate` should be None where the model was comp"
    ):
        OnlineLearner(compiled(optimizer=keras.optimizers.SGD(decay)), learning_rate=0.1)
    with pytest.raises(
        ValueError, match=r"`model` should be compiled with `steps_per_execution=1`"
    ):
        OnlineLearner(compiled(steps_per_execution=2))
    with pytest.raises(ValueError, match=r"`model` should be a multi-task model that is compiled"):
        OnlineLearner(keras.Sequential())
    learner = OnlineLearner(made, held_back=HeldBack(2))
    with pytest.raises(ValueError, match=r"`stream` should be an iterable of elements"):
        learner.run(3)
    with pytest.raises(ValueError, match=r"`at_end` should be 'learn' or 'keep'"):
        learner.run([], at_end="drop")
    with pytest.raises(ValueError, match=r"`rows` or `seconds` should be given"):
        Windows()
    with pytest.raises(ValueError, match=r"`seconds` should be a positive number or None"):
        Windows(seconds=0)
