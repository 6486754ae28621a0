"""What is kept of gradients over a training, and how it is said."""

import keras
import numpy as np
import pytest
from models.model_cases import compiled, data, hard_sharing, train

from mtlzoo.analysis import Finding, GramianHistory
from mtlzoo.training import Backup


@pytest.fixture(scope="module")
def trained():
    history = GramianHistory()
    model = compiled(hard_sharing(), "pcgrad", track_gramian="groups")
    train(model, *data(16), epochs=3, callbacks=[history])
    return history


@pytest.mark.slow
def test_an_entry_for_each_epoch(trained):
    assert trained.names == ("a", "b") and trained.groups == ("shared", "shared_0")
    assert trained.steps.tolist() == [4, 8, 12]
    assert trained.cosines.shape == trained.conflicts.shape == (3, 2, 2, 2)
    assert trained.magnitude_similarities.shape == (3, 2, 2, 2)
    assert trained.norms.shape == (3, 2, 2) and (trained.norms > 0).all()
    np.testing.assert_array_equal(trained.measured, 4)


@pytest.mark.parametrize("measure", ["cosine", "conflict", "magnitude_similarity"])
def test_the_matrix_is_the_mean_over_all_steps(trained, measure):
    by_epoch = {
        "cosine": trained.cosines,
        "conflict": trained.conflicts,
        "magnitude_similarity": trained.magnitude_similarities,
    }[measure]
    matrix = trained.matrix(measure, "shared_0")
    np.testing.assert_allclose(matrix["a", "b"], by_epoch[:, 1, 0, 1].mean(), rtol=1e-5)
    assert matrix.signed == (measure == "cosine")


def test_words_rows_and_picture(trained):
    assert isinstance(trained, Finding)
    words = trained.words()
    percent = round(100 * float(trained.conflicts[:, 0, 0, 1].mean()))
    assert f"a and b are opposed in {percent} % of 12 measured steps" in words
    assert "By layer, the lowest cosine is that of a and b in shared_0" in words
    assert [row[0] for row in trained.rows()] == ["group", "shared", "shared_0"]
    left, right = trained.figure().axes
    assert left.get_xlabel() == "training step" and right.get_yscale() == "log"


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 2])
def test_windows_of_steps(together):
    x, y = data(20)
    history = GramianHistory(every=2)
    model = hard_sharing()
    eagerly = together == 1
    compiled(
        model, "pcgrad", track_gramian="shared", steps_per_execution=together, run_eagerly=eagerly
    )
    train(model, x, y, epochs=2, callbacks=[history])
    # Keras counts the last execution of an epoch in full.
    assert history.steps.tolist() == ([2, 4, 5, 7, 9, 10] if eagerly else [2, 4, 6, 8, 10, 12])
    assert history.measured[:, 0, 0].tolist() == [2, 2, 1, 2, 2, 1]
    whole = GramianHistory()
    again = compiled(hard_sharing(), "pcgrad", track_gramian="shared")
    train(again, x, y, epochs=2, callbacks=[whole])
    np.testing.assert_allclose(
        history.matrix().values, whole.matrix().values, rtol=1e-5, equal_nan=True
    )


def test_a_second_training_goes_on_and_that_of_another_model_does_not(trained):
    history = GramianHistory()
    model = compiled(hard_sharing(), "pcgrad", track_gramian="shared")
    for _ in range(2):
        train(model, *data(8), callbacks=[history])
    assert history.steps.tolist() == [2, 4]
    with pytest.raises(ValueError, match=r"of one model: make another one. Received: the tasks"):
        train(model, *data(8), callbacks=[trained])


class Killed(Exception):
    """What ends a training in a test."""


class KillsAt(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise Killed


@pytest.mark.slow
def test_it_goes_on_after_a_kill_in_the_middle_of_an_epoch(tmp_path):
    x, y = data(16)

    def fit(*callbacks, path=tmp_path / "kept"):
        history = GramianHistory(every=3)
        model = compiled(hard_sharing(), "pcgrad", track_gramian="groups")
        every = [history, Backup(path, every=1), *callbacks]
        train(model, x, y, epochs=2, callbacks=every)
        return history

    with pytest.raises(Killed):
        fit(KillsAt(6))
    resumed, whole = fit(), fit(path=tmp_path / "other")
    assert resumed.steps.tolist() == whole.steps.tolist() == [3, 4, 7, 8]
    np.testing.assert_array_equal(resumed.cosines, whole.cosines)
    np.testing.assert_array_equal(resumed.norms, whole.norms)


def test_bad_input(trained):
    with pytest.raises(ValueError, match=r"`every` should be 'epoch' or a number .*'batch'"):
        GramianHistory(every="batch")
    with pytest.raises(ValueError, match=r"`every` should be a positive integer"):
        GramianHistory(every=0)
    with pytest.raises(ValueError, match=r"among the `callbacks` of a training first"):
        GramianHistory().words()
    with pytest.raises(ValueError, match=r"`measure` should be one of .* measure='angle'"):
        trained.matrix("angle")
    with pytest.raises(ValueError, match=r"`group` should be one of .* group='head'"):
        trained.matrix("cosine", "head")
    with pytest.raises(ValueError, match=r"compiled with `track_gramian='shared'`"):
        train(compiled(hard_sharing()), *data(8), callbacks=[GramianHistory()])
