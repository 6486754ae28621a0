"""STCH against SciPy's logsumexp, and its limits."""

import numpy as np
import pytest
from loss_cases import LOSSES, built, slopes, weights
from scipy.special import logsumexp, softmax

from mtlzoo.balancing import STCH

PREFERENCE = {"a": 1.0, "b": 2.0, "c": 5.0}
IDEAL = {"a": 0.5, "b": -1.0, "c": 0.0}


def reference(losses, mu, preference, ideal):
    return mu * logsumexp(preference / preference.sum() * (losses - ideal) / mu)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("mu", [0.01, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("name", ["plain", "equal", "one zero", "one negative", "far apart"])
def test_is_the_paper_s_formula(mu, name):
    method = built(STCH(mu, PREFERENCE, IDEAL))
    losses = np.array(LOSSES[name])
    wanted, ideal = np.array(list(PREFERENCE.values())), np.array(list(IDEAL.values()))
    for kept in ([0, 1, 2], [0, 2], [1]):
        present = np.isin(range(3), kept)
        expected = reference(losses[kept], mu, wanted[kept], ideal[kept])
        for dtype, bound in (("float64", 1e-12), ("float32", 1e-5)):
            found = float(method.objective(losses.astype(dtype), present))
            assert found == pytest.approx(expected, rel=bound, abs=bound)
        share = wanted[kept] / wanted[kept].sum()
        parts = share * softmax(share * (losses - ideal)[kept] / mu)
        found = weights(method, losses, present)
        np.testing.assert_allclose(found[kept], parts, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 16])
def test_equal_preferences_without_tasks(count):
    losses = np.random.default_rng(count).uniform(0.1, 5.0, count)
    expected = reference(losses, 0.3, np.ones(count), 0.0)
    assert float(STCH(mu=0.3).objective(losses)) == pytest.approx(expected, rel=1e-12)
    found = weights(STCH(mu=0.3), losses)
    np.testing.assert_allclose(
        found, slopes(lambda x: reference(x, 0.3, np.ones(count), 0.0), losses), rtol=1e-7
    )
    assert found.sum() == pytest.approx(1 / count, rel=1e-12)


def test_a_small_width_is_the_maximum_and_a_large_one_the_mean():
    losses = np.array([1.0, 3.0, 2.9])
    assert float(STCH(mu=1e-4).objective(losses)) == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(weights(STCH(mu=1e-4), losses), [0, 1 / 3, 0], atol=1e-12)
    np.testing.assert_allclose(weights(STCH(mu=1e6), losses), np.full(3, 1 / 9), rtol=1e-5)


@pytest.mark.slow
def test_finds_pareto_optima_that_no_weighted_sum_finds():
    # The front f₂ = √(1 − f₁²) is concave: every weighted sum is least at one of its ends.
    angle = np.linspace(0.0, np.pi / 2, 2001)
    front = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for share in (0.3, 0.5, 0.7):
        method = built(STCH(0.005, {"a": share, "b": 1 - share}), "ab")
        best = np.argmin([float(method.objective(point)) for point in front[::40]])
        assert 10 < best < 40
        ratio = front[::40][best]
        assert share * ratio[0] == pytest.approx((1 - share) * ratio[1], abs=0.03)
        summed = np.argmin(front @ [share, 1 - share])
        assert summed in (0, 2000)


@pytest.mark.parametrize("mu", [0.0, -1.0, np.nan, np.inf, "small", None])
def test_mu_is_checked(mu):
    with pytest.raises(ValueError, match=r"`mu` should be a positive number. Received: `mu="):
        STCH(mu=mu)


@pytest.mark.parametrize("ideal", [{}, {"a": np.nan}, {"a": np.inf}, {"a": "0"}, [0.0], 1.0])
def test_ideal_is_checked(ideal):
    with pytest.raises(ValueError, match=r"`ideal` should be a dict by task name of finite number"):
        STCH(ideal=ideal)


@pytest.mark.parametrize("argument", ["ideal", "preference"])
def test_dicts_need_the_names_of_the_tasks(argument):
    method = STCH(**{argument: {"a": 1.0, "d": 1.0}})
    with pytest.raises(
        ValueError, match=rf"`STCH` with `{argument}` should be built with its task"
    ):
        method.objective([1.0, 2.0])
    with pytest.raises(
        ValueError, match=rf"`{argument}` should have one entry for each of the tas"
    ):
        built(method).objective([1.0, 2.0, 3.0])
