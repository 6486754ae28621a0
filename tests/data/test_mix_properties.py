"""What holds for the draws of a mixture whatever its data sets and weights are."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlzoo import data
from mtlzoo.data.sampling import draw


def batches(first, count, task):
    """Batches of two rows that carry their numbers as input and label."""
    numbers = np.arange(first, first + 2 * count, dtype="float32")
    return tf.data.Dataset.from_tensor_slices(({"x": numbers[:, None]}, {task: numbers})).batch(2)


sizes = st.lists(st.integers(1, 6), min_size=1, max_size=3)
weights = st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any)


def mixture_of(counts, given_weights="proportional", **options):
    names = ["abc"[place] for place in range(len(counts))]
    if not isinstance(given_weights, str):
        given_weights = {**dict(zip(names, given_weights, strict=False))}
        given_weights[names[0]] += not any(given_weights.values())
    sets = {n: batches(100 * p, counts[p], f"task_{n}") for p, n in enumerate(names)}
    return data.mix(sets, given_weights, **options)


@pytest.mark.slow
@given(sizes, weights, st.integers(0, 5))
@settings(max_examples=15)
def test_probabilities_are_the_weights_and_what_is_drawn_is_one_that_can_be(
    counts, given_weights, seed
):
    mixture = mixture_of(counts, given_weights, seed=seed)
    found = mixture.probabilities(0)
    assert sum(found.values()) == pytest.approx(1) and list(found) == mixture.names
    total = sum(mixture.sampling_weights.weights.values())
    assert found == pytest.approx(
        {name: w / total for name, w in mixture.sampling_weights.weights.items()}
    )
    possible = {name for name, probability in found.items() if probability}
    assert all(set(mixture.drawn_at(step)) <= possible for step in range(40))


@pytest.mark.slow
@given(sizes, st.integers(0, 5), st.integers(0, 40))
@settings(max_examples=10)
def test_a_stream_that_begins_later_goes_on_as_the_one_from_the_start(counts, seed, start):
    mixture = mixture_of(counts, "uniform", seed=seed)
    whole = list(mixture.starting_at(0).take(start + 6).as_numpy_iterator())
    later = list(mixture.starting_at(start).take(6).as_numpy_iterator())
    for (x, y, weight), (x_later, y_later, weight_later) in zip(whole[start:], later, strict=True):
        np.testing.assert_array_equal(x["x"], x_later["x"])
        for name in y:
            np.testing.assert_array_equal(y[name], y_later[name])
            np.testing.assert_array_equal(weight[name], weight_later[name])
    for step, (_, _, weight) in enumerate(whole):
        (name,) = mixture.drawn_at(step)
        assert {task for task, present in weight.items() if present.all()} == {f"task_{name}"}


@given(sizes, st.integers(0, 5))
@settings(max_examples=10)
def test_no_row_is_lost_or_read_out_of_turn(counts, seed):
    mixture = mixture_of(counts, "uniform", seed=seed)
    read = {name: [] for name in mixture.names}
    for step, (x, _, _) in enumerate(mixture.dataset.take(30).as_numpy_iterator()):
        read[mixture.drawn_at(step)[0]] += x["x"][:, 0].tolist()
    for place, name in enumerate(mixture.names):
        of_one_pass = 2 * counts[place]
        assert read[name] == [100 * place + n % of_one_pass for n in range(len(read[name]))]


@pytest.mark.slow
@given(sizes, st.lists(st.tuples(st.integers(0, 30), weights), max_size=3), st.integers(0, 5))
def test_changes_come_into_force_late_and_a_restored_mixture_draws_the_same(counts, changes, seed):
    mixture, step = mixture_of(counts, "uniform", seed=seed), 0
    for steps, changed in changes:
        step += steps
        names = dict(zip(mixture.names, changed, strict=False))
        names[mixture.names[0]] += not any(names.values())
        start = mixture.set_sampling_weights({n: float(w) for n, w in names.items()}, step)
        assert step + mixture.lag <= start < step + mixture.lag + 16 and start % 16 == 0
        total = sum(names.values())
        assert mixture.probabilities(start) == pytest.approx(
            {name: weight / total for name, weight in names.items()}
        )
    again = mixture_of(counts, "uniform", seed=seed)
    again.restore(json.loads(json.dumps(mixture.state)))
    for later in range(0, 150, 7):
        assert again.drawn_at(later) == mixture.drawn_at(later)


@given(weights, st.integers(0, 2**32 - 1))
def test_draws_are_as_often_as_they_are_likely(given_weights, seed):
    likely = np.array(given_weights) / sum(given_weights)
    found = draw(likely, np.random.default_rng(seed).random(2000))
    share = np.bincount(found, minlength=3) / 2000
    assert (np.abs(share - likely) <= 5 * np.sqrt(likely * (1 - likely) / 2000)).all()
