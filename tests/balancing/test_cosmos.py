"""COSMOS against SciPy's cosine distance, and where it leads."""

import numpy as np
import pytest
from loss_cases import LOSSES, built, slopes, weights
from scipy.spatial.distance import cosine

from mtlzoo.balancing import COSMOS

PREFERENCE = {"a": 1.0, "b": 2.0, "c": 5.0}
WANTED = np.array(list(PREFERENCE.values()))


def reference(losses, wanted, penalty):
    wanted = wanted / wanted.sum()
    return wanted @ losses - penalty * (1 - cosine(wanted, losses))


@pytest.mark.one_in(4)
@pytest.mark.parametrize("penalty", [0.0, 1.0, 8.0])
@pytest.mark.parametrize("name", ["plain", "equal", "one zero", "one negative", "all negative"])
def test_is_the_paper_s_formula(penalty, name):
    method = built(COSMOS(PREFERENCE, penalty))
    losses = np.array(LOSSES[name])
    for kept in ([0, 1, 2], [0, 2], [1]):
        present = np.isin(range(3), kept)
        if not losses[kept].any():
            continue
        expected = reference(losses[kept], WANTED[kept], penalty)
        for dtype, bound in (("float64", 1e-12), ("float32", 1e-5)):
            found = float(method.objective(losses.astype(dtype), present))
            assert found == pytest.approx(expected, rel=bound, abs=bound)
        expected = slopes(lambda x, k=kept: reference(x, WANTED[k], penalty), losses[kept])
        found = weights(method, losses, present)
        np.testing.assert_allclose(found[kept], expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 16])
def test_equal_preferences_without_tasks(count):
    losses = np.random.default_rng(count).uniform(0.1, 5.0, count)
    expected = reference(losses, np.ones(count), 1.0)
    assert float(COSMOS().objective(losses)) == pytest.approx(expected, rel=1e-12)
    found = weights(COSMOS(), losses)
    expected = slopes(lambda x: reference(x, np.ones(count), 1.0), losses)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    # The cosine's part is orthogonal to the losses: it turns them and does not scale them.
    assert found @ losses == pytest.approx(losses.mean(), rel=1e-12)


def test_without_penalty_it_is_the_weighted_mean():
    method = built(COSMOS(PREFERENCE, penalty=0.0))
    np.testing.assert_allclose(weights(method, LOSSES["far apart"]), WANTED / 8, rtol=1e-12)


def test_the_cosine_does_not_depend_on_the_unit():
    method = built(COSMOS(PREFERENCE))
    turn = weights(method, LOSSES["plain"]) - WANTED / 8
    for unit in (1e-8, 1e8):
        found = weights(method, unit * np.array(LOSSES["plain"])) - WANTED / 8
        np.testing.assert_allclose(found, turn / unit, rtol=1e-5, atol=1e-15)


def test_losses_of_zero_make_no_angle():
    method = built(COSMOS(PREFERENCE))
    for losses in (np.zeros(3), np.full(3, 1e-30)):
        np.testing.assert_allclose(weights(method, losses), WANTED / 8, rtol=1e-12)
        assert float(method.objective(losses)) == pytest.approx(0.0, abs=1e-25)


def test_a_small_loss_is_raised_towards_the_preference():
    found = weights(built(COSMOS(penalty=8.0)), [0.1, 1.0, 1.0])
    assert found[0] < 0 < found[1]


@pytest.mark.parametrize("penalty", [-1.0, np.nan, np.inf, "1", None])
def test_penalty_is_checked(penalty):
    with pytest.raises(
        ValueError, match=r"`penalty` should be a number of at least 0. Received: p"
    ):
        COSMOS(penalty=penalty)


def test_preference_needs_the_names_of_the_tasks():
    with pytest.raises(
        ValueError, match=r"`COSMOS` with `preference` should be built with its task"
    ):
        COSMOS(PREFERENCE).objective([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"`preference` should be a dict by task name of numbers"):
        COSMOS({"a": -1.0})
