"""Only what is not worse is published, and what turns out to be worse is withdrawn."""

import errno

import keras
import numpy as np
import pytest
from stream_models import elements, model, rows, same

from mtlzoo.online import HeldBack, OnlineLearner, Publishing
from mtlzoo.online.judging import Judge
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


@pytest.mark.slow
def test_a_publication_that_fails_is_counted_and_tried_again():
    versions = InMemory()
    versions.fails = 2
    history = learner(model(), versions).run(elements(*rows(320), 16))
    assert history.counts["publish_failures"] == 2 and events(history)[0] == "failed"
    assert history.counts["published"] == versions.newest() >= 1


def test_nothing_is_published_before_there_are_labels_to_judge_by():
    versions = InMemory()
    history = learner(model(), versions, least_labels=1000).run(elements(*rows(160), 16))
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


def test_comparisons_are_those_of_the_metrics():
    made = model(metrics=True)
    x, y = rows(200, missing=0.3)
    outputs = made.predict(x, verbose=0)
    other = {name: value + 0.5 * x[:, :1] for name, value in outputs.items()}
    has = np.stack([y["click"] >= 0, np.isfinite(y["stay"])], 1)
    from mtlzoo.online import StreamBatch

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
