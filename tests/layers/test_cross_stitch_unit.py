"""Rows of cross-stitch matrices, with and without subspaces, against NumPy."""

import keras
import numpy as np
import pytest

from mtlzoo.layers import CrossStitchUnit


def features(count=3, shape=(5, 4), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for _ in range(count)]


def filled(unit, seed=1):
    """Random weights in place of the first ones, and their values."""
    alpha = np.random.default_rng(seed).normal(size=unit.alpha.shape)
    unit.alpha.assign(alpha)
    return np.array(unit.alpha, "float64")


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (2, 3, 3, 4)])
def test_a_task_receives_a_mixture_of_all(shape):
    xs = features(shape=shape)
    unit = CrossStitchUnit(1)
    unit.build([shape] * 3)
    alpha = filled(unit)
    assert alpha.shape == (1, 3)
    expected = sum(alpha[0, j] * xs[j].astype("float64") for j in range(3))
    found = unit(xs)
    assert found.shape == shape == unit.compute_output_shape([shape] * 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_every_channel_may_have_a_mixture_of_its_own():
    xs = features()
    unit = CrossStitchUnit(0, per_channel=True)
    unit.build([(5, 4)] * 3)
    alpha = filled(unit)
    assert alpha.shape == (1, 3, 4)
    expected = np.einsum("jbc,jc->bc", np.stack(xs), alpha[0])
    np.testing.assert_allclose(unit(xs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("per_channel", [False, True])
def test_subspaces_mix_with_subspaces(per_channel):
    xs = features(shape=(5, 6))
    unit = CrossStitchUnit(2, per_channel=per_channel, subspaces=2)
    unit.build([(5, 6)] * 3)
    alpha = filled(unit)
    assert alpha.shape == ((2, 6, 3) if per_channel else (2, 6))
    if not per_channel:
        alpha = np.repeat(alpha[..., None], 3, axis=-1)
    parts = np.stack([x[:, 3 * h : 3 * h + 3] for x in xs for h in range(2)])
    expected = np.concatenate([np.einsum("sbc,sc->bc", parts, alpha[g]) for g in range(2)], axis=1)
    np.testing.assert_allclose(unit(xs), expected, rtol=1e-5, atol=1e-6)


def test_it_begins_near_the_identity_with_rows_that_sum_to_one():
    for count, subspaces in ((1, 1), (2, 1), (3, 1), (2, 2), (3, 2)):
        matrix = []
        for receiver in range(count):
            unit = CrossStitchUnit(receiver, subspaces=subspaces)
            unit.build([(None, 4)] * count)
            matrix.append(np.array(unit.alpha))
        size = count * subspaces
        expected = np.full((size, size), 0.1 / max(size - 1, 1))
        np.fill_diagonal(expected, 0.9)
        np.testing.assert_allclose(np.concatenate(matrix), expected, rtol=1e-6)


def test_what_it_begins_with_is_given():
    unit = CrossStitchUnit(1, within=0.5, between=0.25, per_channel=True)
    unit.build([(None, 2)] * 3)
    np.testing.assert_array_equal(unit.alpha, np.array([[[0.25] * 2, [0.5] * 2, [0.25] * 2]]))


def test_the_mask_is_that_of_the_receiver():
    a, b = (keras.layers.Embedding(5, 2, mask_zero=True) for _ in range(2))
    ids = np.array([[1, 2, 0], [3, 0, 0]]), np.array([[0, 2, 1], [0, 0, 1]])
    mixed = CrossStitchUnit(1)([a(ids[0]), b(ids[1])])
    np.testing.assert_array_equal(mixed._keras_mask, ids[1] != 0)


def test_it_computes_in_half_precision_and_keeps_its_variable_in_full():
    unit = CrossStitchUnit(0, subspaces=2, dtype="mixed_float16")
    assert unit(features()).dtype == "float16"
    assert unit.alpha.dtype == "float32"


def test_the_config_gives_the_same_layer():
    unit = CrossStitchUnit(1, 0.5, 0.2, True, 2, name="unit")
    config = unit.get_config()
    again = CrossStitchUnit.from_config(config)
    assert again.get_config() == config
    for each in (unit, again):
        each.build([(None, 4)] * 2)
    np.testing.assert_array_equal(again.alpha, unit.alpha)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"receiver": -1}, "`receiver` should be an integer of at least 0. Received: receiver=-1"),
        ({"receiver": 1.0}, "`receiver` should be an integer of at least 0"),
        ({"within": "0.9"}, "`within` should be a number. Received: within='0.9'"),
        ({"between": float("nan")}, "`between` should be a number. Received: between=nan"),
        ({"per_channel": 1}, "`per_channel` should be a bool. Received: per_channel=1"),
        ({"subspaces": 0}, "`subspaces` should be a positive integer. Received: subspaces=0"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossStitchUnit(**{"receiver": 0, **arguments})


@pytest.mark.parametrize("shapes", [[(2, 4), (2, 3)], [(2, 4), (2, 4, 4)], [(4,), (4,)]])
def test_inputs_of_different_shapes_are_refused(shapes):
    message = "The inputs of `unit` should be a list of tensors of one shape with known channels"
    with pytest.raises(ValueError, match=message):
        CrossStitchUnit(0, name="unit").build(shapes)


def test_the_receiver_and_the_subspaces_fit_the_inputs():
    message = "`receiver` of `unit` should be the index of one of its inputs. .* receiver=2 for 2"
    with pytest.raises(ValueError, match=message):
        CrossStitchUnit(2, name="unit").build([(None, 4)] * 2)
    message = (
        "`unit` receives should be divisible by `subspaces`. Received: 5 channels, subspaces=2"
    )
    with pytest.raises(ValueError, match=message):
        CrossStitchUnit(0, subspaces=2, name="unit").build([(None, 5)] * 2)
