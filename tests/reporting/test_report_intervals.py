import numpy as np
import pytest
from scipy import stats

from mtlzoo.analysis.statistics import student
from mtlzoo.reporting import intervals


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 30, 101])
def test_the_quantile_is_that_of_students_distribution(degrees):
    assert student(intervals.LEVEL, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


def test_the_interval_of_seeds_is_that_of_scipy():
    values = [0.81, 0.84, 0.79]
    found = intervals.of_seeds(values)
    error = np.std(values, ddof=1) / np.sqrt(3)
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=error)
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-9)
    assert (found.value, found.by) == (pytest.approx(np.mean(values)), "seeds")


def test_the_bootstrap_of_a_mean_agrees_with_its_standard_error():
    rows = np.random.default_rng(1).normal(2.0, 1.0, 4000)
    groups = np.stack([[g.sum(), g.size] for g in np.split(rows, 100)])
    found = intervals.of_rows(groups, lambda sums: sums[:, 0] / sums[:, 1])
    half = 1.96 * rows.std() / np.sqrt(rows.size)
    assert (found.value, found.by) == (pytest.approx(rows.mean()), "rows")
    assert found.high - found.value == pytest.approx(half, rel=0.25)
    assert found.value - found.low == pytest.approx(half, rel=0.25)
    assert found == intervals.of_rows(groups, lambda sums: sums[:, 0] / sums[:, 1])
