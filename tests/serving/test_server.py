"""The serving loop: which version answers, swaps under load, what cannot be loaded."""

import gc
import shutil
import threading
import time
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtlzoo import BinaryClassification, HardSharing, MultiTaskModel, Regression
from mtlzoo.serving import Server, Versions, loaded
from mtlzoo.serving.loaded import Loaded

X = np.random.default_rng(0).normal(size=(3, 4))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Three versions, and what each answers for `X`."""
    tasks = [BinaryClassification("click"), Regression("stay")]
    model = HardSharing(keras.Input((4,), name="features"), tasks, shared_units=(8,))
    versions, answers = Versions(tmp_path_factory.mktemp("published")), {}
    for _ in range(3):
        model.set_weights([w + 0.1 for w in model.get_weights()])
        answers[versions.publish(model)] = model.predict(X.astype("float32"), verbose=0)["stay"]
    return versions.folder, answers


@pytest.fixture
def folder(published, tmp_path):
    """A folder with the first version; `later` gives the others."""
    place = tmp_path / "served"
    shutil.copytree(published[0] / "1", place / "1")
    return place


@pytest.fixture
def later(published, folder):
    def publish(number):
        shutil.copytree(published[0] / str(number), folder / ".part")
        (folder / ".part").rename(folder / str(number))

    return publish


def test_it_answers_by_the_newest_version_and_swaps_when_there_is_another(published, folder, later):
    _, answers = published
    later(2)
    with Server(folder, poll_seconds=1000) as server:
        assert server.version == 2 and server.swaps == []
        answer = server.answer(X)
        assert set(answer) == {"click", "click_class", "stay"} and answer.version == 2
        np.testing.assert_allclose(answer["stay"], answers[2], rtol=1e-5)
        assert type(answer["stay"]) is np.ndarray
        later(3)
        assert server.answer(X).version == 2  # nobody has looked yet
        assert server.look() == 3 == server.version
        answer = server.answer(X, "stay")
        assert set(answer) == {"stay"} and answer.version == 3
        np.testing.assert_allclose(answer["stay"], answers[3], rtol=1e-5)

        Versions(folder).roll_back()
        assert server.look() == 2
        np.testing.assert_allclose(server.answer(X)["stay"], answers[2], rtol=1e-5)
        assert [(s.previous, s.version) for s in server.swaps] == [(2, 3), (3, 2)]
        for number in (1, 2):
            shutil.rmtree(folder / str(number))
        assert server.look() == 2 and server.answer(X).version == 2  # better than none
    with pytest.raises(RuntimeError, match=r"The server should be open"):
        server.answer(X)


@pytest.mark.slow
def test_it_says_what_it_takes_and_answers_and_takes_rows_by_name(folder):
    with Server(folder, poll_seconds=1000) as server:
        real = {"dtype": "float32", "shape": [None, 1]}
        click = {"click": real, "click_class": {"dtype": "int64", "shape": [None]}}
        stay = {"stay": real}
        assert server.describe() == {
            "version": 1,
            "tasks": ["click", "stay"],
            "inputs": {"features": {"dtype": "float32", "shape": [None, 4]}},
            "signatures": {"click": click, "serve": click | stay, "stay": stay},
        }
        np.testing.assert_array_equal(
            server.answer({"features": X}, "stay")["stay"], server.answer(X, "stay")["stay"]
        )
        with pytest.raises(ValueError, match=r"dict of the inputs \['features'\]. Received: \['x"):
            server.answer({"x": X})
    with pytest.raises(RuntimeError, match=r"The server should be open"):
        server.describe()


@pytest.mark.parametrize(
    ("values", "dtype", "fits"),
    [
        ([0, 255], "uint8", True),
        ([-1], "uint8", False),
        ([256], "uint8", False),
        ([2**31], "int32", False),
        ([], "int32", True),
        ([1e300], "float32", False),
        ([float("inf")], "float32", True),
        ([1.5], "int32", False),
        ([1], "float32", True),
        ([True], "bool", True),
        ([1], "bool", False),
    ],
)
def test_numbers_are_taken_where_they_stay_what_they_are(values, dtype, fits):
    spec = tf.TensorSpec((None,), dtype, name="x")
    if fits:
        found = loaded._fit(values, spec)
        assert found.dtype == dtype and found.numpy().tolist() == values
    else:
        with pytest.raises(ValueError, match=f"Input `x` should be of dtype {dtype}"):
            loaded._fit(values, spec)


@pytest.mark.slow
def test_a_request_ends_on_the_version_it_began_with_which_is_then_freed(
    folder, later, monkeypatch
):
    begun, go_on, answers = threading.Event(), threading.Event(), []
    answer = Loaded.answer

    def slow(self, x, signature):
        if self.number == 1:
            begun.set()
            go_on.wait()
        return answer(self, x, signature)

    monkeypatch.setattr(Loaded, "answer", slow)
    with Server(folder, poll_seconds=1000) as server:
        old = weakref.ref(server._current._model)
        thread = threading.Thread(target=lambda: answers.append(server.answer(X)))
        thread.start()
        begun.wait()
        later(2)
        assert server.look() == 2
        assert server.answer(X).version == 2
        server.look()
        assert old() is not None
        go_on.set()
        thread.join()
        assert answers[0].version == 1
        server.look()
        assert old() is None


@pytest.mark.slow
def test_the_new_version_has_answered_the_last_request_before_it_takes_over(
    folder, later, monkeypatch
):
    warmed, warm_up = [], Loaded.warm_up

    def noted(self, requests):
        warmed.append((self.number, {name: x.shape for name, x in requests.items()}))
        warm_up(self, requests)

    monkeypatch.setattr(Loaded, "warm_up", noted)
    with Server(folder, poll_seconds=1000) as server:
        server.answer(X[:2], "stay")
        later(2)
        server.look()
    assert warmed == [(1, {}), (2, {"stay": (2, 4)})]


@pytest.mark.slow
def test_a_version_that_cannot_be_loaded_is_told_and_the_old_one_stays(folder, later, monkeypatch):
    with Server(folder, poll_seconds=1000) as server:
        (folder / "7").mkdir()
        assert server.look() == 1 and server.answer(X).version == 1
        assert list(server.failures) == [7] and "SavedModel" in server.failures[7]
        later(2)  # is newer than the one that answers
        assert server.look() == 2
        shutil.rmtree(folder / "7")
        shutil.copytree(folder / "2", folder / "7")
        assert server.look() == 2  # not tried at every look
        monkeypatch.setattr("mtlzoo.serving.server._AGAIN", 0.0)
        assert server.look() == 7 and server.failures == {}


@pytest.mark.slow
def test_it_begins_with_an_older_version_if_the_newest_cannot_be_loaded(folder):
    (folder / "2").mkdir()
    with Server(folder) as server:
        assert server.version == 1 and list(server.failures) == [2]


def test_inputs_of_other_forms(tmp_path):
    age, number = keras.Input((1,), name="age"), keras.Input((1,), name="id", dtype="int32")
    inputs = {"age": age, "id": number}
    both = keras.Model(inputs, age + keras.ops.cast(number, "float32"))
    model = HardSharing(inputs, [Regression("stay")], backbone=both)
    versions = Versions(tmp_path)
    versions.publish(model)
    with Server(tmp_path, poll_seconds=1000) as server:
        x = {"age": [[1.0], [2.0]], "id": [[1], [2]]}
        assert server.answer(x)["stay"].shape == (2, 1)
        with pytest.raises(ValueError, match=r"`x` should be a dict of the inputs \['age', 'id'\]"):
            server.answer({"age": [[1.0]]})
        with pytest.raises(ValueError, match=r"Input `age` should have shape \(None, 1\).*\(2,\)"):
            server.answer({**x, "age": [1.0, 2.0]})
        with pytest.raises(ValueError, match=r"Input `id` should be of dtype int32"):
            server.answer({**x, "id": [["a"], ["b"]]})
        with pytest.raises(ValueError, match=r"`signature` should be one of \['serve', 'serving_"):
            server.answer(x, "other")
        assert server._current.requests == 0


@pytest.mark.slow
def test_servers_share_what_is_left_out_of_the_collection(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^`folder` should be a folder. Received: folder="):
        Server(tmp_path / "file")
    assert gc.get_freeze_count() == 0
    first, second = (Server(folder, poll_seconds=1000) for _ in range(2))
    first.close()
    first.close()
    assert gc.get_freeze_count() > 0
    second.close()
    assert gc.get_freeze_count() == 0


@pytest.mark.slow
def test_a_version_that_is_gone_is_no_failure(folder):
    with Server(folder, poll_seconds=1000) as server:
        (folder / "7").mkdir()
        assert server.look() == 1 and set(server.failures) == {7}
        (folder / "7").rmdir()
        assert server.look() == 1 and not server.failures


@pytest.mark.slow
def test_inputs_are_not_changed_in_kind(tmp_path):
    inputs = {"n": keras.Input((1,), name="n", dtype="int32"), "x": keras.Input((2,), name="x")}
    joined = keras.layers.Concatenate()([ops.cast(inputs["n"], "float32"), inputs["x"]])
    task = Regression("stay")
    model = MultiTaskModel(inputs, {"stay": task.head(joined)}, tasks=[task])
    Versions(tmp_path).publish(model)
    with Server(tmp_path, poll_seconds=1000) as server:
        x = np.zeros((2, 2))
        assert server.answer({"n": np.ones((2, 1), "int64"), "x": x})["stay"].shape == (2, 1)
        with pytest.raises(ValueError, match=r"^Input `n` should be of dtype int32. Received: dt"):
            server.answer({"n": np.full((2, 1), 1.9), "x": x})
        with pytest.raises(ValueError, match=r"the same number of rows. Received: \[3, 2\] rows"):
            server.answer({"n": np.ones((3, 1), "int32"), "x": x})
        with pytest.raises(ValueError, match=r"inputs \['n', 'x'\]. Received: \[1, 'n'\]"):
            server.answer({"n": np.ones((2, 1), "int32"), 1: x})


def test_values_that_the_model_refuses_are_a_value_error(tmp_path):
    inputs = keras.Input((), name="n", dtype="int32")
    task = Regression("stay")
    model = MultiTaskModel(
        inputs, {"stay": task.head(keras.layers.Embedding(4, 2)(inputs))}, tasks=[task]
    )
    version = Loaded(1, model.export(tmp_path / "1"))
    assert version.answer([3], "stay")["stay"].shape == (1, 1)
    text = r"values that the model takes. Received: indices\[0\] = 77 is not in \[0, 4\)$"
    with pytest.raises(ValueError, match=text):
        version.answer([77], "stay")


@pytest.mark.slow
def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"`folder` should be the path of a folder. Received: fol"):
        Server(3)
    with pytest.raises(
        ValueError, match=r"`folder` should have a version that can be loaded.*none"
    ):
        Server(tmp_path)
    with pytest.raises(ValueError, match=r"`poll_seconds` should be a positive number of seconds"):
        Server(tmp_path, poll_seconds=0)


@pytest.mark.slow
def test_no_request_is_dropped_under_load(published, folder, later):
    _, answers = published
    stop, seen, wrong = threading.Event(), [[], [], []], []

    def ask(mine):
        try:
            while not stop.is_set():
                answer = server.answer(X)
                mine.append(answer.version)
                if not np.allclose(answer["stay"], answers[answer.version], rtol=1e-5):
                    wrong.append(answer.version)
        except BaseException as error:
            wrong.append(error)
            raise

    with Server(folder, poll_seconds=0.01) as server:
        threads = [threading.Thread(target=ask, args=(mine,)) for mine in seen]
        for thread in threads:
            thread.start()
        try:
            for number in (2, 3):
                later(number)
                wait_until(lambda number=number: all(mine and mine[-1] == number for mine in seen))
            Versions(folder).roll_back()
            wait_until(lambda: all(mine[-1] == 2 for mine in seen))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert [swap.version for swap in server.swaps] == [2, 3, 2]
    assert not wrong
    for mine in seen:
        changes = [a for a, b in zip(mine, [*mine[1:], None], strict=True) if a != b]
        assert changes == [1, 2, 3, 2]


def wait_until(condition):
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < 100, "a request was dropped, or a version not seen"
        time.sleep(0.01)
