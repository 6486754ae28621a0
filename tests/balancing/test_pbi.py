"""PBI against its formula with vectors, and what happens on the line."""

import numpy as np
import pytest
from loss_cases import LOSSES, built, slopes, weights

from mtlzoo.balancing import PBI

PREFERENCE = {"a": 1.0, "b": 2.0, "c": 5.0}
IDEAL = {"a": 0.5, "b": -1.0, "c": 0.0}
WANTED, BOUNDS = np.array(list(PREFERENCE.values())), np.array(list(IDEAL.values()))


def reference(losses, wanted, theta, ideal):
    """By the angle between the losses and the direction, as the paper draws it."""
    above = losses - ideal
    unit = wanted / np.linalg.norm(wanted)
    return above @ unit + theta * np.linalg.norm(above - (above @ unit) * unit)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("theta", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("name", ["plain", "equal", "one zero", "one negative", "all negative"])
def test_is_the_paper_s_formula(theta, name):
    method = built(PBI(PREFERENCE, theta, IDEAL))
    losses = np.array(LOSSES[name])
    for kept in ([0, 1, 2], [0, 2], [1]):
        present = np.isin(range(3), kept)
        expected = reference(losses[kept], WANTED[kept], theta, BOUNDS[kept])
        for dtype, bound in (("float64", 1e-12), ("float32", 1e-5)):
            found = float(method.objective(losses.astype(dtype), present))
            assert found == pytest.approx(expected, rel=bound, abs=bound)
        expected = slopes(lambda x, k=kept: reference(x, WANTED[k], theta, BOUNDS[k]), losses[kept])
        found = weights(method, losses, present)
        np.testing.assert_allclose(found[kept], expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("count", [2, 3, 8, 16])
def test_equal_preferences_without_tasks(count):
    losses = np.random.default_rng(count).uniform(0.1, 5.0, count)
    expected = np.sqrt(count) * losses.mean() + 5 * np.sqrt(count) * losses.std()
    assert float(PBI().objective(losses)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_on_the_line_the_weights_are_the_direction(dtype):
    method = built(PBI(PREFERENCE))
    unit = WANTED / np.linalg.norm(WANTED)
    for scale in (1e-8, 0.3, 7.1, 1e8):
        rng = np.random.default_rng(0)
        for _ in range(5):
            losses = scale * rng.uniform(1, 2) * WANTED
            np.testing.assert_allclose(weights(method, losses, dtype=dtype), unit, rtol=1e-6)
    np.testing.assert_allclose(weights(method, np.zeros(3), dtype=dtype), unit, rtol=1e-6)


def test_beside_the_line_the_distance_counts_in_any_unit():
    method = built(PBI(PREFERENCE))
    near = WANTED * [1.0, 1.0, 1.001]
    expected = weights(method, near)
    assert abs(expected - WANTED / np.linalg.norm(WANTED)).max() > 1
    for scale in (1e-12, 1e12):
        np.testing.assert_allclose(weights(method, scale * near), expected, rtol=1e-9)
    single = weights(method, near, dtype="float32")
    np.testing.assert_allclose(single, expected, rtol=1e-3)  # 1e-3 of the losses has 4 digits left


def test_one_task_has_weight_one():
    np.testing.assert_array_equal(weights(PBI(), [3.0]), [1.0])
    found = weights(built(PBI(PREFERENCE)), [3.0, 2.0, 1.0], [False, True, False])
    np.testing.assert_array_equal(found, [0, 1, 0])


def test_a_small_loss_is_raised_to_the_line():
    found = weights(built(PBI()), [0.1, 1.0, 1.0])
    assert found[0] < 0 < found[1]


@pytest.mark.parametrize("theta", [-1.0, np.nan, np.inf, "1", None])
def test_theta_is_checked(theta):
    with pytest.raises(
        ValueError, match=r"`theta` should be a number of at least 0. Received: thet"
    ):
        PBI(theta=theta)


def test_dicts_are_checked():
    with pytest.raises(
        ValueError, match=r"`ideal` should be a dict by task name of finite numbers"
    ):
        PBI(ideal={"a": None})
    with pytest.raises(ValueError, match=r"`PBI` with `ideal` should be built with its tasks"):
        PBI(ideal=IDEAL).objective([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"`preference` should be a dict by task name of numbers"):
        PBI({"a": 0.0})
