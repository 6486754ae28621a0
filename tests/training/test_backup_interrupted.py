"""Trainings that are interrupted in the middle of an epoch, and go on in the same process."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from killed_settings import SETTINGS, arrays, compiled, plain, shuffled

from mtlzoo.training import Backup


class Interrupts(keras.callbacks.Callback):
    """As if somebody pressed Ctrl-C after a step."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.when = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.when:
            raise KeyboardInterrupt


def train(name, path=None, interrupted=None):
    keras.utils.set_random_seed(7)
    made = SETTINGS[name]()
    callbacks = list(made.callbacks)
    if path is not None:
        callbacks.append(Backup(path, every=3, mixture=made.mixture))
    if interrupted is not None:
        callbacks.append(Interrupts(*interrupted))
    history = made.model.fit(**made.fit, verbose=0, callbacks=callbacks)
    variables = [*made.model.variables, *made.model.optimizer.variables]
    return history.history, [keras.ops.convert_to_numpy(v) for v in variables]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["begins", "metric built late", "recurrent", "random layer"])
def test_it_goes_on_in_the_middle_of_an_epoch_as_if_nothing_had_been(name, tmp_path):
    logs, values = train(name)
    with pytest.raises(KeyboardInterrupt):
        train(name, tmp_path / "backup", (1, 5))
    found_logs, found = train(name, tmp_path / "backup")
    assert found_logs == logs
    for a, b in zip(found, values, strict=True):
        np.testing.assert_array_equal(a, b)


def batches(count):
    x, y = arrays()

    def rows():
        for i in range(0, 4 * count, 4):
            yield x[i : i + 4], {name: labels[i : i + 4] for name, labels in y.items()}

    spec = (tf.TensorSpec((None, 6)), {name: tf.TensorSpec((None, 1)) for name in y})
    return tf.data.Dataset.from_generator(rows, output_signature=spec)


def steps_of_next_fit(model):
    before = int(model.optimizer.iterations)
    model.fit(shuffled(), verbose=0)
    return int(model.optimizer.iterations) - before


def interrupted_at_8(path):
    with pytest.raises(KeyboardInterrupt):
        compiled().fit(batches(10), verbose=0, callbacks=[Backup(path, 3), Interrupts(0, 8)])


@pytest.mark.slow
def test_data_that_are_shorter_now_leave_the_model_as_one_that_trains(tmp_path):
    interrupted_at_8(tmp_path / "backup")
    model = compiled()
    with pytest.raises(ValueError, match="data that end before batch 5"):
        model.fit(batches(4), verbose=0, callbacks=[Backup(tmp_path / "backup", 3)])
    assert steps_of_next_fit(model) == 10


@pytest.mark.slow
def test_an_interrupt_while_passing_leaves_the_model_as_one_that_trains(tmp_path):
    interrupted_at_8(tmp_path / "backup")

    class Interrupted(Backup):
        """While Keras tells the steps that are passed over."""

        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            passing = self.model.train_function

            def interrupting(iterator):
                passing(iterator)
                assert self.model.train_function is passing  # it would go on
                raise KeyboardInterrupt

            self.model.train_function = interrupting

    model = compiled()
    with pytest.raises(KeyboardInterrupt):
        model.fit(batches(10), verbose=0, callbacks=[Interrupted(tmp_path / "backup", 3)])
    assert steps_of_next_fit(model) == 10


# -- what callbacks give ----------------------------------------------------------------------


class Gives(keras.callbacks.Callback):
    def __init__(self, state):
        super().__init__()
        self.state = state

    def get_state(self):
        return self.state

    def set_state(self, state):
        self.state = state


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {1, 2}}, r"made of dicts.*Received: \{1, 2\}, which is `get_state\(\)\['a'\]`"),
        ({"a": [0, {"b": object}]}, r"which is `get_state\(\)\['a'\]\[1\]\['b'\]`"),
        ({"a": np.array([None])}, r"which is `get_state\(\)\['a'\]`"),
        ({3: 1}, r"have strings as keys. Received: the key 3 of `get_state\(\)`"),
        ({"a": {None: 1}}, r"Received: the key None of `get_state\(\)\['a'\]`"),
    ],
)
def test_a_state_that_cannot_be_kept_is_refused_before_the_first_step(state, message, tmp_path):
    model = compiled()
    with pytest.raises(ValueError, match=f"The state of the callback `Gives` should.*{message}"):
        model.fit(
            shuffled(), verbose=0, callbacks=[Gives(state), Backup(tmp_path / "backup", every=1)]
        )
    assert int(model.optimizer.iterations) == 0 and not (tmp_path / "backup").exists()


@pytest.mark.slow
def test_a_training_of_which_nothing_is_left_says_so(tmp_path, caplog):
    path = tmp_path / "backup"
    made = plain()
    made.model.fit(made.fit["x"], verbose=0, callbacks=[Backup(path)])
    assert "Nothing is left" not in caplog.text
    made.model.fit(made.fit["x"], verbose=0, callbacks=[Backup(path)])
    (record,) = [r for r in caplog.records if "Nothing is left to train" in r.getMessage()]
    assert record.levelname == "WARNING" and str(path) in record.getMessage()
    assert "give more `epochs`" in record.getMessage()
    assert "delete the file or give another path" in record.getMessage()
    assert int(made.model.optimizer.iterations) == 10
