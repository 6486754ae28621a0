"""SHAP values: additive, exact where exactness is known, also of text and groups."""

import itertools
import math
import sys

import keras
import numpy as np
import pytest

from mtlzoo import BinaryClassification, Classification, MultiTaskModel, Regression
from mtlzoo.analysis import Finding, shap_values
from mtlzoo.analysis.importance.shap_values import _Game

RNG = np.random.default_rng(0)
BACKGROUND, X = RNG.normal(size=(5, 3)).astype("float32"), RNG.normal(size=(4, 3)).astype("float32")
NAMES = ["u", "v", "w"]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,), name="features")
    tasks = [BinaryClassification("b"), Classification("kind", num_classes=3), Regression("r")]
    hidden = keras.layers.Dense(8, "tanh")(inputs)
    outputs = {task.name: task.head(hidden) for task in tasks}
    return MultiTaskModel(inputs, outputs, tasks=tasks)


def exact(function, row, background):
    """Shapley's values by their definition: the mean over all orders."""
    count = len(row)

    def value(known):
        rows = background.copy()
        rows[:, list(known)] = row[list(known)]
        return function(rows).mean()

    found = np.zeros(count)
    for order in itertools.permutations(range(count)):
        for place, feature in enumerate(order):
            found[feature] += value(order[: place + 1]) - value(order[:place])
    return found / math.factorial(count)


@pytest.fixture(scope="module")
def found(model):
    return shap_values(model, "b", BACKGROUND, X, names=NAMES, permutations=20)


@pytest.mark.slow
def test_contributions_and_the_base_add_up_to_the_output(model, found):
    assert isinstance(found, Finding)
    raw = np.asarray(model(X)["b"])[:, 0]
    np.testing.assert_allclose(found.outputs, raw, rtol=1e-5)
    np.testing.assert_allclose(found.contributions.sum(1) + found.base, raw, rtol=1e-5)
    base = np.asarray(model(BACKGROUND)["b"]).mean()
    assert found.base == pytest.approx(base, rel=1e-5)


@pytest.mark.slow
def test_they_are_shapleys_values(model, found):
    def function(rows):
        return np.asarray(model(rows)["b"])[:, 0]

    for row, contributions in zip(X[:2], found.contributions, strict=False):
        np.testing.assert_allclose(contributions, exact(function, row, BACKGROUND), atol=0.03)


def test_as_many_permutations_run_as_were_asked_for(model, monkeypatch):
    means, sizes = _Game.means, []
    monkeypatch.setattr(
        _Game, "means", lambda game, numbers: sizes.append(len(numbers)) or means(game, numbers)
    )

    def evaluated(permutations):
        sizes.clear()
        shap_values(model, "b", BACKGROUND, X, permutations=permutations)
        return sum(sizes)

    # For each row the background, then each feature put in and taken out again.
    one = (2 * len(NAMES) + 1) * len(X)
    first, *more = (evaluated(permutations) for permutations in (1, 2, 3, 9))
    assert [count - first for count in more] == [one, 2 * one, 8 * one]


@pytest.mark.slow
def test_importances_are_mean_sizes(found):
    np.testing.assert_allclose(found.values[:, 0], np.abs(found.contributions).mean(0))
    assert found.units == {"b": "mean |SHAP|"}
    assert "raw output of 4 rows" in found.words()
    assert found.features == tuple(NAMES)


def test_they_are_the_same_for_the_same_seed_and_leave_numpys_generator(model):
    np.random.seed(5)
    first = shap_values(model, "r", BACKGROUND, X)
    drawn = np.random.random()
    np.testing.assert_array_equal(
        first.contributions, shap_values(model, "r", BACKGROUND, X).contributions
    )
    np.random.seed(5)
    assert drawn == np.random.random()


def test_a_class_is_chosen_and_what_is_in_no_group_is_one(model):
    found = shap_values(model, "kind", BACKGROUND, X, groups={"first": [0]}, output=2)
    assert found.features == ("first", "all else")
    raw = np.asarray(model(X)["kind"])[:, 2]
    np.testing.assert_allclose(found.contributions.sum(1) + found.base, raw, rtol=1e-4)


def test_text_goes_through_the_preprocessor():
    raw = {"word": keras.Input((), dtype="string", name="word"), "n": keras.Input((), name="n")}
    lookup = keras.layers.StringLookup(vocabulary=["x", "y"], output_mode="one_hot")
    joined = keras.layers.Concatenate()([lookup(raw["word"]), raw["n"][:, None]])
    inputs, task = keras.Input((4,), name="features"), Regression("r")
    made = MultiTaskModel(
        inputs, {"r": task.head(inputs)}, tasks=[task], preprocessor=keras.Model(raw, joined)
    )
    made.get_layer("r").set_weights([np.array([[0.0], [1], [3], [2]]), np.zeros(1)])
    background = {"word": np.array(["x", "x"]), "n": np.zeros(2, "float32")}
    x = {"word": np.array(["y", "x", "z"]), "n": np.array([1.0, 2, 0], "float32")}
    found = shap_values(made, "r", background, x)
    # Of a linear model, the difference to the background.
    np.testing.assert_allclose(found.contributions, [[2, 2], [0, 4], [-1, 0]], atol=1e-6)


def test_what_cannot_be_explained_is_refused(model):
    with pytest.raises(ValueError, match=r"`output` should be the number of one of the 3 outputs"):
        shap_values(model, "kind", BACKGROUND, X)
    with pytest.raises(ValueError, match=r"`tasks` should be some of .*\['other'\]"):
        shap_values(model, "other", BACKGROUND, X)
    with pytest.raises(ValueError, match=r"`seed` should be an integer of at least 0"):
        shap_values(model, "b", BACKGROUND, X, seed=-1)
    with pytest.raises(ValueError, match=r"`groups` should not overlap. Received: 'two'"):
        shap_values(model, "b", BACKGROUND, X, groups={"one": [0, 1], "two": [1]})


def test_without_shap_the_error_names_the_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(ImportError, match=r"pip install 'mtlzoo\[shap\]'"):
        shap_values(model, "b", BACKGROUND, X)
