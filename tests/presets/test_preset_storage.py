"""Weights in fewer bytes: how far they are from what they were."""

import keras
import numpy as np
import pytest
from preset_cases import answers, normalized

from mtlzoo import presets
from mtlzoo.presets import storage

# The unit roundoff of a type with so many binary digits is half of the last one.
RELATIVE = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(40, 9)).astype("float32") * np.logspace(-3, 2, 9, dtype="float32")
    kernel[:, 4] = 0
    return {
        "kernel": kernel,
        "stacked": rng.normal(size=(2, 5, 3)).astype("float32"),
        "bias": rng.normal(size=9).astype("float32"),
        "statistics": rng.normal(size=(3, 3)).astype("float32"),
        "counts": np.arange(6, dtype="int64").reshape(2, 3),
    }


def stored(arrays, how):
    learned = frozenset(arrays) - {"statistics", "counts"}
    written, entries = storage.pack(arrays, how, learned)
    shapes = {k: v for entry in entries for k, v in storage.layout(entry).items()}
    assert {k: (v.shape, str(v.dtype)) for k, v in written.items()} == shapes
    return written, {entry["name"]: storage.unpack(written, entry) for entry in entries}


@pytest.mark.parametrize("how", storage.STORAGES)
def test_what_is_small_or_not_learned_stays_exact(arrays, how):
    _, read = stored(arrays, how)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
    for name in ("bias", "statistics", "counts"):
        np.testing.assert_array_equal(read[name], arrays[name])


@pytest.mark.parametrize("how", RELATIVE)
def test_floats_are_within_half_a_unit_of_their_last_digit(arrays, how):
    written, read = stored(arrays, how)
    for name in ("kernel", "stacked"):
        array = arrays[name]
        # Below the smallest normal number of half precision the error is an absolute one.
        bound = RELATIVE[how] * np.abs(array) + (2.0**-25 if how == "float16" else 0)
        assert (np.abs(read[name] - array) <= bound).all()
        assert written[name].itemsize == (4 if how == "float32" else 2)


def test_bfloat16_rounds_as_its_definition_says(arrays):
    _, read = stored(arrays, "bfloat16")
    bits = arrays["kernel"].view("uint32").astype("uint64")
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)  # to the nearest, of two to the even
    wanted = ((rounded >> 16) << 16).astype("uint32").view("float32")
    np.testing.assert_array_equal(read["kernel"], wanted)


def test_whole_numbers_are_within_half_a_step_of_their_column(arrays):
    written, read = stored(arrays, "int8")
    for name in ("kernel", "stacked"):
        array = arrays[name]
        step = np.abs(array).max(axis=tuple(range(array.ndim - 1))) / 127
        assert (np.abs(read[name] - array) <= 0.5 * step * (1 + 1e-5)).all()
        assert written[name].dtype == np.int8
    assert (read["kernel"][:, 4] == 0).all()


def test_numbers_beyond_half_precision_stay_as_they_are():
    large = {"kernel": np.array([[1e5, 1.0]], "float32")}
    np.testing.assert_array_equal(stored(large, "float16")[1]["kernel"], large["kernel"])


@pytest.mark.parametrize(("how", "bound"), [("float16", 2e-3), ("bfloat16", 2e-2), ("int8", 3e-2)])
def test_a_model_answers_nearly_the_same(tmp_path, how, bound):
    model = normalized()
    path = model.save_to_preset(tmp_path / "mine", storage=how)
    again = presets.load(path)
    apart = [np.abs(answers(again)[t] - answers(model)[t]).max() for t in model.task_names]
    assert 0 < max(apart) < bound
    assert presets.card(path).storage == how
    assert max(presets.check(path).values()) == 0


def test_what_would_round_nothing_is_refused(tmp_path):
    keras.config.set_dtype_policy("float64")
    try:
        model = normalized()
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match=r"`storage` should be 'float32' for a model without"):
        model.save_to_preset(tmp_path / "mine", storage="int8")
    assert not list(tmp_path.iterdir())
