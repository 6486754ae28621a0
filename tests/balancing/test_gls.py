"""GLS and ScaleInvariant: the product of the losses, as a mean and as a sum of logarithms."""

import numpy as np
import pytest
from loss_cases import built, weights

from mtlzoo.balancing import GLS, ScaleInvariant


@pytest.mark.parametrize("count", [1, 2, 3, 8, 16])
def test_gls_is_the_geometric_mean(count):
    losses = np.random.default_rng(count).uniform(0.1, 5.0, count)
    expected = np.prod(losses) ** (1 / count)
    for dtype, bound in (("float64", 1e-12), ("float32", 2e-6)):
        found = float(GLS().objective(losses.astype(dtype)))
        assert found == pytest.approx(expected, rel=bound)
        derivative = weights(GLS(), losses, dtype=dtype)
        np.testing.assert_allclose(derivative, expected / (count * losses), rtol=bound)


def test_gls_takes_the_mean_of_those_present():
    losses, present = [2.0, np.nan, 8.0, 0.0], [True, False, True, False]
    assert float(GLS().objective(np.array(losses), present)) == pytest.approx(4.0, rel=1e-12)
    np.testing.assert_allclose(weights(GLS(), losses, present), [1, 0, 0.25, 0], rtol=1e-12)


def test_the_product_does_not_overflow():
    losses = np.full(40, 1e30, "float32")
    assert float(GLS().objective(losses)) == pytest.approx(1e30, rel=2e-5)  # the error of exp(69)


@pytest.mark.parametrize("kind", [GLS, ScaleInvariant])
def test_all_weighted_losses_are_the_same_in_any_unit(kind):
    losses = np.array([0.3, 7.0, 2.0])
    for units in (np.ones(3), np.array([1e-6, 1.0, 1e8])):
        weighted = weights(kind(), losses * units) * losses * units
        np.testing.assert_allclose(weighted, weighted[0], rtol=1e-12)


@pytest.mark.parametrize(("method", "least"), [(GLS(), 1e-20), (ScaleInvariant(), 1e-8)])
def test_a_loss_that_is_not_positive_counts_as_the_least(method, least):
    for loss in (0.0, -3.0, least / 2):
        value = float(method.objective(np.array([loss, 4.0])))
        same = float(method.objective(np.array([2 * least, 4.0])))
        halved = same / np.sqrt(2) if isinstance(method, GLS) else same - np.log(2)
        assert value == pytest.approx(halved, rel=1e-12)
        derivative = weights(method, [loss, 4.0])
        assert derivative[0] == 0 and derivative[1] > 0


def test_scale_invariant_is_the_sum_of_the_logarithms():
    losses = np.random.default_rng(0).uniform(0.1, 5.0, 8)
    method = ScaleInvariant()
    assert float(method.objective(losses)) == pytest.approx(np.log(losses).sum(), rel=1e-12)
    np.testing.assert_allclose(weights(method, losses), 1 / losses, rtol=1e-12)
    present = np.arange(8) % 3 > 0
    expected = np.log(losses[present]).sum()
    assert float(method.objective(losses, present)) == pytest.approx(expected, rel=1e-12)


def test_scale_invariant_is_gls_up_to_a_common_factor():
    losses = np.array([0.3, 7.0, 2.0])
    both = weights(GLS(), losses) / weights(ScaleInvariant(), losses)
    np.testing.assert_allclose(both, float(GLS().objective(losses)) / 3, rtol=1e-12)


def test_epsilon_decides_what_is_told_apart_from_zero():
    np.testing.assert_allclose(weights(ScaleInvariant(), [1e-7, 1e-9]), [1e7, 0], rtol=1e-12)
    method = built(ScaleInvariant(epsilon=1e-10))
    np.testing.assert_allclose(weights(method, [1e-7, 1e-9, 1.0]), [1e7, 1e9, 1], rtol=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, np.nan, np.inf, "small", None, True])
def test_epsilon_is_checked(epsilon):
    with pytest.raises(ValueError, match=r"`epsilon` should be a positive number. Received: `epsi"):
        ScaleInvariant(epsilon=epsilon)
