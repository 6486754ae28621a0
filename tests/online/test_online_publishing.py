"""Only what is not worse is published, and what turns out to be worse is withdrawn."""

import copy
import errno

import keras
import numpy as np
import pytest
from stream_models import elements, model, rows, same

from mtlzoo.online import HeldBack, OnlineLearner, Publishing, StreamBatch
from mtlzoo.online.judging import Judge
from mtlzoo.online.publisher import Publisher
from mtlzoo.serving import Versions
from mtlzoo.training import add_l2_sp


class InMemory:
    """Versions as lists of weights."""

    def __init__(self):
        self.kept, self.infos, self.used, self.fails = {}, {}, 0, 0

    def publish(self, made, info=None):
        if self.fails:
            self.fails -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        self.used += 1
        self.kept[self.used], self.infos[self.used] = made.get_weights(), info
        return self.used

    def numbers(self):
        return sorted(self.kept)

    def newest(self):
        return max(self.kept, default=None)

    def info(self, number):
        return self.infos[number]

    def roll_back(self):
        del self.kept[self.newest()]
        return self.newest()


def learner(made, versions, held_back=None, **rules):
    rules = {"every_rows": 64, "least_labels": 10, **rules}
    held_back = HeldBack(4, rows=60) if held_back is None else held_back
    return OnlineLearner(
        made,
        batch_size=16,
        held_back=held_back,
        versions=versions,
        publishing=Publishing(**rules),
    )


def events(history):
    return [each["event"] for each in history.publications]


@pytest.mark.slow
def test_what_is_better_is_published_with_what_was_measured():
    versions, made = InMemory(), model()
    first = made.get_weights()
    history = learner(made, versions).run(elements(*rows(320), 16))
    assert same(versions.kept[1], first)
    assert versions.newest() == history.counts["published"] >= 3
    assert events(history) == ["published"] * versions.newest()
    info = versions.info(versions.newest())
    assert info["rows"] == history.publications[-1]["rows"] > 200
    stay = info["comparison"]["stay"]
    assert (stay["metric"], info["comparison"]["click"]["metric"]) == ("rmse", "loss")
    assert stay["candidate"] < stay["other"] and stay["better"] > 0 and stay["labels"] >= 10


def test_what_is_worse_is_not_and_the_learner_goes_back():
    versions, made = InMemory(), model()
    made.fit(*rows(1000, seed=3), epochs=3, batch_size=50, verbose=0)
    good, slots = made.get_weights(), [np.array(v) for v in made.optimizer.variables]
    x, y = rows(400)
    held_back = HeldBack(4, rows=60)
    y["stay"][~held_back.chooses(np.arange(400))] *= -1  # what is learned from is wrong
    history = learner(made, versions, held_back, patience=2, standard_errors=0).run(
        elements(x, y, 16), after_batch=lambda each: each.counts["returned"] and each.stop()
    )
    assert events(history) == ["published", "rejected", "rejected", "returned"]
    assert history.counts["rejected"] == 2 and history.counts["published"] == versions.newest() == 1
    worse = history.publications[1]["comparison"]["stay"]
    assert worse["better"] == pytest.approx(worse["other"] - worse["candidate"]) and (
        worse["better"] < 0
    )
    assert same(made.get_weights(), good)
    assert same(made.optimizer.variables, slots)


@pytest.mark.slow
def test_a_version_that_turns_out_worse_is_withdrawn():
    versions, made = InMemory(), model()
    made.fit(*rows(1000, seed=3), epochs=3, batch_size=50, verbose=0)
    x, y = rows(640)
    y["stay"][:192] *= -1  # and the rows to judge by, too: the world has changed, and back
    held_back = HeldBack(4, rows=60)
    made_learner = learner(made, versions, held_back, patience=None)
    good = made.get_weights()
    history = made_learner.run(elements(x, y, 16))
    assert "rolled back" in events(history)
    assert history.counts["rolled_back"] >= 1
    assert same(versions.kept[1], good)
    rolled = events(history).index("rolled back")
    found = history.publications[rolled]
    assert found["comparison"]["stay"]["better"] < 0 and found["version"] not in versions.kept


