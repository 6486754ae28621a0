"""The history of affinities: its entries, its words, and going on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import HardSharing, Regression
from mtlzoo.analysis import AffinityHistory, Finding, inter_task_affinity
from mtlzoo.training import Backup


def batches():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 8, 4)).astype("float32")
    return [(rows, {"a": rows[:, 0], "b": rows[:, 1]}) for rows in x]


def model_of(names=("a", "b")):
    keras.utils.set_random_seed(0)
    model = HardSharing(keras.Input((4,)), [Regression(n) for n in names], shared_units=[5])
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def measured():
    """A history over a training with a rate of 0, so that every entry is that of the start."""
    model, data = model_of(), batches()
    model.optimizer.learning_rate = 0.0
    history = AffinityHistory(data, every=1, batches=2, learning_rate=0.1)
    model.fit(*data[0], batch_size=4, epochs=2, shuffle=False, callbacks=[history], verbose=0)
    return model, history


@pytest.mark.slow
def test_batches_are_taken_in_turn(measured):
    model, history = measured
    each = inter_task_affinity(model, batches(), learning_rate=0.1).samples
    for entry, pair in zip(history.affinities, ([0, 1], [2, 0], [1, 2], [0, 1]), strict=True):
        np.testing.assert_allclose(entry, each[pair].mean(0), rtol=1e-9)
    assert history.steps.tolist() == [1, 2, 3, 4]
    assert history.matrix().values == pytest.approx(history.affinities.mean(0))


@pytest.mark.slow
def test_it_goes_on_after_a_kill(measured):
    model, whole = measured
    first = AffinityHistory(batches(), every=1, batches=2, learning_rate=0.1)
    data = batches()[0]
    model.fit(*data, batch_size=4, shuffle=False, callbacks=[first], verbose=0)
    second = AffinityHistory(batches(), every=1, batches=2, learning_rate=0.1)
    second.set_state(first.get_state())
    model.fit(*data, batch_size=4, shuffle=False, callbacks=[second], verbose=0)
    np.testing.assert_array_equal(second.steps, whole.steps)
    np.testing.assert_array_equal(second.affinities, whole.affinities)


class Kill(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_it_goes_on_after_a_kill_within_an_epoch(tmp_path):
    data = tf.data.Dataset.from_tensor_slices(batches()[0]).batch(2)  # 4 steps

    def trained(kill, path):
        history = AffinityHistory(batches(), every=2, learning_rate=0.1)
        callbacks = [history, Backup(tmp_path / path, every=3), *kill]
        model_of().fit(data, epochs=3, shuffle=False, callbacks=callbacks, verbose=0)
        return history

    with pytest.raises(KeyboardInterrupt):
        trained([Kill(8)], "killed.npz")
    found, whole = trained([], "killed.npz"), trained([], "whole.npz")
    assert found.steps.tolist() == whole.steps.tolist() == [2, 4, 6, 8, 10, 12]
    np.testing.assert_array_equal(found.affinities, whole.affinities)


@pytest.mark.slow
def test_data_that_are_shuffled_anew_are_refused_and_others_change_nothing():
    def data(anew):
        rows = tf.data.Dataset.from_tensor_slices(batches()[0])
        return rows.shuffle(8, seed=3, reshuffle_each_iteration=anew).batch(4)

    with pytest.raises(ValueError, match=r"`data` should be the same each time .*anew each time"):
        AffinityHistory(data(True).prefetch(1))
    weights = []
    for with_it in (False, True):
        shuffled, model = data(False), model_of()
        history = AffinityHistory(shuffled, every=1, learning_rate=0.1)
        callbacks = [history] if with_it else []
        model.fit(shuffled, epochs=3, shuffle=False, callbacks=callbacks, verbose=0)
        weights.append(model.get_weights())
    for without, with_it in zip(*weights, strict=True):
        np.testing.assert_array_equal(without, with_it)
    np.testing.assert_array_equal(history.steps, range(1, 7))


def test_it_is_a_finding():
    history = AffinityHistory(batches())
    with pytest.raises(ValueError, match=r"should have measured something.*Received: no entry"):
        history.words()
    entries = [[[1, 0.2], [-0.1, 1]], [[1, -0.3], [-0.2, 1]]]
    history.set_state(
        {"names": ["a", "b"], "steps": [5, 10], "affinities": entries, "taken": 0, "done": 10,
         "in_epoch": 5}
    )  # fmt: skip
    assert isinstance(history, Finding)
    assert "is highest for a → b (-0.05) and lowest for b → a (-0.15)" in history.words()
    assert history.words().endswith("between the first and the last entry for a → b (0.2 to -0.3).")
    assert history.rows() == [
        ["step", "a → b", "b → a"],
        ["5", "0.2", "-0.1"],
        ["10", "-0.3", "-0.2"],
    ]
    panels = history.figure().axes
    assert [panel.get_title() for panel in panels] == ["a step of a", "a step of b"]
    np.testing.assert_allclose(panels[0].lines[0].get_ydata(), [0.2, -0.3])


def test_what_it_cannot_use_is_refused():
    with pytest.raises(ValueError, match=r"`data` should be batches that can be read again.*gene"):
        AffinityHistory(batch for batch in batches())
    with pytest.raises(
        ValueError, match=r"`every` should be a positive integer. Received: every=0"
    ):
        AffinityHistory(batches(), every=0)
    with pytest.raises(ValueError, match=r"`data` should have a batch at least"):
        model_of().fit(*batches()[0], callbacks=[AffinityHistory([])], verbose=0)
    alone = model_of(["a"])
    before = alone.get_weights()
    x, y = batches()[0]
    with pytest.raises(ValueError, match=r"`model` should have two tasks or more"):
        alone.fit(x, {"a": y["a"]}, callbacks=[AffinityHistory(batches())], verbose=0)
    for old, new in zip(before, alone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    history = AffinityHistory(batches())
    history.set_state({**history.get_state(), "names": ["a", "c"]})
    with pytest.raises(ValueError, match=r"should go on with a model of the tasks \['a', 'c'\]"):
        model_of().fit(x, y, callbacks=[history], verbose=0)
