"""Permutation importance, against a linear model of which the truth is known."""

import keras
import numpy as np
import pytest

from mtlzoo import BinaryClassification, MultiTaskModel, Regression
from mtlzoo.analysis import FeatureImportance, Finding, permutation_importance
from mtlzoo.analysis.importance.permutation import _Scores

ROWS, NAMES = 300, ["u", "v", "w"]
KERNELS = {"a": [2.0, 1.0, 0.0], "b": [0.0, 0.3, -2.0], "c": [0.0, 1.0, 1.0]}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 3)).astype("float32")
Y = {
    "a": X @ KERNELS["a"],
    "b": (X[:, 2] < 0).astype("int32"),
    "c": X @ KERNELS["c"],
}
Y["c"][::3] = np.nan  # missing


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((3,), name="features")
    tasks = [Regression("a"), BinaryClassification("b"), Regression("c")]
    outputs = {task.name: task.head(inputs) for task in tasks}
    made = MultiTaskModel(inputs, outputs, tasks=tasks)
    for name, kernel in KERNELS.items():
        made.get_layer(name).set_weights([np.reshape(kernel, (3, 1)), np.zeros(1)])
    made.compile("adam", jit_compile=False)
    return made


@pytest.fixture(scope="module")
def importance(model):
    return permutation_importance(model, X, Y, names=NAMES, repeats=4, resample=False, seed=3)