class Published:
    """A publisher of a model whose task `stay` is off by its bias, on 60 held-back rows."""

    def __init__(self, fails=0, **rules):
        self.versions, self.model, self.events, self.rows = InMemory(), model(), [], 0
        self.versions.fails = fails
        self.held_back = HeldBack(4, rows=200)
        self.hold_back(60)
        rules = {"every_rows": 64, "least_labels": 10, "standard_errors": 0, **rules}
        self.publisher = Publisher(
            self.model, self.versions, Publishing(**rules), self.held_back, self.predict, self.note
        )
        self.publisher.begin(0, 0.0)

    @property
    def bias(self):
        return float(keras.ops.convert_to_numpy(self.model.get_layer("stay").bias)[0])

    def predict(self, x):
        stay = (x[:, 1] - x[:, 2] + self.bias)[:, None]
        return {"click": np.zeros_like(stay), "stay": stay}

    def note(self, event, version, found):
        self.events.append((event, version))

    def hold_back(self, number, shift=0.0):
        x, y = rows(number)
        ones = {name: np.ones(number, "float32") for name in y}
        y["stay"] += np.float32(shift)
        self.held_back.add(StreamBatch(x, y, ones), np.ones((number, 2), bool))

    def candidate(self, bias):
        """Judge a model; what has happened."""
        self.model.get_layer("stay").bias.assign([bias])
        self.rows += 64
        self.events.clear()
        self.publisher.after_update(self.rows, 0.0)
        return list(self.events)


def test_a_first_version_that_fails_is_counted_and_tried_again():
    made = Published(fails=2)
    first = made.model.get_weights()
    assert made.candidate(0.1) == [("failed", None)]
    assert made.candidate(-0.1) == [("published", 1), ("rejected", 1)]
    assert same(made.versions.kept[1], first) and made.bias == pytest.approx(-0.1)
    made.versions.fails = 1
    assert made.candidate(0.0) == [("failed", None)]
    assert made.candidate(0.0) == [("published", 2)]


def test_many_small_steps_down_do_not_add_up():
    made = Published(tolerance=0.1)
    assert made.candidate(0.12) == [("published", 2)]  # an RMSE of 0.16, and of 0.1 without a bias
    assert made.candidate(0.22) == [("rejected", 1)]  # of 0.24
    made.publisher.set_state(copy.deepcopy(made.publisher.get_state()))
    assert made.candidate(0.22) == [("rejected", 1)]
    assert made.candidate(0.0) == [("published", 3)]
    assert made.candidate(0.12) == [("published", 4)]


def test_the_learner_does_not_go_back_where_only_older_rows_speak_for_it():
    made = Published(patience=1)
    made.hold_back(20, shift=1.0)  # the world has changed
    assert made.candidate(0.6) == [("rejected", 1)]
    made.model.optimizer.learning_rate = 0.5
    assert made.candidate(-1.0) == [("rejected", 1), ("returned", 1)]
    assert made.bias == 0 and float(made.model.optimizer.learning_rate) == 0.5


def test_a_version_that_somebody_else_withdraws_is_no_longer_compared_with():
    made = Published(tolerance=0.3)
    assert made.candidate(0.3) == [("published", 2)]
    assert made.candidate(0.0) == [("published", 3)]
    made.versions.roll_back()
    assert made.candidate(0.55) == [("rolled back", 3), ("published", 4)]  # version 3 was better


def test_a_version_is_recognized_by_its_weights():
    made = Published(tolerance=1.0)
    state = copy.deepcopy(made.publisher.get_state())
    assert made.candidate(0.2) == [("published", 2)]
    for bias, number in ((0.2, 2), (0.3, 3)):
        made.publisher.set_state(copy.deepcopy(state))
        made.rows = 0
        assert made.candidate(bias) == [("published", number)]
        assert made.versions.used == number


def test_a_model_that_is_not_the_newest_version_is_refused():
    versions, made = InMemory(), model()
    for _ in range(2):
        learner(made, versions).run([])
        assert versions.used == 1
    made.get_layer("click").bias.assign([3.0])
    with pytest.raises(ValueError, match=r"other weights than those of version 1"):
        learner(made, versions).run([])
    versions.publish(made)
    assert learner(made, versions).run([]).counts["published"] == 0


class WithFront(InMemory):
    def publish(self, made, info=None, *, preprocessor="own"):
        self.front = preprocessor
        return super().publish(made, info)


