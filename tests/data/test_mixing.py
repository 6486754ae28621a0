"""Several data sets in one stream: what is drawn, in which form, and after an interruption."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtlzoo import HardSharing, Regression, data
from mtlzoo.data import sampling


def numbered(first, rows, batch=4, task="a", x="x", seed=None, **more):
    """Rows that carry their numbers as input and label."""
    numbers = np.arange(first, first + rows, dtype="float32")
    inputs = {x: numbers[:, None]}
    found = tf.data.Dataset.from_tensor_slices((inputs, {task: numbers}, *more.values()))
    if seed is not None:
        found = found.shuffle(rows, seed=seed, reshuffle_each_iteration=True)
    return found.batch(batch)


def two(**options):
    """One data set of 40 rows with labels `a`, another of 8 with labels `b`."""
    return {
        "large": numbered(0, 40, task="a", **options),
        "small": numbered(1000, 8, task="b", **options),
    }


def drawn(mixture, steps, start=0):
    """The batches of some steps."""
    return list(mixture.starting_at(start).take(steps).as_numpy_iterator())


def from_small(batches):
    return np.concatenate([x["x"][:, 0] >= 1000 for x, _, _ in batches])


@pytest.mark.parametrize("form", ["batches", "rows"])
def test_elements_have_the_labels_of_all(form):
    size = 4 if form == "rows" else None
    mixture = data.mix(two(), "uniform", form=form, batch_size=size)
    for x, y, w in drawn(mixture, 20):
        small = x["x"][:, 0] >= 1000
        assert sorted(y) == sorted(w) == ["a", "b"]
        np.testing.assert_array_equal(w["a"], ~small)
        np.testing.assert_array_equal(w["b"], small)
        np.testing.assert_array_equal(y["a"], np.where(small, 0, x["x"][:, 0]))
        np.testing.assert_array_equal(y["b"], np.where(small, x["x"][:, 0], 0))
        if form == "batches":
            assert small.all() or not small.any()


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("weights", "share"),
    [
        ("proportional", 1 / 6),
        ("uniform", 1 / 2),
        (2.0, 1 / (1 + 5**0.5)),
        (data.Temperature(1.0), 1 / 6),
        ({"large": 1, "small": 3}, 3 / 4),
        ({"large": 0, "small": 2.0}, 1.0),
    ],
)
def test_each_is_drawn_as_often_as_the_weights_say(weights, share):
    mixture = data.mix(two(), weights)
    assert mixture.sizes == {"large": 10, "small": 2} and mixture.steps_per_epoch == 12
    assert mixture.probabilities(0)["small"] == pytest.approx(share)
    found = from_small(drawn(mixture, 600)).mean()
    assert abs(found - share) < 4 * (share * (1 - share) / 600) ** 0.5 + 1e-12


def test_none_is_cut_to_the_length_of_another_and_none_begins_anew_with_an_epoch():
    mixture = data.mix(two(), "uniform")
    batches = drawn(mixture, 50)
    small = from_small(batches).reshape(50, 4)[:, 0]
    firsts = np.array([x["x"][0, 0] for x, _, _ in batches])
    np.testing.assert_array_equal(firsts[~small], 4 * (np.arange((~small).sum()) % 10))
    np.testing.assert_array_equal(firsts[small], 1000 + 4 * (np.arange(small.sum()) % 2))


def test_rows_count_rows_and_mix_them_within_batches():
    mixture = data.mix(two(), form="rows", batch_size=6)
    assert mixture.sizes == {"large": 40, "small": 8} and mixture.steps_per_epoch == 8
    batches = drawn(mixture, 400)
    assert all(len(x["x"]) == 6 for x, _, _ in batches)
    counts = from_small(batches).reshape(400, 6).sum(1)
    assert abs(counts.mean() - 1) < 0.2 and set(counts) >= {0, 1, 2, 3}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("form", ["batches", "rows"])
def test_the_stream_follows_the_seed_alone(form):
    def stream(seed, steps=70):
        size = 4 if form == "rows" else None
        mixture = data.mix(two(seed=1), "uniform", form=form, batch_size=size, seed=seed)
        return np.concatenate([x["x"] for x, _, _ in drawn(mixture, steps)])

    np.testing.assert_array_equal(stream(0), stream(0))
    assert (stream(0) != stream(1)).any()


@pytest.mark.one_in(5)
@pytest.mark.parametrize("form", ["batches", "rows"])
@pytest.mark.parametrize("step", [1, 16, 37])
def test_an_interrupted_stream_goes_on_as_if_nothing_had_happened(form, step):
    def made():
        size = 3 if form == "rows" else None
        return data.mix(two(seed=1), data.Annealed(4), form=form, batch_size=size, seed=5)

    mixture = made()
    mixture.set_sampling_weights({"large": 1, "small": 9}, step=0)
    whole = drawn(mixture, step + 20)
    again = made()
    again.restore(json.loads(json.dumps(mixture.state)))
    rest = drawn(again, 20, start=step)
    for (x, y, w), (other_x, other_y, other_w) in zip(whole[step:], rest, strict=True):
        np.testing.assert_array_equal(x["x"], other_x["x"])
        for name in y:
            np.testing.assert_array_equal(y[name], other_y[name])
            np.testing.assert_array_equal(w[name], other_w[name])


def test_annealed_probabilities_change_at_the_ends_of_epochs():
    mixture = data.mix(two(), data.Annealed(epochs=3, start=1.0, end=0.0), steps_per_epoch=10)
    shares = [mixture.probabilities(step)["small"] for step in (0, 9, 10, 19, 20, 29, 30, 99)]
    half = 1 / (1 + 5**0.5)
    np.testing.assert_allclose(shares, [1 / 6, 1 / 6, half, half, *[1 / 2] * 4])


@pytest.mark.slow
def test_a_change_comes_into_force_later_whatever_is_read_ahead():
    def stream(ahead):
        mixture = data.mix(two(), "uniform", lag=32)
        found, iterator = [], iter(mixture.dataset.prefetch(ahead))
        for step in range(120):
            if step == 40:
                assert mixture.set_sampling_weights({"large": 1, "small": 0}, step) == 80
            found.append(bool(next(iterator)[0]["x"][0, 0] >= 1000))
        return found

    assert stream(1) == stream(10) and not any(stream(1)[80:]) and any(stream(1)[60:80])


def test_what_is_read_too_far_ahead_is_an_error():
    mixture = data.mix(two(), "uniform", lag=1)
    list(mixture.dataset.take(50))
    with pytest.raises(ValueError, match=r"`lag` should be at least what is read ahead: \d+ steps"):
        mixture.set_sampling_weights({"large": 1, "small": 1}, step=3)
    mixture.set_sampling_weights({"large": 1, "small": 1}, step=900)
    with pytest.raises(ValueError, match="`step` should not lie before that of an earlier change"):
        mixture.set_sampling_weights({"large": 1, "small": 1}, step=800)


# --- Other inputs ------------------------------------------------------------------------------


def test_inputs_are_those_of_all_with_what_is_present():
    pictures = numbered(0, 8, task="a", x="image")
    sounds = numbered(1000, 8, task="b", x="sound")
    mixture = data.mix({"pictures": pictures, "sounds": sounds}, "uniform")
    seen = set()
    for x, _, _ in drawn(mixture, 10):
        assert sorted(x) == ["image", "image_present", "sound", "sound_present"]
        (of_sound,) = set(x["sound_present"].tolist())
        seen.add(of_sound)
        assert (x["image_present"] == (not of_sound)).all() and x["image_present"].dtype == bool
        assert (x["image"] == 0).all() or not of_sound
        assert (x["sound"] > 0).all() == of_sound
    assert seen == {True, False}


def test_flags_that_are_there_are_kept():
    def flagged(x, y):
        return {**x, "image_present": x["image"][:, 0] > 2}, y

    pictures = numbered(0, 8, task="a", x="image").map(flagged)
    other = {
        "no picture": numbered(1000, 8, task="b", x="sound"),
        "all pictures": numbered(100, 8, task="b", x="image"),
    }
    mixture = data.mix({"pictures": pictures, **other}, "uniform")
    for x, _, _ in drawn(mixture, 30):
        assert sorted(x) == ["image", "image_present", "sound", "sound_present"]
        if x["sound_present"].any():
            assert not x["image_present"].any()
        else:
            np.testing.assert_array_equal(x["image_present"], x["image"][:, 0] > 2)


def test_sample_weights_and_dense_labels_are_kept():
    shape = (8, 3, 3)
    dense = (np.ones((8, 2), "float32"), {"mask": np.ones(shape, "int32")})
    weighted = (*dense, {"mask": np.full(shape, 0.5, "float32")})
    plain = (np.ones((8, 2), "float32"), {"b": np.ones(8, "int32")})
    sets = {
        name: tf.data.Dataset.from_tensor_slices(arrays).batch(4)
        for name, arrays in {"dense": weighted, "same": dense, "plain": plain}.items()
    }
    mixture = data.mix(sets, "uniform")
    seen = set()
    for x, y, w in drawn(mixture, 40):
        assert x.shape == (4, 2) and y["mask"].dtype == "int32" and w["mask"].shape == (4, 3, 3)
        seen.add((float(w["mask"].mean()), float(w["b"].mean())))
    assert seen == {(0.5, 0.0), (1.0, 0.0), (0.0, 1.0)}


def test_strings_that_are_missing_are_empty():
    words = tf.data.Dataset.from_tensor_slices(({"w": ["one", "two"]}, {"a": [1.0, 2.0]})).batch(2)
    mixture = data.mix({"words": words, "numbers": numbered(0, 4)}, "uniform")
    found = {tuple(x["w"].tolist()) for x, _, _ in drawn(mixture, 20)}
    assert found == {(b"one", b"two"), (b"",) * 4}


# --- Training ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_trains_on_a_mixture():
    mixture = data.mix(two(), "uniform", form="rows", batch_size=8)
    tasks = [Regression("a"), Regression("b")]
    model = HardSharing(keras.Input((1,), name="x"), tasks, shared_units=(4,))
    model.compile("sgd", balancer="pcgrad", jit_compile=False)
    scaled = mixture.dataset.map(
        lambda x, y, w: (x["x"] / 1000, {n: v[:, None] / 1000 for n, v in y.items()}, w)
    )
    history = model.fit(scaled, steps_per_epoch=mixture.steps_per_epoch, epochs=3, verbose=0)
    assert len(history.history["loss"]) == 3 and np.isfinite(history.history["loss"]).all()


# --- Bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datasets": {}}, "`datasets` should be a dict from names to data sets"),
        ({"datasets": {"a": [1]}}, r"`datasets\['a'\]` should be a `tf.data.Dataset`. Rec"),
        ({"form": "row"}, r"`form` should be one of \['batches', 'rows'\]. Received: form='row'"),
        ({"batch_size": 4}, "`batch_size` should be given with form='rows', and only then"),
        ({"form": "rows"}, "`batch_size` should be given with form='rows', and only then"),
        ({"form": "rows", "batch_size": 0}, "`batch_size` should be an integer of at least 1"),
        ({"seed": -1}, "`seed` should be an integer of at least 0. Received: seed=-1"),
        ({"lag": 0}, "`lag` should be an integer of at least 1"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` should be an integer of at least 1"),
        ({"sizes": {"large": 1}}, r"`sizes` should have a number for each of .*\['large', 'small"),
        ({"sampling_weights": "equal"}, "`sampling_weights` should be 'proportional', 'uniform',"),
        ({"sampling_weights": -1.0}, "`sampling_weights` should be 'proportional', 'uniform', a"),
        ({"sampling_weights": data.Annealed}, "`sampling_weights` should be 'proportional', 'uni"),
        ({"sampling_weights": {"large": 1}}, "`sampling_weights` should have a number for each"),
        (
            {"sampling_weights": {"large": 1, "small": -0.5}},
            r"`sampling_weights\['small'\]` should be a number of at least 0. Received: -0.5",
        ),
        ({"sampling_weights": {"large": 0, "small": 0}}, "should have a number above 0. Received"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"datasets": two(), **change}
    with pytest.raises(ValueError, match=message):
        data.mix(**arguments)


def test_data_sets_that_do_not_fit_are_named():
    good = numbered(0, 8)
    array = tf.data.Dataset.from_tensor_slices((np.ones((8, 1)), {"a": np.ones(8)})).batch(4)
    with pytest.raises(ValueError, match=r"all have one tensor. Received: a dict in `good`, a t"):
        data.mix({"good": good, "array": array})
    wide = good.map(lambda x, y: ({"x": tf.tile(x["x"], [1, 2])}, y))
    message = r"input `x` in one form. Received: float32 \(None, 1\) in `good`, float32 \(None, 2\)"
    with pytest.raises(ValueError, match=message):
        data.mix({"good": good, "wide": wide})
    whole = good.map(lambda x, y: (x, {"a": tf.cast(y["a"], "int32")}))
    with pytest.raises(ValueError, match=r"label `a` in one form. Received: float32"):
        data.mix({"good": good, "whole": whole})
    for other in (
        good.map(lambda x, y: x),
        good.map(lambda x, y: (x, y["a"])),
        good.map(lambda x, y: (x, y, y["a"])),
    ):
        with pytest.raises(ValueError, match=r"`datasets\['other'\]` should have elements"):
            data.mix({"good": good, "other": other})
    named = good.map(lambda x, y: (x, y, {"b": y["a"]}))
    with pytest.raises(ValueError, match=r"weights of tasks that it has labels of. Received: \['b"):
        data.mix({"named": named})


def test_empty_and_endless_data_sets():
    with pytest.raises(ValueError, match=r"`datasets\['none'\]` should have rows. Received: none"):
        data.mix({"some": numbered(0, 8), "none": numbered(0, 8).take(0)})
    endless = {"some": numbered(0, 8), "endless": numbered(0, 8).repeat()}
    with pytest.raises(ValueError, match=r"where a data set has no end, as `endless`. Received"):
        data.mix(endless)
    assert data.mix(endless, sizes={"some": 2, "endless": 10}).steps_per_epoch == 12
    unknown = numbered(0, 8).filter(lambda x, y: y["a"][0] > 0)
    assert data.mix({"unknown": unknown}).sizes == {"unknown": 1}


def test_a_state_of_another_mixture_is_refused():
    mixture = data.mix(two(), seed=1)
    state = mixture.state
    mixture.restore(state)
    others = (
        (data.mix(two(), seed=2), r"of a mixture with the seed 1. Received: 2"),
        (data.mix({"other": two()["large"]}, seed=1), "of a mixture with the sizes"),
        (data.mix(two(), seed=1, steps_per_epoch=3), "of a mixture with the steps_per_epoch"),
        (data.mix(two(), seed=1, form="rows", batch_size=4), "of a mixture with the form batches"),
    )
    for other, message in others:
        with pytest.raises(ValueError, match=message):
            mixture.restore(other.state)
    with pytest.raises(ValueError, match=r"of a mixture with the seed 1. Received: None"):
        mixture.restore({})
    with pytest.raises(ValueError, match="`sampling_weights` should have a number for each"):
        mixture.restore({**state, "changes": [{"step": 3, "weights": {"large": 1}}]})


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"large": 2, "small": -1},
            r"`sampling_weights\['small'\]` should be a number of at least",
        ),
        ({"large": 1}, "`sampling_weights` should have a number for each"),
        ({"large": 0, "small": 0}, "`sampling_weights` should have a number above 0"),
        ([0.5, 0.5], "`sampling_weights` should have a number for each"),
        ({"large": float("nan"), "small": 1}, r"`sampling_weights\['large'\]` should be a number"),
    ],
)
def test_probabilities_of_a_schedule_are_checked(found, message):
    class Own:
        def probabilities(self, sizes, epoch):
            return found

    with pytest.raises(ValueError, match=message):
        data.mix(two(), Own())


def test_probabilities_of_a_schedule_are_scaled_and_extreme_temperatures_are_fine():
    class Own:
        def probabilities(self, sizes, epoch):
            return {"large": 1, "small": 3}

    assert data.mix(two(), Own()).probabilities(0) == {"large": 0.25, "small": 0.75}
    assert data.mix(two(), 1e-3).probabilities(0) == {"large": 1, "small": 0}


def test_an_empty_data_set_is_refused_also_where_sizes_are_given():
    datasets = {**two(), "none": numbered(0, 8).take(0)}
    with pytest.raises(ValueError, match=r"`datasets\['none'\]` should have rows"):
        data.mix(datasets, sizes={"large": 3, "small": 1, "none": 1})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.Temperature(0), "`temperature` should be a positive number. Received: temp"),
        (lambda: data.Temperature(float("nan")), "`temperature` should be a positive number"),
        (lambda: data.Annealed(1), "`epochs` should be an integer of at least 2"),
        (lambda: data.Annealed(3, start=-1), "`start` should be a number of at least 0"),
        (lambda: data.Annealed(3, end=float("inf")), "`end` should be a number of at least 0"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_place_of_probability_zero_is_drawn():
    ends = np.array([0.0, np.nextafter(1, 0)])
    for probabilities in ([0, 1, 0], [0, 0.3, 0.7, 0], [0.1] * 10 + [0.0]):
        places = sampling.draw(np.array(probabilities, float), ends)
        assert all(probabilities[place] > 0 for place in places)
