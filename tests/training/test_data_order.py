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


def drawn_by_seed():
    return numbers().map(lambda x: 1000 * tf.random.uniform((), seed=1)).batch(3)


def drawn_by_layer():
    layer = keras.layers.RandomBrightness(0.5, value_range=(-9, 9), seed=3)
    return numbers().batch(3).map(lambda x: layer(tf.zeros((3, 1, 1, 1)), training=True))


def drawn_by_generator():
    generator = tf.random.Generator.from_seed(1)
    return numbers().map(lambda x: generator.normal(())).batch(3)


def counted():
    count = tf.Variable(0, dtype="int64")
    return numbers().interleave(lambda x: numbers(1).map(lambda _: count.assign_add(x))).batch(3)


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
    "drawn by a seed": drawn_by_seed,
    "drawn by a layer": drawn_by_layer,
    "drawn by a generator": drawn_by_generator,
    "counted": counted,
}


def read(dataset):
    return np.concatenate([batch.numpy() for batch in dataset]).tolist()


@pytest.mark.one_in(4)
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


def twice(x):
    return tf.cond(x > 3, lambda: tf.random.normal(()), lambda: 0.0)


def nested_twice(x):
    return numbers(2).interleave(lambda y: numbers().shuffle(4))


def any_order(x):
    return numbers().map(lambda y: y, num_parallel_calls=2, deterministic=False)


def layer_in_threads():
    layer = keras.layers.RandomBrightness(0.5, seed=3)
    images = numbers().map(lambda x: tf.zeros((2, 2, 1)))
    return images.map(lambda x: layer(x, training=True), num_parallel_calls=2)


REFUSED = {
    "shuffled inside": (
        lambda: numbers().flat_map(lambda x: numbers().shuffle(4)).batch(3),
        "a FlatMap data set whose function has `ShuffleDatasetV3` without a seed",
    ),
    "shuffled deep inside": (
        lambda: numbers().interleave(nested_twice),
        "an? Interleave data set whose function has `ShuffleDatasetV3` without a seed",
    ),
    "numbers inside": (
        lambda: numbers().flat_map(lambda x: tf.data.Dataset.random().take(2)),
        "a FlatMap data set whose function has `RandomDataset(V2)?` without a seed",
    ),
    "drawn": (
        lambda: numbers().map(lambda x: tf.random.uniform(())),
        "a Map data set whose function has `RandomUniform` without a seed",
    ),
    "drawn in a branch": (
        lambda: numbers().map(twice),
        "a Map data set whose function has `RandomStandardNormal` without a seed",
    ),
    "drawn by a predicate": (
        lambda: numbers().filter(lambda x: tf.random.uniform(()) > 0.5),
        "a Filter data set whose function has `RandomUniform` without a seed",
    ),
    "drawn in a scan": (
        lambda: numbers().scan(0.0, lambda s, x: (s + tf.random.uniform(()), s)),
        "a Scan data set whose function has `RandomUniform` without a seed",
    ),
    "any order inside": (
        lambda: numbers().flat_map(any_order),
        "a FlatMap data set whose function makes one with deterministic=False",
    ),
    "a layer in threads": (
        layer_in_threads,
        "`num_parallel_calls` should be left out.*a ParallelMap data set whose .*`AssignVariableOp",
    ),
    "drawn in threads": (
        lambda: numbers().map(lambda x: tf.random.uniform((), seed=1), num_parallel_calls=2),
        "`num_parallel_calls` should be left out.*a ParallelMap data set whose .*`RandomUniform`",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_functions_draw_has_a_seed_and_an_order(name):
    make, message = REFUSED[name]
    tf.random.set_seed(None)  # else it is the seed of all that has none
    with pytest.raises(ValueError, match=message):
        data_order.check(make())


def scattered(x):
    return tf.scatter_nd([[0]], tf.random.stateless_uniform((1,), (1, x)), [3])


@pytest.mark.parametrize(
    "make",
    [
        lambda: numbers().flat_map(lambda x: numbers().shuffle(4, seed=0)),
        lambda: numbers().flat_map(lambda x: numbers().shuffle(4, seed=x)),
        lambda: numbers().map(lambda x: tf.random.uniform((), seed=0)),
        lambda: numbers().map(scattered, num_parallel_calls=2),
        lambda: numbers().map(lambda x: x, num_parallel_calls=2),
        drawn_by_layer,
        drawn_by_generator,
    ],
)
def test_what_has_one_is_taken(make):
    tf.random.set_seed(None)
    data_order.check(make())


def test_the_seed_of_all_is_one_too():
    tf.random.set_seed(3)
    data_order.check(numbers().map(lambda x: tf.random.uniform(())))
    data_order.check(numbers().flat_map(lambda x: numbers().shuffle(4)))


@pytest.mark.one_in(2)
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
