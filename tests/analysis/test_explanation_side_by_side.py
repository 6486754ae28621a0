"""All tasks side by side, the test with randomized weights, and inputs that raise an answer."""

import keras
import numpy as np
import pytest

from mtlzoo import (
    BinaryClassification,
    Classification,
    CrossModalFusion,
    MultiTaskModel,
    Regression,
)
from mtlzoo.analysis import (
    Finding,
    activation_maximization,
    explain,
    explain_tasks,
    randomization_test,
)
from mtlzoo.analysis.explanation.randomization import RandomizationTest

SIZE = (12, 12, 1)
ROWS = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    """Task `left` reads the left half of the picture only, task `right` the other one."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(SIZE, name="image")
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    tasks = [Classification("left", 3), BinaryClassification("right")]
    halves = {"left": x[:, :, :5], "right": x[:, :, 7:]}
    outputs = {task.name: task.head(halves[task.name]) for task in tasks}
    return MultiTaskModel(inputs, outputs, tasks=tasks)


@pytest.fixture(scope="module")
def x():
    return ROWS.uniform(size=(3, *SIZE)).astype("float32")


@pytest.mark.parametrize("method", ["layer_cam", "integrated_gradients"])
def test_each_task_looks_at_its_half(model, x, method):
    found = explain_tasks(model, x, method=method)
    half = np.zeros(SIZE[:2], bool)
    half[:, 6:] = True
    assert list(found.explanations) == ["left", "right"]
    np.testing.assert_array_equal(found["left"].share(half), 0)
    shares = found["right"].share(half)
    np.testing.assert_array_equal(shares[np.isfinite(shares)], 1)
    assert np.isfinite(shares).any()


def test_words_rows_and_picture_have_answers_and_labels(model, x):
    labels = {"left": np.array([2, 0, 1])}
    classes = {"left": ["cat", "dog", "cow"], "right": ["absent", "present"]}
    found = explain_tasks(
        model, x, method="saliency", labels=labels, classes=classes, target={"right": 1}
    )
    assert isinstance(found, Finding)
    rows = found.rows()
    assert rows[0] == ["row", "task", "explained", "answer", "score", "label"]
    assert [row[5] for row in rows[1:] if row[1] == "left"] == ["cow", "cat", "dog"]
    assert {row[2] for row in rows[1:] if row[1] == "right"} == {"present"}
    answered = model.predict(x, verbose=0)["left"]
    odds = np.exp(answered) / np.exp(answered).sum(1, keepdims=True)
    expected = [
        f"{classes['left'][i]} ({p[i]:.2f})" for i, p in zip(odds.argmax(1), odds, strict=True)
    ]
    assert [row[3] for row in rows[1:] if row[1] == "left"] == expected
    assert "Saliency of 2 tasks for 3 rows." in found.words()
    figure = found.figure()
    titles = [panel.get_title() for panel in figure.axes]
    assert titles[:3] == ["image", "task left", "task right"]
    assert figure.axes[1].get_xlabel() == f"answer: {expected[0]}\nlabel: cow"


def test_tables_are_compared_by_the_parts_of_their_columns():
    inputs = keras.Input((3,), name="x")
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")}
    model = MultiTaskModel(inputs, outputs, tasks=[Regression("a"), Regression("b")])
    model.get_layer("a").set_weights([np.array([[1.0], [0.0], [0.0]]), np.zeros(1)])
    model.get_layer("b").set_weights([np.array([[0.0], [3.0], [-1.0]]), np.zeros(1)])
    found = explain_tasks(model, np.ones((2, 3)), names={"x": ["age", "work", "rent"]})
    assert "Task a rests most on age (1)" in found.words()
    assert "Task b rests most on work (3), rent (1), age (0)" in found.words()
    texts = {text.get_text() for panel in found.figure().axes for text in panel.texts}
    assert {"1.00", "0.75", "0.25"} <= texts


def test_unknown_tasks_are_named(model, x):
    for argument, given in (("tasks", ["up"]), ("labels", {"up": [1]}), ("target", {"up": 1})):
        message = rf"`{argument}` should name tasks of the model, \['left', 'right'\]. .*'up'"
        with pytest.raises(ValueError, match=message):
            explain_tasks(model, x, **{argument: given})
    for options, message in (
        ({"tasks": []}, r"`tasks` should have at least one task"),
        ({"labels": {"left": [1]}}, r"`labels\['left'\]` should be as many as the rows of `x`, 3"),
        ({"labels": {"left": [0, 1, 3]}, "classes": {"left": "abc"}}, r"indices of the classes"),
    ):
        with pytest.raises(ValueError, match=message):
            explain_tasks(model, x, **options)


def test_tasks_that_read_different_inputs():
    """The first has no picture, and none of the second's inputs."""
    inputs = {"n": keras.Input((2,), name="n"), "p": keras.Input(SIZE, name="p")}
    outputs = {
        "a": keras.layers.Dense(1, name="a")(inputs["n"]),
        "b": keras.layers.Dense(1, name="b")(keras.layers.Flatten()(inputs["p"])),
    }
    model = MultiTaskModel(inputs, outputs, tasks=[Regression("a"), Regression("b")])
    found = explain_tasks(model, {"n": np.ones((2, 2)), "p": np.ones((2, *SIZE))})
    assert np.isnan(found.overlap()["a", "b"])
    assert "Most alike" not in found.words()
    assert [panel.get_title() for panel in found.figure().axes][:2] == ["p", "task b"]


