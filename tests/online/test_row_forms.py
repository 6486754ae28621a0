"""The one form of the rows: sizes that the first rows say, weights, and text."""

import keras
import numpy as np
import pytest

from mtlzoo import HardSharing, Regression, SequenceTagging
from mtlzoo.online import LateLabels, OnlineLearner, Reservoir, StreamBatch
from mtlzoo.online.row_forms import RowForm
from mtlzoo.online.slots import Slots
from mtlzoo.online.stored_text import restored, stored


@pytest.fixture(scope="module")
def of_steps():
    """A model of sequences of any length."""
    inputs = keras.Input((None, 2), name="steps")
    tasks = [SequenceTagging("words", 3), SequenceTagging("kinds", 4)]
    model = HardSharing(inputs, tasks, backbone=keras.Model(inputs, inputs * 1.0))
    model.compile("sgd")
    return model


def steps(rows, length, *tasks):
    x = np.ones((rows, length, 2), "float32")
    return StreamBatch(x, {name: np.ones((rows, length), "int32") for name in tasks})


def test_labels_that_are_not_there_have_the_size_of_the_output(of_steps):
    form = RowForm(of_steps)
    alone = StreamBatch(None, {"words": np.ones((2, 5), "int32")}, ids=np.arange(2))
    assert form.complete(alone)[0].rows == 2  # says nothing about the other task
    for tasks in [("words",), ("kinds",), ()]:
        batch, faults = form.complete(steps(2, 5, *tasks))
        assert not faults
        for name in ("words", "kinds"):
            assert batch.y[name].shape == (2, 5) and batch.y[name].dtype == "int32"
    _, faults = form.complete(StreamBatch(steps(1, 5).x, {"words": np.ones((1, 4), "int32")}))
    assert faults[0].reason.endswith("Received: shape=(4,)")


def test_inputs_of_another_size_than_the_first_are_faults(of_steps):
    form = RowForm(of_steps)
    assert form.complete(steps(2, 5, "words"))[0].rows == 2
    other = RowForm(of_steps)
    other.set_state(form.get_state())
    for each in (form, other):
        batch, faults = each.complete(steps(3, 6, "words"))
        assert batch is None and len(faults) == 3
        assert "should have the shapes [[5, 2]] by row, as those before; pad them" in (
            faults[0].reason
        )


def test_weights_may_come_as_a_column_after_none():
    inputs = keras.Input((2,))
    model = HardSharing(inputs, [Regression("a")], backbone=keras.Model(inputs, inputs * 1.0))
    form = RowForm(model)
    x, y = np.ones((3, 2)), {"a": np.ones(3)}
    assert form.complete(StreamBatch(x, y))[0].sample_weight["a"].shape == (3,)
    batch, faults = form.complete(StreamBatch(x, y, {"a": np.full((3, 1), 2.0)}))
    assert not faults and batch.sample_weight["a"].tolist() == [2, 2, 2]


@pytest.mark.slow
def test_text_is_kept_whole_in_memory_and_in_the_state(tmp_path):
    words = keras.Input((1,), name="words", dtype="string")
    numbers = keras.layers.Hashing(8, output_mode="one_hot")(words)
    model = HardSharing(words, [Regression("a")], backbone=keras.Model(words, numbers))
    model.compile("sgd")

    def learner():
        parts = {"replay": Reservoir(8), "late_labels": LateLabels(8)}
        return OnlineLearner(model, batch_size=4, state=tmp_path / "state.npz", **parts)

    texts = [["a", "b", "ä", "d"], ["alpha", "beta", "ä" * 20, "d"]]
    first = learner()
    for words in texts:
        x = np.array(words)[:, None]
        first.run([{"x": x, "y": {"a": np.ones(4)}}, {"x": x, "id": np.arange(4)}])
    again = learner()._batches._parts()
    wanted = {each.encode() for words in texts for each in words}
    assert set(again["replay"].draw(8).x.ravel()) == wanted
    held = again["late_labels"].get_state()["rows"]["x"]
    assert held.ravel().tolist() == [each.encode() for each in texts[1]]


def test_stored_text_is_the_same_byte_by_byte():
    array = np.array([["a", b"\xff\x00"], ["ä", ""]], object)
    found = restored(stored({"rows": [{"x": array, "n": np.arange(2)}]}))["rows"][0]
    assert found["x"].tolist() == [[b"a", b"\xff\x00"], ["ä".encode(), b""]]
    assert found["n"].tolist() == [0, 1]


def test_rows_that_do_not_fit_their_places_are_errors():
    slots = Slots(4)
    slots.put(np.arange(2), {"x": np.ones((2, 3), "float32")})
    for other in (np.ones((2, 1), "float32"), np.ones((2, 3), "int32")):
        with pytest.raises(ValueError, match=r"should have the shape \(3,\) and dtype float32"):
            slots.put(np.arange(2), {"x": other})
