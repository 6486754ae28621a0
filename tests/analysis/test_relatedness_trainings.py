"""Groups that are trained: scores and gains of pairs, of groups, and of few labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import BinaryClassification, Classification, HardSharing, Regression
from mtlzoo.analysis import (
    Finding,
    GroupTrainings,
    LabelEfficiency,
    TaskGroups,
    label_efficiency,
    measure_groups,
    pairwise_gains,
)
from mtlzoo.analysis.relatedness.group_trainings import checked_seeds, gain, train_runs
from mtlzoo.analysis.relatedness.label_efficiency import _Kept

NAMES = ("a", "b", "c")


def tasks(names):
    return [Regression(n, metrics=["rmse"]) for n in names]


def build(names):
    inputs = keras.Input((4,))
    model = HardSharing(inputs, tasks(names), shared_units=[3], dropout=0.2)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def data():
    x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
    return x, {"a": x[:, 0] + 2, "b": x[:, 1] + 2, "c": x[:, 0] - 2}


@pytest.fixture(scope="module")
def trainings(data):
    trained = []
    made = GroupTrainings(
        build, ["c", "a", "b"], data, data, seeds=[4, 7], batch_size=24,
        on_trained=lambda names, seed, model: trained.append((names, seed)),
    )  # fmt: skip
    made.trained = trained
    return made


def by_hand(names, seed, data):
    """The scores of one training that has nothing to do with another."""
    x, y = data
    y = {name: y[name] for name in names}
    keras.utils.set_random_seed(seed)
    model = build(names)
    keras.utils.set_random_seed(seed)
    model.fit(x, y, batch_size=24, verbose=0)
    logs = model.evaluate(x, y, batch_size=24, return_dict=True, verbose=0)
    return [logs[f"{name}_{model.tasks[name].monitor}"] for name in names]


@pytest.mark.slow
def test_gains_of_pairs_are_those_of_trainings_apart(trainings, data):
    gains = pairwise_gains(trainings)
    assert gains.directed and gains.names == NAMES and gains.samples.shape == (2, 3, 3)
    pair = dict(zip("ac", by_hand(("a", "c"), 7, data), strict=True))
    alone = {name: by_hand((name,), 7, data)[0] for name in "ac"}
    for (acts, on), name in {(2, 0): "a", (0, 2): "c"}.items():
        expected = 100 * (alone[name] - pair[name]) / alone[name]  # a lower error is better
        assert gains.samples[1, acts, on] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(np.diagonal(gains.samples, axis1=1, axis2=2)).all()


@pytest.mark.slow
def test_what_was_trained_is_remembered(trainings):
    pairwise_gains(trainings)
    before = list(trainings.trained)
    assert len(before) == len(set(before)) == 12  # 3 tasks and 3 pairs, 2 seeds
    groups = TaskGroups([["a", "b"], ["c"]], {"a": 1.0, "b": 1.0, "c": 0.0}, "cosine")
    measured = measure_groups(groups, trainings)
    assert trainings.trained == [*before, (NAMES, 4), (NAMES, 7)]
    np.testing.assert_array_equal(measured.measured.by_task["c"], [0, 0])
    np.testing.assert_array_equal(
        measured.measured.by_task["b"], pairwise_gains(trainings).samples[:, 0, 1]
    )
    np.testing.assert_array_equal(measured.together.by_task["a"], trainings.gains(NAMES)[:, 0])
    assert measure_groups(groups, trainings, together=False).together is None


@pytest.mark.slow
def test_where_groups_overlap_the_best_counts(trainings):
    groups = TaskGroups([["a", "b"], ["a", "c"]], dict.fromkeys("abc", 1.0), "cosine")
    found = measure_groups(groups, trainings, together=False).measured.by_task["a"]
    both = [trainings.gains(group)[:, 0] for group in ("ab", "ac")]
    np.testing.assert_array_equal(found, max(both, key=np.mean))


@pytest.mark.slow
def test_data_sets_and_weights_are_read_by_task(data):
    x, y = data
    weights = {"a": np.ones(24, "float32")}
    arrays = GroupTrainings(build, "ab", (x, y, weights), data, seeds=[0], batch_size=24)
    batches = tf.data.Dataset.from_tensor_slices(data).batch(24)
    read = GroupTrainings(build, "ab", batches, batches, seeds=[0])
    np.testing.assert_allclose(arrays.scores("ab"), read.scores("ab"), rtol=1e-5)


@pytest.mark.slow
def test_a_seed_gives_the_same_whatever_was_trained_before(data):
    x, y = data
    own = x, {"a": y["a"]}
    one, _ = train_runs(build, ("a",), [(3, own)], own, epochs=1)
    two, _ = train_runs(build, ("a",), [(1, own), (3, own)], own, epochs=1)
    assert one[0] == two[1] != two[0]


def test_few_labels_are_hidden_and_nothing_else(data, monkeypatch):
    seen = {}

    def look(build, names, runs, valid, **options):
        runs = list(runs)
        seen[names] = [train[1] for _, train in runs]
        return np.arange(4.0)[:, None] + np.zeros(len(names)), {}

    monkeypatch.setattr("mtlzoo.analysis.relatedness.label_efficiency.train_runs", look)
    x, y = data
    y = {**y, "a": y["a"].copy()}
    y["a"][:4] = np.nan
    found = label_efficiency(
        build, (x, y), (x, y), task="a", beside={"beside c": ["c"]}, counts=[9, 3], seeds=[0, 1]
    )
    assert found.counts == (3, 9)
    np.testing.assert_array_equal(found.scores["alone"], [[0, 1], [2, 3]])
    there = [~np.isnan(labels["a"]) for labels in seen["a",]]
    assert [int(t.sum()) for t in there] == [3, 3, 9, 9]
    assert not any(t[:4].any() for t in there)
    for few, many in zip(there[:2], there[2:], strict=True):
        assert (many | ~few).all()  # the few are among the many
    assert (there[2] != there[3]).any()
    for alone, beside in zip(seen["a",], seen["a", "c"], strict=True):
        np.testing.assert_array_equal(alone["a"], beside["a"])
        np.testing.assert_array_equal(beside["c"], y["c"])
    assert not np.isnan(y["a"][4:]).any()


@pytest.mark.parametrize("missing", [-1, float("nan")])
def test_labels_that_are_distributions_are_hidden_in_all_classes(missing):
    task = Classification("a", 3, missing=missing)
    labels = np.full((6, 3), 1 / 3, "float32")
    kept = _Kept(task, (np.ones((6, 2)), {"a": labels}), [2], [0])
    _, hidden = kept.data(("a",), 2, 0)
    assert hidden["a"].dtype == "float32"
    assert int(np.asarray(task.read_labels(hidden["a"]).present).sum()) == 2


@pytest.mark.slow
def test_labels_are_counted_and_trained(data):
    found = label_efficiency(
        build, data, data, task="c", beside={"beside a": ["a"]}, counts=[6], seeds=[0],
        batch_size=24,
    )  # fmt: skip
    assert found.scores["beside a"].shape == (1, 1)
    assert found.words().endswith("one seed, which says nothing of the spread.")


def test_label_efficiency_says_what_labels_are_worth():
    scores = {
        "alone": np.array([[0.6, 0.62], [0.7, 0.71]]),
        "beside b": np.array([[0.7, 0.73], [0.72, 0.72]]),
        "beside c": np.array([[0.5, 0.51], [0.7, 0.71]]),
    }
    found = LabelEfficiency(BinaryClassification("a"), [10, 100], scores)
    assert isinstance(found, Finding)
    assert found.gain("beside b", 10) == pytest.approx((0.105, 0.005))
    assert found.words() == (
        "Judged by auc (higher is better), a alone has 0.610 ± 0.010 with 10 labels, "
        "0.705 ± 0.005 with 100. "
        "Beside b, it is better than alone with 10 labels (+0.105 ± 0.005) and 100 labels "
        "(+0.015 ± 0.005). With 10 labels its mean is at least as good as that of 100 labels alone "
        "(+0.010 ± 0.010). "
        "Beside c, it is worse than alone with 10 labels (-0.105 ± 0.005) and cannot be told from "
        "alone with 100 labels (+0.000 ± 0.000)."
    )
    assert found.rows()[1][:4] == ["10", "0.610 ± 0.010", "0.715 ± 0.015", "+0.105 ± 0.005"]
    panel = found.figure().axes[0]
    assert panel.get_xlabel() == "labels of a in training"
    assert panel.get_ylabel() == "auc of a" and panel.get_title().startswith("higher is better")
    small = {"alone": 1e-3 * scores["alone"], "beside CTR": 1e-3 * scores["beside b"]}
    words = LabelEfficiency(BinaryClassification("a"), [10, 100], small).words()
    assert "Beside CTR, it is better than alone with 10 labels (+0.000105 ± 0.000005)" in words
    lower = LabelEfficiency(Regression("a"), [10, 100], scores)
    assert lower.gain("beside b", 10)[0] == pytest.approx(-0.105)


def test_what_cannot_be_trained_is_refused(data):
    x, _ = data

    def refused(error, function, *arguments, **options):
        with pytest.raises(ValueError, match=error):
            function(*arguments, **options)

    refused(r"`names` should be two different tasks or more, since one.*\['a'\]",
            GroupTrainings, build, ["a"], data, data)  # fmt: skip
    refused(r"`seeds` should be one or more different integers. Received: \(1, 1\)",
            GroupTrainings, build, "ab", data, data, seeds=[1, 1])  # fmt: skip
    made = GroupTrainings(build, ["a", "d"], data, data, seeds=[0])
    refused(r"`names` should be some of the tasks \['a', 'd'\]. Received: 'b'", made.scores, "b")
    refused(r"Labels should be a dict with those of the tasks \['d'\]. Rec", made.scores, "d")
    refused(r"Data should be a `tf.data.Dataset` or a tuple.* type ndarray",
            GroupTrainings(build, "ab", x, data).scores, "a")  # fmt: skip
    other = GroupTrainings(lambda names: build(["a"]), "ab", data, data)
    refused(r"`build` should make a multi-task model of the tasks \['b'\]. .*\['a'\]",
            other.scores, "b")  # fmt: skip
    refused(r"`trainings` should be of the tasks \['a'\]. Received: those of \['a', 'b'\]",
            measure_groups, TaskGroups([["a"]], {"a": 0}, "cosine"), other)  # fmt: skip

    def labels(**options):
        options = {"task": "a", "beside": {"beside b": ["b"]}, "counts": [3], **options}
        return label_efficiency(build, options.pop("train", data), data, **options)

    refused(r"`train` should be arrays", labels, train=tf.data.Dataset.from_tensors(data))
    refused(r"`beside` should have lists of other tasks than `a`", labels, beside={"b": ["a"]})
    refused(r"`beside` should have company to compare with. Received: none", labels, beside={})
    refused(r"`counts` should be at most the 24 labels that task `a` has. Received: 25",
            labels, counts=[25])  # fmt: skip
    refused(r"`counts` should be different numbers. Received: counts=\[3, 3\]",
            labels, counts=[3, 3])  # fmt: skip
    refused(r"`counts` should be a list. Received: counts=4", labels, counts=4)
    refused(r"`beside` should be a dict. Received: beside=\['b'\]", labels, beside=["b"])
    for scores in ({"beside b": np.ones((1, 2))}, {"alone": np.ones(2)}):
        refused(r"`scores` should have 'alone' and others, each by count and seed, .*\(1, S\)",
                LabelEfficiency, Regression("a"), [3], scores)  # fmt: skip
    refused(r"Labels should be a dict with those of the tasks \['z'\]", labels, task="z")


def test_seeds_of_numpy_are_integers():
    seeds = checked_seeds(np.arange(2))
    assert seeds == (0, 1) and all(type(seed) is int for seed in seeds)


def test_a_metric_that_is_not_finite_gives_no_gain(caplog):
    known = {("a",): [1.0, 2.0], ("b",): [1.0, 1.0], ("a", "b"): [[np.nan, 2.0], [1.0, 2.0]]}
    made = GroupTrainings(build, "ab", None, None, seeds=[4, 7])
    made._scores = {g: np.reshape(scores, (2, len(g))) for g, scores in known.items()}
    made._tasks = {name: Regression(name) for name in "ab"}
    gains = pairwise_gains(made)
    np.testing.assert_array_equal(gains.samples[:, 1, 0], [np.nan, 50])
    assert gains["b", "a"] == 50
    assert "task `a` gains in a+b is not known for the seed 4" in caplog.text
    measured = measure_groups(TaskGroups([["a", "b"]], {"a": 1, "b": 1}, "cosine"), made)
    assert "delta_m is -25.00 %: one seed cannot tell it from 0." in measured.words()
    made._scores["a", "b"][:, 0] = np.nan
    measured = measure_groups(TaskGroups([["a", "b"]], {"a": 1, "b": 1}, "cosine"), made)
    assert "delta_m is not known: a metric was not finite." in measured.words()


def test_a_baseline_of_zero_gives_no_gain():
    assert np.isnan(gain(Regression("a"), 1.0, 0.0))
    assert gain(Regression("a"), 1.0, 2.0) == 50
    assert gain(BinaryClassification("a"), 0.75, 0.5) == 50