# -- randomized weights ------------------------------------------------------------------------


def test_randomizing_changes_maps_and_leaves_the_model_untouched(model, x):
    before = [v.numpy() for v in model.variables]
    maps = explain(model, "left", x, method="saliency").attributions["image"]
    found = randomization_test(model, "left", x, method="saliency", cascading=True)
    for variable, values in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), values)
    again = explain(model, "left", x, method="saliency").attributions["image"]
    np.testing.assert_array_equal(again, maps)
    # From the head down; the layer of the other task is none of this one's.
    assert found.layers == ["left", "conv"]
    assert found.similarities.shape == (2, 3)
    assert found.depends is not None and np.isfinite(found.means).all()
    assert found.rows()[0][0] == "randomized down to"
    assert isinstance(found, Finding)
    labels = [label.get_text() for label in found.figure().axes[0].get_xticklabels()]
    assert labels == ["left", "conv"]
    other = randomization_test(model, "left", x, method="saliency", cascading=True)
    np.testing.assert_array_equal(found.similarities, other.similarities)


def test_the_model_is_as_before_after_an_error(model, x, monkeypatch):
    before = [v.numpy() for v in model.variables]
    calls = []

    def once(*args, **options):
        calls.append(options)
        if len(calls) == 2:
            raise RuntimeError("stopped")
        return explain(*args, **options)

    monkeypatch.setattr("mtlzoo.analysis.explanation.randomization.explain", once)
    with pytest.raises(RuntimeError, match="stopped"):
        randomization_test(model, "right", x, method="saliency")
    for variable, values in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), values)
    # What is explained stays what the model itself has answered.
    assert calls[1]["target"] == [int(v > 0) for v in model.predict(x, verbose=0)["right"][:, 0]]


def test_what_the_test_says():
    alike = RandomizationTest("a", "saliency", ["all weights"], [[0.9, 0.8]])
    assert alike.depends is False
    assert "rank correlation of 0.85 with that of the model" in alike.words()
    assert "use another method" in alike.words()
    other = RandomizationTest("a", "saliency", ["all weights"], [[0.1, np.nan]])
    assert other.depends is True and "necessary for an explanation" in other.words()
    nothing = RandomizationTest("a", "saliency", ["all weights"], [[np.nan, np.nan]])
    assert nothing.depends is None and "nothing can be compared" in nothing.words()