@pytest.mark.slow
def test_it_is_that_of_numpy_for_the_same_permutations(importance):
    """Of an exact linear model, the loss after a permutation is that of the moved column."""
    for task in ("a", "c"):
        t, known = importance.tasks.index(task), np.isfinite(Y[task])
        for repeat in range(4):
            for f, weight in enumerate(KERNELS[task]):
                order = np.random.default_rng((3, repeat, f)).permutation(ROWS)
                squared = np.square(weight * (X[order, f] - X[:, f]))[known]
                found = importance.losses.samples[repeat, f, t]
                assert found == pytest.approx(squared.mean(), rel=1e-4, abs=1e-6)
                root = importance.samples[repeat, f, t]
                assert root == pytest.approx(np.sqrt(squared.mean()), rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_the_truth_is_in_the_intervals_and_unread_columns_are_exactly_0(importance):
    """Twice the squared weight times the variance, for a column dealt out at random."""
    truth = 2 * np.square(KERNELS["a"]) * X.var(0)
    found = importance.losses
    assert (found.low[:, 0] <= truth + 1e-6).all() and (truth - 1e-6 <= found.high[:, 0]).all()
    np.testing.assert_array_equal(importance.samples[:, 2, 0], 0)
    np.testing.assert_array_equal(importance.samples[:, 0, 1], 0)


def test_the_deciding_metric_says_who_depends_on_what(importance):
    assert isinstance(importance, Finding)
    assert importance.units == {"a": "rmse", "b": "auc", "c": "rmse"}
    assert importance.certain("a") == ["u", "v"]
    assert importance.top("b", 1)[0][0] == "w"
    assert importance.top("b", 1)[0][1] > 0.3  # an AUC that falls counts as positive
    assert importance.losses.units["b"] == "loss"
    likeness = importance.similarity()
    assert likeness["b", "c"] > likeness["a", "b"]


@pytest.mark.slow
def test_resampled_rows_give_wider_intervals_around_about_the_same(model, importance):
    asked = {"names": NAMES, "groups": {"u": "u"}, "repeats": 4, "seed": 3, "tasks": ["a"]}
    found = permutation_importance(model, X, Y, **asked)
    np.testing.assert_array_equal(
        found.samples, permutation_importance(model, X, Y, **asked).samples
    )
    assert found.tasks == ("a",)
    assert found.values[0, 0] == pytest.approx(importance.values[0, 0], rel=0.15)
    reach = [f.high[0, 0] - f.low[0, 0] for f in (importance, found)]
    assert reach[0] < reach[1]


def test_columns_of_a_group_move_together(model):
    """Twins in one group: the sum of both moves by one permutation."""
    groups = {"both": ["v", "w"], "u": "u"}
    found = permutation_importance(
        model, X, Y, groups=groups, names=NAMES, repeats=3, resample=False, tasks=["c"]
    )
    known = np.isfinite(Y["c"])
    order = np.random.default_rng((0, 0, 0)).permutation(ROWS)
    both = (X[order] - X)[known] @ KERNELS["c"]
    assert found.losses.samples[0, 0, 0] == pytest.approx(np.square(both).mean(), rel=1e-4)
    np.testing.assert_array_equal(found.samples[:, 1], 0)


@pytest.mark.slow
def test_sample_weights_are_those_of_evaluate(model):
    weights = np.zeros(ROWS, "float32")
    weights[:50] = 1
    found = permutation_importance(
        model, X, Y, sample_weight={"a": weights}, groups={"u": [0]}, repeats=3, resample=False
    )
    order = np.random.default_rng((0, 0, 0)).permutation(ROWS)
    squared = np.square(2 * (X[order, 0] - X[:, 0]))[:50]
    assert found.losses.samples[0, 0, 0] == pytest.approx(squared.mean(), rel=1e-4)


@pytest.mark.slow
def test_a_task_without_a_label_that_counts_is_unknown_and_not_0(model):
    few = np.full(ROWS, np.nan)
    few[0] = 1.0
    y = {"a": Y["a"], "b": np.full(ROWS, -1, "int32"), "c": few}
    found = permutation_importance(model, X, y, groups={"u": [0]}, repeats=6)
    assert np.isfinite(found.samples[:, :, 0]).all()  # a
    assert np.isnan(found.samples[:, :, 1]).all() and np.isnan(found.losses.values[0, 1])  # b
    drawn = [np.random.default_rng((0, repeat)).integers(0, ROWS, ROWS) for repeat in range(6)]
    np.testing.assert_array_equal(np.isnan(found.samples[:, 0, 2]), [0 not in d for d in drawn])
    assert "Nothing is known of b" in found.words()
    scores = _Scores(model, ("a", "b", "c"), 64)
    known = scores.counting({"a": Y["a"], "c": Y["c"]}, {"a": np.arange(ROWS) % 2}, ROWS)
    expected = [np.arange(ROWS) % 2, np.zeros(ROWS), np.isfinite(Y["c"])]
    np.testing.assert_array_equal(known, np.stack(expected, 1).astype(bool))
    model.switch_tasks(a=False)
    known = scores.counting(Y, None, ROWS)
    model.switch_tasks(a=True)
    np.testing.assert_array_equal(known.any(0), [False, True, True])


def test_what_cannot_be_measured_is_refused(model):
    inputs = keras.Input((3,))
    tasks = [Regression("a"), Regression("c")]
    new = MultiTaskModel(inputs, {t.name: t.head(inputs) for t in tasks}, tasks=tasks, name="new")
    with pytest.raises(ValueError, match=r"`model` should be compiled.*`new`, which is not"):
        permutation_importance(new, X, Y)
    new.compile("adam", metrics={"a": ["mae"]})
    with pytest.raises(ValueError, match=r"the metric 'rmse' that decides task `a`"):
        permutation_importance(new, X, {name: Y[name] for name in ("a", "c")}, repeats=3)
    for arguments, message in (
        ({"repeats": 2}, r"`repeats` should be 3 at least"),
        ({"confidence": 1.0}, r"`confidence` should be a number between 0 and 1"),
        ({"tasks": ["d"]}, r"`tasks` should be some of"),
        ({"resample": 1}, r"`resample` should be a bool"),
        ({"seed": -1}, r"`seed` should be an integer of at least 0"),
        (
            {"sample_weight": np.ones(ROWS + 1)},
            r"sample weights of task `a`. Received: 300 rows, sample weights of the shape \(301,\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            permutation_importance(model, X, Y, **arguments)
    for rows in (ROWS - 1, 2):
        with pytest.raises(ValueError, match=r"`x` should have as many .* labels of task `a`"):
            permutation_importance(model, X[:rows], Y)
    with pytest.raises(ValueError, match=r"labels of task `b`. Received: 300 .* \(200,\)"):
        permutation_importance(model, X, {**Y, "b": Y["b"][:200]})


def test_the_kind_of_finding_is_public(importance):
    assert isinstance(importance, FeatureImportance)
    assert isinstance(importance.losses, FeatureImportance)
