"""Inputs as named columns, and what belongs to a feature."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import MultiTaskModel, Regression
from mtlzoo.analysis.importance.features import Table, chosen_tasks, gathered

ROWS = 6


def model(inputs, preprocessor=None):
    tasks = [Regression("a"), Regression("b")]
    flat = [
        keras.layers.Flatten()(keras.ops.cast(t[:, None], "float32"))
        for t in keras.tree.flatten(inputs)
    ]
    features = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    outputs = {task.name: task.head(features) for task in tasks}
    return MultiTaskModel(inputs, outputs, tasks=tasks, preprocessor=preprocessor)


def several():
    inputs = {
        "age": keras.Input((), name="age"),
        "image": keras.Input((2, 3, 1), name="image"),
        "image_present": keras.Input((), dtype="bool", name="image_present"),
        "vector": keras.Input((2,), name="vector"),
    }
    x = {
        "age": np.arange(ROWS, dtype="float32"),
        "image": np.arange(ROWS * 6, dtype="float32").reshape(ROWS, 2, 3, 1),
        "image_present": np.ones(ROWS, bool),
        "vector": np.arange(2 * ROWS, dtype="float32").reshape(ROWS, 2),
    }
    return Table(model(inputs), x)


VECTOR = model(keras.Input((3,), name="features"))
X = np.arange(3 * ROWS, dtype="float32").reshape(ROWS, 3)


def moved(table, groups):
    """What each group alone changes, for rows in reverse."""
    found = {}
    for i, name in enumerate(groups.names):
        columns = dict(table.columns)
        groups.put(i, columns, {n: a[::-1] for n, a in table.columns.items()})
        found[name] = {n: a for n, a in columns.items() if not np.array_equal(a, table.columns[n])}
    return found


def test_each_column_of_the_only_input_is_a_feature():
    table = Table(VECTOR, X)
    assert table.groups(None, None).names == ("features 0", "features 1", "features 2")
    groups = table.groups(None, ["u", "v", "w"])
    assert groups.names == ("u", "v", "w")
    changed = moved(table, groups)["v"]["features"]
    np.testing.assert_array_equal(changed[:, 1], X[::-1, 1])
    np.testing.assert_array_equal(changed[:, [0, 2]], X[:, [0, 2]])
    np.testing.assert_array_equal(table.columns["features"], X)  # not changed in place


def test_each_of_several_inputs_is_a_feature_with_what_says_that_it_is_there():
    table = several()
    groups = table.groups(None, None)
    assert groups.names == ("age", "image", "vector")
    assert set(groups.parts[1]) == {"image", "image_present"}
    assert set(moved(table, groups)["image"]) == {"image"}  # flags are all the same
    named = table.groups(None, {"vector": ["left", "right"]})
    assert named.names == ("age", "image", "left", "right")


def test_groups_hold_names_numbers_and_places():
    table = Table(VECTOR, X)
    groups = table.groups(
        {"first two": [0, "v"], "last": ("features", slice(2, 3))}, ["u", "v", "w"]
    )
    np.testing.assert_array_equal(groups.parts[0]["features"], [True, True, False])
    np.testing.assert_array_equal(groups.parts[1]["features"], [False, False, True])
    patches = several().groups(
        {"top": [("image", 0)], "corner": [("image", (slice(1, 2), slice(2, 3)))], "who": "age"},
        None,
    )
    assert [sum(m.sum() for m in part.values()) for part in patches.parts] == [3, 1, 1]


def test_raw_columns_go_through_the_preprocessor():
    raw = {"word": keras.Input((), dtype="string", name="word"), "n": keras.Input((), name="n")}
    lookup = keras.layers.StringLookup(vocabulary=["x", "y"], output_mode="one_hot")
    joined = keras.layers.Concatenate()([lookup(raw["word"]), raw["n"][:, None]])
    made = model(keras.Input((4,), name="features"), keras.Model(raw, joined))
    columns = {"word": np.array(["x", "y", "z"]), "n": np.array([1.0, 2, 3], "float32")}
    table = Table(made, {**columns, "not read": np.zeros(3)})
    assert table.raw and table.groups(None, None).names == ("word", "n")
    expected = [[0, 1, 0, 1], [0, 0, 1, 2], [1, 0, 0, 3]]
    np.testing.assert_allclose(table.inputs(table.columns), expected)
    assert not Table(made, np.zeros((3, 4), "float32")).raw


def test_columns_with_the_names_of_the_inputs_have_to_be_told_apart():
    def inputs():
        return {"age": keras.Input((1,), name="age"), "n": keras.Input((1,), name="n")}

    raw = inputs()
    years = {"age": keras.layers.Rescaling(0.01)(raw["age"]), "n": raw["n"]}
    made = model(inputs(), keras.Model(raw, years))
    columns = {"age": np.full((3, 1), 50.0, "float32"), "n": np.ones((3, 1), "float32")}
    with pytest.raises(
        ValueError, match=r"`raw` should be True or False.*raw=None for \['age', 'n"
    ):
        Table(made, columns)
    table = Table(made, columns, raw=True)
    np.testing.assert_allclose(table.inputs(table.columns)["age"], 0.5)
    table = Table(made, columns, raw=False)
    np.testing.assert_allclose(table.inputs(table.columns)["age"], 50)
    assert Table(made, {**columns, "not read": np.zeros(3)}).raw
    with pytest.raises(ValueError, match=r"`raw` should be True only for a dict .*type ndarray"):
        Table(VECTOR, X, raw=True)


def test_data_sets_are_gathered():
    y = {"a": np.arange(ROWS), "b": np.arange(ROWS)}
    weights = {"a": np.ones(ROWS), "b": np.zeros(ROWS)}
    for element in ((X, y, weights), (X, y)):
        x, labels, given = gathered(
            tf.data.Dataset.from_tensor_slices(element).batch(4), None, None
        )
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(labels["b"], y["b"])
        assert (given is None) == (len(element) == 2)
    with pytest.raises(ValueError, match=r"a data set that ends"):
        gathered(tf.data.Dataset.from_tensors((X, y)).repeat(), None, None)
    with pytest.raises(ValueError, match=r"`y` should be labels, a dict by task"):
        gathered(X, None, None)
    with pytest.raises(
        ValueError, match=r"`x` should be arrays or .* Received: x of type generator"
    ):
        gathered((row for row in X), None, None)
    with pytest.raises(ValueError, match=r"`y` should be None where `x` is a data set"):
        gathered(tf.data.Dataset.from_tensors((X, y)), y, None)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, r"`groups` should be a dict from the name"),
        ({"g": []}, r"`groups\['g'\]` should not be empty"),
        ({"g": ["z"]}, r"`groups\['g'\]` should have names from features.*Received: 'z'"),
        ({"g": [7]}, r"places within a row of `features`, of the shape \(3,\). Received: 7"),
    ],
)
def test_groups_of_what_is_not_there_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        Table(VECTOR, X).groups(groups, None)


def test_pictures_need_groups():
    table = Table(model(keras.Input((2, 3, 1), name="image")), np.zeros((ROWS, 2, 3, 1)))
    with pytest.raises(ValueError, match=r"`groups` should say .*patches.*`image` of the shape"):
        table.groups(None, None)
    assert table.groups({"top": [("image", 0)]}, None).names == ("top",)


def test_names_of_columns_that_repeat_are_refused():
    inputs = {name: keras.Input((2,), name=name) for name in ("u", "v")}
    table = Table(
        model(inputs | {"w": keras.Input((1,), name="w")}),
        {"u": X[:, :2], "v": X[:, 1:], "w": X[:, :1]},
    )
    for names, twice in (
        ({"u": ["p", "q"], "v": ["p", "r"]}, "p"),
        ({"u": ["v", "q"]}, "v"),
        ({"u": ["u", "q"]}, "u"),
    ):
        message = (
            rf"names of inputs, or of columns of other inputs. Received: \['{twice}'\] for `u`"
        )
        for groups in (None, {"g": "q"}):
            with pytest.raises(ValueError, match=message):
                table.groups(groups, names)
    assert table.groups(None, {"u": ["p", "q"], "w": ["w"]}).names == ("p", "q", "v", "w")


def test_names_and_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"`names` should be different .* 2 names for `features`"):
        Table(VECTOR, X).groups(None, ["u", "v"])
    with pytest.raises(
        ValueError, match=r"`x` should have the inputs .*'vector'\]\. Received: \['age'"
    ):
        columns = several().columns
        Table(several()._model, {n: a for n, a in columns.items() if n != "vector"})
    with pytest.raises(ValueError, match=r"Received: \['1', 'features'\]"):
        Table(VECTOR, [X, X])
    with pytest.raises(ValueError, match=r"`x` should have rows, the same number"):
        Table(several()._model, {**several().columns, "age": np.zeros(2)})


def test_tasks_are_chosen_by_name():
    assert chosen_tasks(VECTOR, None) == ("a", "b")
    assert chosen_tasks(VECTOR, ["b", "b"]) == ("b",)
    with pytest.raises(ValueError, match=r"`tasks` should be some of \['a', 'b'\]"):
        chosen_tasks(VECTOR, ["c"])
    with pytest.raises(ValueError, match=r"`model` should be a `MultiTaskModel`"):
        chosen_tasks(keras.Sequential(), None)