# -- preferred inputs --------------------------------------------------------------------------


@pytest.mark.slow
def test_noise_is_changed_until_the_answer_is_raised(model):
    found = activation_maximization(model, "left", target=[0, 2], steps=12, classes="abc")
    assert found.inputs.shape == (2, *SIZE)
    assert found.inputs.min() >= 0 and found.inputs.max() <= 1
    assert (found.scores > found.start_scores).all()
    np.testing.assert_allclose(
        found.scores,
        model.predict(found.inputs, verbose=0)["left"][[0, 1], [0, 2]],
        rtol=1e-5,
    )
    again = activation_maximization(model, "left", target=[0, 2], steps=12)
    np.testing.assert_array_equal(found.inputs, again.inputs)
    assert isinstance(found, Finding)
    assert found.rows()[1][0] == "a" and "a from" in found.words()
    assert found.figure().axes[1].get_title().startswith("c: ")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("smoothness", [0.2, 1e6])
def test_the_best_input_is_kept_and_at_worst_the_noise(model, smoothness):
    found = activation_maximization(model, "left", target=[0, 1, 2], steps=8, smoothness=smoothness)
    assert (found.scores >= found.start_scores).all()
    answered = model.predict(found.inputs, verbose=0)["left"][[0, 1, 2], [0, 1, 2]]
    np.testing.assert_allclose(found.scores, answered, rtol=1e-4, atol=1e-6)
    stuck = bool((found.scores == found.start_scores).any())
    assert ("no step came above the noise" in found.words()) == stuck
    assert stuck == (smoothness > 1)


@pytest.mark.slow
def test_one_input_of_several_is_changed():
    inputs = {"x": keras.Input((4,), name="x"), "ids": keras.Input((2,), dtype="int32", name="ids")}
    model = CrossModalFusion(
        inputs,
        [BinaryClassification("a")],
        encoders={"ids": keras.layers.Embedding(5, 4)},
        projection_units=4,
    )
    pinned = {"ids": np.array([[1, 2]])}
    options = {"wrt": "x", "pinned": pinned, "value_range": (-1, 1), "steps": 5}
    up, down = (activation_maximization(model, "a", target=t, **options) for t in (1, 0))
    given = {"x": up.inputs, **pinned}
    np.testing.assert_allclose(up.scores, model.predict(given, verbose=0)["a"][:, 0], rtol=1e-5)
    assert up.asked == ["yes"] and down.asked == ["no"]
    assert up.scores > up.start_scores and down.scores > down.start_scores
    with pytest.raises(ValueError, match=r"`wrt` should name one of the inputs"):
        activation_maximization(model, "a")
    with pytest.raises(ValueError, match=r"`wrt` should name an input of numbers, .*holds int32"):
        activation_maximization(model, "a", wrt="ids")
    with pytest.raises(ValueError, match=r"`value_range` should be the least and the greatest"):
        activation_maximization(model, "a", wrt="x", value_range=(1, 0))
    with pytest.raises(ValueError, match=r"`pinned` should have an entry for the inputs \['ids'\]"):
        activation_maximization(model, "a", wrt="x")
    with pytest.raises(ValueError, match=r"`target` should have at least one index"):
        activation_maximization(model, "a", wrt="x", target=[])
    with pytest.raises(ValueError, match=r"`classes` should be 2 names. Received: 1"):
        activation_maximization(model, "a", classes=["a"], **options)
    with pytest.raises(ValueError, match=r"There should be an input 'y' among"):
        activation_maximization(model, "a", wrt="x", pinned={"y": [1]})


def test_an_input_of_open_size_cannot_be_made():
    inputs = keras.Input((None, None, 1), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(inputs))
    model = MultiTaskModel(
        inputs, {"a": keras.layers.Dense(1, name="a")(pooled)}, tasks=[Regression("a")]
    )
    with pytest.raises(ValueError, match=r"`wrt` should name an input of one size.*'image'"):
        activation_maximization(model, "a")
