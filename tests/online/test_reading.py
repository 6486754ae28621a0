"""What a stream gives: good rows go on, each of the others has its reason."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import (
    BinaryClassification,
    Classification,
    HardSharing,
    MultiLabelClassification,
    Regression,
    SequenceTagging,
)
from mtlzoo.online import StreamBatch
from mtlzoo.online.reading import Fault, Reader
from mtlzoo.online.stream_schema import Schema

X = {"age": [41.0], "rates": [0.1, 0.2, 0.3]}
Y = {"click": 1, "kind": 2, "place": [0.5, 1.5]}


@pytest.fixture(scope="module")
def reader():
    tasks = [BinaryClassification("click"), Classification("kind", 3), Regression("place", dim=2)]
    inputs = {"age": keras.Input((1,), name="age"), "rates": keras.Input((3,), name="rates")}
    return Reader(HardSharing(inputs, tasks, shared_units=(8,)))


@pytest.fixture(scope="module")
def of_one_input():
    return Reader(HardSharing(keras.Input((2,), name="x"), [Regression("a")], shared_units=(4,)))


def batch(rows):
    x = {"age": np.ones((rows, 1)), "rates": np.ones((rows, 3), "float32")}
    y = {"click": np.zeros(rows, int), "kind": np.ones(rows, "uint8"), "place": np.ones((rows, 2))}
    return x, y


# -- what goes on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["arrays", "tensors", "rows", "again"])
def test_good_rows_go_on_in_one_form_however_they_came(reader, form):
    x, y = batch(2)
    element = x, y, {"click": np.array([1, 0.5])}
    if form == "tensors":
        element = tuple(tf.data.Dataset.from_tensor_slices(element).batch(2).get_single_element())
    elif form == "rows":
        element = [
            {"x": {"age": [1], "rates": [1, 1, 1]}, "y": {"click": 0, "kind": 1, "place": [1, 1]}},
            {"x": {"age": [1.0], "rates": [1.0, 1, 1]}, "y": {"click": 0, "kind": 1}},
        ]
        element[0]["sample_weight"] = {"click": 1}
        element[1]["sample_weight"] = {"click": 0.5}
        element[1]["y"]["place"] = np.ones(2)
    elif form == "again":
        element, _ = reader.read(element)
    found, faults = reader.read(element)
    assert faults == [] and isinstance(found, StreamBatch) and found.rows == 2
    assert {name: a.dtype for name, a in found.x.items()} == {"age": "float32", "rates": "float32"}
    types = {"click": "float32", "kind": "int32", "place": "float32"}
    assert {name: a.dtype for name, a in found.y.items()} == types
    for name in x:
        np.testing.assert_array_equal(found.x[name], x[name])
    for name in y:
        np.testing.assert_array_equal(found.y[name], y[name])
    assert found.sample_weight["click"].tolist() == [1, 0.5]
    assert found.ids is None and found.times is None


def test_ids_and_times_and_labels_that_come_later(reader):
    x, _ = batch(2)
    found, faults = reader.read({"x": x, "id": np.array(["a", "b"], object), "time": [1, 2.5]})
    assert not faults and found.y == {} and found.ids.tolist() == ["a", "b"]
    assert found.ids.dtype.kind == "U" and found.times.tolist() == [1, 2.5]
    found, faults = reader.read([{"id": 7, "y": {"click": 1}}, {"id": 8, "y": {"kind": 0}}])
    assert not faults and found.x is None and found.ids.dtype == "int64"
    assert found.y["click"].tolist() == [1, -1] and found.y["kind"].tolist() == [-1, 0]
    found, _ = reader.read({"id": tf.constant(["a", "ä"]), "y": {"click": [1, 0]}})
    assert found.ids.tolist() == ["a", "ä"]


def test_none_is_a_missing_label(reader):
    rows = [{"x": X, "y": {"click": None, "place": [1, 2]}}, {"x": X, "y": {"click": 1}}]
    found, faults = reader.read(rows)
    assert not faults and found.y["click"].tolist() == [-1, 1]
    np.testing.assert_array_equal(found.y["place"], [[1, 2], [np.nan, np.nan]])
    assert reader.read([{"x": X, "y": {"click": None}}])[0].y == {}


def test_forms_of_the_inputs(of_one_input):
    for x in ([[1, 2]], {"x": [[1, 2]]}, np.ones((1, 2)), tf.ones((1, 2))):
        found, faults = of_one_input.read((x, {"a": [1.0]}))
        assert not faults and found.x.shape == (1, 2)
    assert of_one_input.read([{"x": [1, 2]}, {"x": {"x": [1.0, 2]}}])[0].rows == 2

    inputs = [keras.Input((2,), name="a"), keras.Input((), name="n", dtype="int32")]
    both = keras.Model(inputs, inputs[0] + keras.ops.cast(inputs[1], "float32")[:, None])
    reader = Reader(HardSharing(inputs, [Regression("t")], backbone=both))
    found, faults = reader.read(([np.ones((2, 2)), np.arange(2)], {}))
    assert not faults and [part.dtype for part in found.x] == ["float32", "int32"]
    found, faults = reader.read([{"x": {"n": 3, "a": [1, 2]}}, {"x": [[1, 2], 4]}])
    assert not faults and found.x[1].tolist() == [3, 4]
    _, faults = reader.read(([np.ones((1, 2))], {}))
    assert faults[0].reason == "`x` should be a list of the inputs ['a', 'n']. Received: list of 1"
    _, faults = reader.read([{"x": [[1, 2], 2**31]}, {"x": [[1, 2], 1.0]}])
    wanted = "Input `n` should have shape () and dtype int32. Received: "
    assert [f.reason for f in faults] == [f"{wanted}2147483648", f"{wanted}1.0"]


def test_a_list_is_split_by_what_its_rows_have(reader):
    row, late = {"x": X, "id": 1}, {"id": 1, "y": {"click": 1}}
    assert reader.split([row, "hello", late, row]) == [[row, row], ["hello"], [late]]
    assert reader.split((X, Y)) == [(X, Y)] and reader.split([]) == []


def test_inputs_that_are_nested_are_an_error():
    inputs = {"a": {"b": keras.Input((2,), name="b")}, "c": keras.Input((2,), name="c")}
    with pytest.raises(ValueError, match=r"`model` should have one input, or a dict or a list"):
        Schema(inputs, ["t"])


def test_nothing_is_no_batch(reader):
    assert reader.read([]) == (None, [])
    assert reader.read(({"age": np.ones((0, 1)), "rates": np.ones((0, 3))}, {})) == (None, [])


# -- faults ---------------------------------------------------------------------------------------

ROWS = {
    "hello": "A row should be a dict with keys among .*. Received: 'hello'",
    "key": "A row should have the keys .* only. Received: 'label'",
    "nothing": "A row should have inputs, or an id and labels. Received: nothing",
    "no id": r"A row should have inputs, or an id and labels. Received: \['y'\]",
    "lacks": r"`x` should have the inputs \['age', 'rates'\]. Received: no 'rates'",
    "more": r"`x` should have the inputs \['age', 'rates'\]. Received: 'height'",
    "no dict": r"`x` should be a dict of the inputs \['age', 'rates'\]. Received: list of 3",
    "nan": "Input `rates` should be finite. Received: nan",
    "infinite": "Input `rates` should be finite. Received: -inf",
    "too large": r"Input `age` should be finite. Received: 1e\+39",
    "text": r"Input `age` should have shape \(1,\) and dtype float32. Received: \['old'\]",
    "none": r"Input `age` should have shape \(1,\) and dtype float32. Received: None",
    "bool": r"Input `age` should have shape \(1,\) and dtype float32. Received: \[True\]",
    "shape": r"Input `rates` should have shape \(3,\) and dtype float32. Received: \[1, 2\]",
    "unknown": r"`y` should have only the tasks \['click', 'kind', 'place'\]. Received: 'buy'",
    "y": "`y` should be a dict by task name. Received: int",
    "label": "The label of task `click` should be legal, or the missing value -1. Received: 3",
    "class": "The label of task `kind` should be legal, .* Received: 4294967297",
    "float": "Labels of task `kind` should be class ids of an integer type .*dtype=float64",
    "cell": "The label of task `place` should be legal, or the missing value nan. Received: inf",
    "label shape": r"Labels of task `place` should have shape \(None, 2\). Received: .*\(1, 3\)",
    "label text": "Labels of task `click` should be numbers. Received: dtype=str96",
    "weight": "The sample weight of task `click` should not be negative. Received: -1.0",
    "weight nan": "The sample weight of task `click` should be finite. Received: nan",
    "weight of": "`sample_weight` should have only the tasks .* Received: 'buy'",
    "id": r"A row should have \['x'\], as most of its element. Received: \['x', 'id'\]",
}


def bad(name):
    good = {"x": X, "y": Y}
    return {
        "hello": "hello",
        "key": {**good, "label": 1},
        "nothing": {},
        "no id": {"y": Y},
        "lacks": {"x": {"age": [1]}},
        "more": {"x": {**X, "height": [1]}},
        "no dict": {"x": [1, 2, 3]},
        "nan": {"x": {**X, "rates": [1, float("nan"), 2]}, "y": Y},
        "infinite": {"x": {**X, "rates": [1, 2, -float("inf")]}, "y": Y},
        "too large": {"x": {**X, "age": [1e39]}},
        "text": {"x": {**X, "age": ["old"]}},
        "none": {"x": {**X, "age": None}},
        "bool": {"x": {**X, "age": [True]}},
        "shape": {"x": {**X, "rates": [1, 2]}},
        "unknown": {"x": X, "y": {"buy": 1}},
        "y": {"x": X, "y": 1},
        "label": {"x": X, "y": {"click": 3}},
        "class": {"x": X, "y": {"kind": 2**32 + 1}},
        "float": {"x": X, "y": {"kind": 1.0}},
        "cell": {"x": X, "y": {"place": [0, float("inf")]}},
        "label shape": {"x": X, "y": {"place": [0, 1, 2]}},
        "label text": {"x": X, "y": {"click": "yes"}},
        "weight": {**good, "sample_weight": {"click": -1}},
        "weight nan": {**good, "sample_weight": {"click": float("nan")}},
        "weight of": {**good, "sample_weight": {"buy": 1}},
        "id": {**good, "id": 4},
    }[name]


@pytest.fixture(scope="module")
def judged(reader):
    """All bad rows among good ones, read as one element."""
    good = {"x": X, "y": Y}
    rows = [row for name in ROWS for row in (good, bad(name))] + [good]
    found, faults = reader.read(rows)
    assert found.rows == len(ROWS) + 1
    assert np.isfinite(found.x["rates"]).all() and set(found.y["click"].tolist()) == {1.0}
    return dict(zip(ROWS, faults, strict=True))


@pytest.mark.parametrize("name", ROWS)
def test_a_bad_row_has_a_reason_that_names_what_is_wrong(judged, name):
    fault = judged[name]
    assert isinstance(fault, Fault) and str(fault.row) == str(bad(name))
    assert re.fullmatch(ROWS[name], fault.reason), fault.reason


def test_bad_rows_of_a_batch(reader):
    x, y = batch(5)
    x["rates"][1, 2] = np.nan
    y["click"][3] = 7
    y["place"][4, 0] = -np.inf
    times = np.array([0, 1, np.nan, 3, 4])
    found, faults = reader.read({"x": x, "y": y, "time": times, "id": np.arange(5)})
    assert found.ids.tolist() == [0]
    assert [fault.reason.partition(". Received: ")[2] for fault in faults] == [
        *("nan", "nan", "7", "-inf"),
    ]
    assert [int(fault.row["id"]) for fault in faults] == [1, 2, 3, 4]
    assert faults[0].row["x"]["rates"].shape == (3,)


def test_what_is_wrong_with_a_whole_batch_is_wrong_with_each_row(reader):
    x, y = batch(3)
    for element, reason in {
        "more": ({**x, "height": np.ones(3)}, "Received: 'height'"),
        "shape": ({**x, "age": np.ones((3, 2))}, r"Received: shape (2,) and dtype float64"),
        "dtype": ({**x, "age": np.full((3, 1), "a")}, "Received: shape (1,) and dtype str32"),
        "complex": ({**x, "age": np.ones((3, 1), complex)}, "dtype complex128"),
    }.values():
        found, faults = reader.read((element, y))
        assert found is None and len(faults) == 3
        assert all(fault.reason.endswith(reason) for fault in faults)
        assert set(faults[2].row) == {"x", "y"}
    _, faults = reader.read((x, y, {"click": np.ones((3, 2))}))
    assert "task `click` should be one number for a row. Received: shape (2,)" in faults[0].reason
    _, faults = reader.read((x, {**y, "kind": np.ones(3)}))
    assert len(faults) == 3 and "class ids of an integer type" in faults[0].reason


def test_what_has_no_rows_is_one_fault(reader):
    x, y = batch(3)
    ragged = tf.ragged.constant([[1.0], [], [2.0]])
    for element, reason in [
        ((x, {"click": np.ones(2)}), "same number of rows. Received: [2, 3]"),
        (({**x, "age": ragged}, y), "dense arrays with the same number of rows"),
        (({**x, "age": 3.0}, y), "dense arrays with the same number of rows"),
        ("rows", "An element should be a tuple of 2 or 3"),
        ((x,), "An element should be a tuple of 2 or 3"),
        ({"x": 3}, "`x` should be a dict of the inputs"),
    ]:
        found, faults = reader.read(element)
        assert found is None and len(faults) == 1
        assert reason in faults[0].reason and faults[0].row is element


def test_where_the_weight_is_0_there_is_no_label(reader):
    x, y = batch(3)
    y["click"][1] = 9
    assert reader.read((x, y))[0].rows == 2
    found, faults = reader.read((x, y, {"click": np.array([1.0, 0.0, 1.0])}))
    assert not faults and found.rows == 3
    assert not reader.read((x, y, np.zeros(3)))[1]  # one array for all tasks


def test_labels_of_cells_and_of_steps():
    tasks = [
        MultiLabelClassification("tags", 3),
        SequenceTagging("words", 4),
        Classification("soft", 3),
    ]
    outputs = keras.Input((5, 2), name="x")
    model = HardSharing(outputs, tasks, backbone=keras.Model(outputs, outputs * 1.0))
    reader = Reader(model)
    y = {
        "tags": np.array([[1, 0, -1], [1, 1, 5], [0, 0, 0]]),
        "words": np.array([[0, 1, 2, 3, -1]] * 3),
        "soft": np.array([[0.2, 0.3, 0.5], [1, 0, 0], [0.2, 0.2, 0.2]], "float32"),
    }
    found, faults = reader.read((np.zeros((3, 5, 2)), y, {"words": np.ones((3, 5))}))
    assert found.rows == 1 and found.sample_weight["words"].shape == (1, 5)
    assert found.y["words"].dtype == "int32" and found.y["soft"].dtype == "float32"
    assert "`tags`" in faults[0].reason and faults[0].reason.endswith("Received: 5")
    assert "`soft`" in faults[1].reason
    y["words"][0, 2] = 4
    _, faults = reader.read((np.zeros((3, 5, 2)), y))
    assert "`words`" in faults[0].reason and faults[0].reason.endswith("Received: 4")


# -- a preprocessor -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_columns():
    raw = {
        "work": keras.Input((), name="work", dtype="string"),
        "age": keras.Input((), name="age"),
    }
    lookup = keras.layers.StringLookup(
        vocabulary=["farm", "town"], output_mode="one_hot", num_oov_indices=0
    )
    age = keras.ops.log(raw["age"])[:, None]
    front = keras.Model(raw, keras.layers.Concatenate()([lookup(raw["work"]), age]))
    tasks = [BinaryClassification("click")]
    model = HardSharing(
        keras.Input((3,), name="features"), tasks, shared_units=(4,), preprocessor=front
    )
    return model, front


def test_rows_go_through_the_preprocessor(of_columns):
    model, front = of_columns
    rows = [
        {"x": {"work": "farm", "age": 40}, "y": {"click": 1}},
        {"x": {"work": 3, "age": 40}},
        {"x": {"work": "sea", "age": 40}, "y": {"click": 0}},  # which its lookup refuses
        {"x": {"work": "town", "age": 0}, "y": {"click": 0}},  # of which the logarithm is infinite
        {"x": {"work": b"town", "age": 2.5}, "y": {"click": 0}},
    ]
    for preprocessor in ("own", front):
        found, faults = Reader(model, preprocessor).read(rows)
        np.testing.assert_allclose(found.x, [[1, 0, np.log(40)], [0, 1, np.log(2.5)]], rtol=1e-6)
        assert found.y["click"].tolist() == [1, 0]
        assert [fault.row for fault in faults] == rows[1:4]
        wanted = (
            "Input `work` should have",
            "The preprocessor should take",
            "What the preprocesso",
        )
        assert all(f.reason.startswith(w) for f, w in zip(faults, wanted, strict=True))
    words = np.array(["farm", None, "town"], object)
    found, faults = Reader(model, "own").read({"x": {"work": words, "age": np.ones(3)}})
    assert found.rows == 2 and faults[0].reason.endswith("Received: None")
    found, faults = Reader(model).read((np.ones((2, 3)), {}))  # without it, the model's inputs
    assert found.rows == 2 and not faults


def test_bad_arguments_are_named(of_columns):
    with pytest.raises(
        ValueError, match=r"`model` should be a `MultiTaskModel`. Received: model=3"
    ):
        Reader(3)
    with pytest.raises(ValueError, match=r"`preprocessor` should be a Keras model, None, or 'own'"):
        Reader(of_columns[0], "other")
