"""Mixtures that are told when to draw what: turns, beginnings, and what a step draws."""

import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import data


def rows(task, count, start):
    x = np.arange(start, start + count, dtype="float32")[:, None]
    return tf.data.Dataset.from_tensor_slices((x, {task: x, f"{task}_2": x})).batch(4)


def sets():
    return {"large": rows("b", 40, 0), "small": rows("a", 8, 1000)}


def names(mixture, steps, start=0):
    """Which data set each step came from, by what was read."""
    found = mixture.starting_at(start).take(steps).as_numpy_iterator()
    return ["small" if x[0, 0] >= 1000 else "large" for x, _, _ in found]


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (data.InTurn(), ["large", "small"] * 20),
        (data.InTurn(steps=3), (["large"] * 3 + ["small"] * 3) * 7),
        (data.InTurn(["small", "large", "large"]), ["small", "large", "large"] * 14),
        (data.InTurn(("small",)), ["small"] * 40),
    ],
)
def test_turns_are_exact(turns, expected):
    mixture = data.mix(sets(), turns)
    assert names(mixture, 40) == expected[:40]
    assert names(mixture, 20, start=13) == expected[13:33]
    assert [mixture.drawn_at(step) for step in range(40)] == [[name] for name in expected[:40]]


def test_a_round_has_the_probabilities_of_its_names():
    turns = data.InTurn(["b", "a", "b"])
    assert turns.probabilities({"a": 5, "b": 1, "c": 1}, epoch=0) == {
        "a": 1 / 3,
        "b": 2 / 3,
        "c": 0,
    }


def test_weights_that_are_set_later_take_the_place_of_turns():
    mixture = data.mix(sets(), data.InTurn(), lag=16)
    mixture.set_sampling_weights({"large": 1, "small": 0}, step=0)
    assert names(mixture, 40) == ["large", "small"] * 8 + ["large"] * 24


@pytest.mark.parametrize("form", ["batches", "rows"])
def test_what_a_step_draws_is_known(form):
    size = 3 if form == "rows" else None
    mixture = data.mix(sets(), "uniform", form=form, batch_size=size, seed=4)
    mixture.set_sampling_weights({"large": 3, "small": 1}, step=0)
    read = mixture.dataset.take(60).as_numpy_iterator()
    for step, (x, _, _) in enumerate(read):
        expected = sorted({"small" if value >= 1000 else "large" for value in x[:, 0]})
        assert mixture.drawn_at(step) == expected


def test_a_mixture_says_what_it_is_made_of_and_how_it_was_read():
    mixture = data.mix(sets())
    assert mixture.tasks == {"large": ("b", "b_2"), "small": ("a", "a_2")}
    assert mixture.form == "batches" and mixture.begun == []
    names(mixture, 2), names(mixture, 2, start=5)
    assert mixture.begun == [0, 5]


def test_a_mixture_begins_with_other_weights():
    mixture = data.mix(sets(), "uniform", lag=16)
    names(mixture, 40)  # a look at it does no harm
    mixture.begin_with({"large": 0, "small": 1})
    assert mixture.probabilities(0) == {"large": 0, "small": 1}
    assert names(mixture, 5) == ["small"] * 5
    mixture.set_sampling_weights({"large": 1, "small": 0}, step=5)
    with pytest.raises(ValueError, match=r"before sampling weights are changed. .* with 1 changes"):
        mixture.begin_with("uniform")


def test_what_was_drawn_is_not_remembered_from_before_a_state_was_restored():
    mixture, other = (data.mix(sets(), "uniform", lag=16) for _ in range(2))
    mixture.set_sampling_weights({"large": 1, "small": 0}, step=0)
    other.set_sampling_weights({"large": 0, "small": 1}, step=0)
    assert mixture.drawn_at(16) == ["large"]
    mixture.restore(other.state)
    assert mixture.drawn_at(16) == ["small"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: data.InTurn(steps=0),
            "`steps` should be an integer of at least 1. Received: steps=0",
        ),
        (
            lambda: data.InTurn("ab"),
            "`order` should be a list of names, or None. Received: order='ab'",
        ),
        (
            lambda: data.InTurn([]),
            r"`order` should be a list of names, or None. Received: order=\[\]",
        ),
        (
            lambda: data.mix(sets(), data.InTurn(["large", "other"])),
            r"`order` should have names among \['large', 'small'\]. Received: \['other'\]",
        ),
    ],
)
def test_bad_turns_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