def test_what_is_published_takes_what_the_stream_has():
    raw = keras.Input((2,), name="raw")
    front = keras.Model(raw, keras.layers.Concatenate()([raw, raw]))
    for given, found in ((front, front), (None, "own")):
        versions = WithFront()
        OnlineLearner(model(), batch_size=16, preprocessor=given, versions=versions).run([])
        assert versions.front is found


@pytest.mark.slow
def test_nothing_is_published_before_there_are_labels_to_judge_by():
    versions = InMemory()
    held_back = HeldBack(4, rows=1000)
    history = learner(model(), versions, held_back, least_labels=1000).run(elements(*rows(160), 16))
    assert events(history) == ["published"]  # as it was given


@pytest.mark.slow
def test_a_penalty_pulls_towards_what_was_published():
    made = model("pcgrad", jit_compile=False)
    penalty = add_l2_sp(made, alpha=0.1)
    try:
        history = learner(made, InMemory()).run(elements(*rows(240), 16))
        assert history.counts["published"] > 1
        versions = InMemory()
        learner(made, versions).run(
            elements(*rows(320, seed=2), 16),
            after_batch=lambda each: versions.used > 1 and each.stop(),
        )
        starts = [keras.ops.convert_to_numpy(v) for v in penalty.variables]
        now = [keras.ops.convert_to_numpy(v) for v in made.shared_variables]
        assert same(starts, now)
    finally:
        made.attached = None


@pytest.mark.slow
def test_comparisons_are_those_of_the_metrics():
    made = model(metrics=True)
    x, y = rows(200, missing=0.3)
    outputs = made.predict(x, verbose=0)
    other = {name: value + 0.5 * x[:, :1] for name, value in outputs.items()}
    has = np.stack([y["click"] >= 0, np.isfinite(y["stay"])], 1)
    ones = {name: np.ones(200, "float32") for name in y}
    found = Judge(made).compare((StreamBatch(x, y, ones), has, np.arange(200)), other, outputs, 20)
    there, blocks = has[:, 1], np.arange(200) % 10

    def rmse(given, rows):
        return ((given["stay"][rows, 0] - y["stay"][rows]) ** 2).mean() ** 0.5

    better = [
        rmse(outputs, there & part) - rmse(other, there & part)
        for part in [blocks >= 0, *(blocks != block for block in range(10))]
    ]
    assert found["stay"].better == pytest.approx(better[0], rel=1e-4)
    error = np.sqrt(0.9 * ((better[1:] - np.mean(better[1:])) ** 2).sum())
    assert found["stay"].standard_error == pytest.approx(error, rel=1e-3)
    assert found["click"].metric == "auc" and found["click"].labels == has[:, 0].sum()
    assert found["click"].better == pytest.approx(found["click"].candidate - found["click"].other)
    assert found["click"].is_worse(0.0, 0.0) == (found["click"].better < 0)
    broken = {name: np.full_like(value, np.nan) for name, value in outputs.items()}
    rows_ = (StreamBatch(x, y, ones), has, np.arange(200))
    judged = Judge(made)
    assert judged.compare(rows_, broken, outputs, 20)["stay"].is_worse(9.0, 9.0)
    assert not judged.compare(rows_, outputs, broken, 20)["stay"].is_worse(0.0, 0.0)
    assert judged.compare(rows_, broken, broken, 20) == {}


@pytest.mark.slow
def test_the_versions_are_those_that_a_server_loads(tmp_path):
    versions = Versions(tmp_path)
    made = model()
    history = learner(made, versions, every_rows=160).run(elements(*rows(160), 16))
    assert versions.numbers() == [1, 2] and history.counts["published"] == 2
    assert versions.info(2)["rows"] == 160


def test_bad_arguments_are_errors():
    for given, text in [
        ({"every_rows": 0}, r"`every_rows` should be an integer of at least 1"),
        ({"every_seconds": 0}, r"`every_seconds` should be a positive number or None"),
        ({"tolerance": -1}, r"`tolerance` should be a number of at least 0"),
        ({"standard_errors": float("nan")}, r"`standard_errors` should be a number of at least 0"),
        ({"patience": 0}, r"`patience` should be an integer of at least 1"),
    ]:
        with pytest.raises(ValueError, match=text):
            Publishing(**given)
    with pytest.raises(
        ValueError, match=r"no task ever decides. Received: least_labels=61, rows=60"
    ):
        learner(model(), InMemory(), least_labels=61)
