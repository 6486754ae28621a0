"""A data set that was begun as often as before gives what it would have given."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo.training import data_order


def numbers(count=12):
    return tf.data.Dataset.range(count)


def drawn(dataset, seed=3):
    return dataset.shuffle(12, seed=seed, reshuffle_each_iteration=True)


def nested():
    inner = drawn(numbers())
    return numbers(1).flat_map(lambda _: inner).batch(3)


def from_python():
    rng = np.random.default_rng(0)
    spec = tf.TensorSpec((), "int64")
    made = tf.data.Dataset.from_generator(lambda: rng.permutation(12), output_signature=spec)
    return made.batch(3)


def with_numbers():
    random = tf.data.Dataset.random(seed=1, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip(drawn(numbers()), random).batch(3).map(lambda a, b: a + 100 * b)


def interleaved():
    return drawn(numbers(4)).interleave(
        lambda i: numbers(3).map(lambda j: i * 10 + j), cycle_length=2, num_parallel_calls=2
    )


SETS = {
    "shuffled": lambda: drawn(numbers()).batch(3).prefetch(tf.data.AUTOTUNE),
    "shuffled twice": lambda: drawn(drawn(numbers()).prefetch(4), 1).batch(3),
    "cached": lambda: drawn(numbers()).cache().batch(3),
    "cached, then shuffled": lambda: drawn(numbers().cache()).batch(3),
    "shuffled, cached, shuffled": lambda: drawn(drawn(numbers()).cache(), 1).batch(3),
    "repeated": lambda: drawn(numbers()).repeat().batch(3).take(5),
    "one after the other": lambda: drawn(numbers()).concatenate(drawn(numbers(), 1)).batch(3),
    "inside another": nested,
    "from Python": from_python,
    "with random numbers": with_numbers,
    "interleaved": lambda: interleaved().batch(3),
    "rebatched": lambda: drawn(numbers()).batch(4).unbatch().batch(4).rebatch(3),
    "filtered": lambda: drawn(numbers()).filter(lambda x: x > 2).batch(3),
}


def read(dataset):
    return np.concatenate([batch.numpy() for batch in dataset]).tolist()


@pytest.mark.parametrize("name", SETS)
def test_the_next_iteration_is_the_one_that_it_would_have_been(name):
    made = SETS[name]()
    expected = []
    for _ in range(3):
        expected.append(read(made))
        iter(made)
    again = SETS[name]()
    data_order.repeat(again, tf.distribute.get_strategy(), [True, False] * 2)
    assert read(again) == expected[2]


@pytest.mark.parametrize(
    ("steps", "known"), [(None, True), (5, True), (None, False), (5, False), (7, False)]
)
@pytest.mark.parametrize("at_once", [1, 2])
def test_keras_begins_iterations_as_is_thought(steps, known, at_once):
    """So that a change of Keras is seen: the data of the third epoch, and what is predicted."""

    def make():
        made = numbers(5).shuffle(5, seed=0)
        made = made if known else made.filter(lambda x: x >= 0)
        return made if known or steps is None else made.repeat()

    seen = []

    class Seen(keras.Model):
        def call(self, inputs):
            return inputs

        def train_step(self, given):
            tf.py_function(lambda v: seen[-1].append(int(v)), [given], [])
            return {"loss": 0.0}

    class Epochs(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append([])

    model = Seen()
    model.compile(steps_per_execution=at_once)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(make(), epochs=3, steps_per_epoch=steps, verbose=0, callbacks=[Epochs()])
    again = make()
    batches = 5 if known else None
    begun, before = data_order.iterations(2, batches, steps, at_once)
    data_order.repeat(again, tf.distribute.get_strategy(), begun)
    iterator = iter(again)
    data_order.pass_over(iterator, before)
    wanted = 5 if steps is None else -(-steps // at_once) * at_once
    found = [int(next(iterator)) for _ in range(min(wanted, 5 if known else wanted))]
    assert found == seen[2]
