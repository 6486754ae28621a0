"""Groups of tasks: against a search by hand, with overlap, by clustering, and in words."""

import itertools

import numpy as np
import pytest

from mtlzoo.analysis import Finding, MeasuredGains, TaskGroups, TaskMatrix, group_tasks
from mtlzoo.analysis.relatedness import grouping


def matrix_of(count, seed=0, directed=True):
    values = np.random.default_rng(seed).normal(size=(count, count))
    values = values if directed else values + values.T
    names = [f"t{i:02}" for i in range(count)]
    return TaskMatrix(names, values, "affinity", directed=directed)


def predicted(matrix, group, task):
    others = [other for other in group if other != task]
    return np.mean([matrix[other, task] for other in others]) if others else 0.0


def score(matrix, groups):
    return sum(
        max(predicted(matrix, g, name) for g in groups if name in g) for name in matrix.names
    )


def best_by_hand(matrix, most, overlap):
    names = matrix.names
    groups = [g for n in range(1, len(names) + 1) for g in itertools.combinations(names, n)]
    choices = [c for k in range(1, most + 1) for c in itertools.combinations(groups, k)]
    fitting = [c for c in choices if set().union(*c) == set(names)]
    if not overlap:
        fitting = [c for c in fitting if sum(map(len, c)) == len(names)]
    return max(score(matrix, c) for c in fitting)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_the_best(seed, overlap):
    matrix = matrix_of(4, seed)
    for most in (1, 2, 3):
        found = group_tasks(matrix, num_groups=most, overlap=overlap)
        assert found.method == "exact" and len(found.groups) <= most
        assert found.score == pytest.approx(best_by_hand(matrix, most, overlap))
        assert found.score == pytest.approx(score(matrix, found.groups))
        for name in matrix.names:
            own = [predicted(matrix, g, name) for g in found.groups if name in g]
            assert found.predicted[name] == pytest.approx(max(own))


def test_tasks_that_hurt_stay_alone_and_help_where_groups_overlap():
    values = [[0, 0.5, -0.2], [0.1, 0, -0.4], [0.3, 0.6, 0]]
    matrix = TaskMatrix(["a", "b", "c"], values, "affinity", directed=True)
    apart = group_tasks(matrix, num_groups=3)
    assert apart.groups == (("a", "b"), ("c",))
    assert apart.predicted == pytest.approx({"a": 0.1, "b": 0.5, "c": 0.0})
    shared = group_tasks(matrix, num_groups=3, overlap=True)
    assert shared.groups == (("a", "c"), ("b", "c"), ("c",))
    assert shared.predicted == pytest.approx({"a": 0.3, "b": 0.6, "c": 0.0})


def test_what_counts_as_related_can_be_said():
    values = np.array([[1, 0.9, 0.6], [0.9, 1, 0.6], [0.6, 0.6, 1]])
    matrix = TaskMatrix(["a", "b", "c"], values, "linear CKA", signed=False)
    assert group_tasks(matrix, num_groups=2).groups == (("a", "b", "c"),)
    assert group_tasks(matrix, num_groups=2, alone=0.7).groups == (("a", "b"), ("c",))


def planted(count, clusters):
    """A matrix in which task i is of cluster i modulo `clusters`."""
    of = np.arange(count) % clusters
    noise = 0.1 * matrix_of(count, 3, directed=False).values
    values = np.where(of[:, None] == of, 1.0, -1.0) + noise
    names = [f"t{i:02}" for i in range(count)]
    expected = {tuple(n for n, o in zip(names, of, strict=True) if o == k) for k in range(clusters)}
    return TaskMatrix(names, values, "cosine"), expected


def test_clustering_finds_what_was_planted():
    matrix, expected = planted(24, 4)
    found = group_tasks(matrix, num_groups=6)
    assert found.method == "clustering" and set(found.groups) == expected
    small, expected = planted(6, 2)
    for method in ("exact", "clustering"):
        found = group_tasks(small, num_groups=3, method=method)
        assert set(found.groups) == expected
        assert found.score == pytest.approx(score(small, found.groups))


def test_the_number_of_groupings_is_known():
    assert grouping._tries(10, 10, False) == 115_975  # the Bell number
    for count, most in ((5, 2), (6, 3), (4, 4)):
        assert grouping._tries(count, most, False) == len(list(grouping._partitions(count, most)))
    every = [c for k in (1, 2) for c in itertools.combinations(range(7), k)]
    assert grouping._tries(3, 2, True) == len(every)


def test_what_cannot_be_grouped_is_refused():
    def refused(error, matrix, **options):
        with pytest.raises(ValueError, match=error):
            group_tasks(matrix, **{"num_groups": 2, **options})

    four = matrix_of(4)
    refused(
        r"`num_groups` should be a positive integer. Received: num_groups=0", four, num_groups=0
    )
    refused(r"`method` should be one of .* Received: method='best'", four, method="best")
    refused(r"`matrix` should be of two tasks or more. Received: \['t00'\]", matrix_of(1))
    refused(r"`overlap` should be False with 'clus", four, method="clustering", overlap=True)
    large = matrix_of(20)
    refused(r"'clustering', without overlap, for 20 tasks in 2 groups: there are 524,", large,
            method="exact")  # fmt: skip
    refused(r"`method` should be 'clustering', without overlap", large, overlap=True)
    four.values[1, 2] = np.nan
    refused(r"know every pair.* Received: nothing on `t01` and `t02`", four)
    with pytest.raises(ValueError, match=r"`predicted` should be of the tasks of the groups"):
        TaskGroups([["a"], ["b"]], {"a": 0.0}, "cosine")
    with pytest.raises(ValueError, match=r"`name` should be one of the tasks \['a'\]. .*name='b'"):
        TaskGroups([["a"]], {"a": 0.0}, "cosine").group_of("b")


def test_groups_say_whether_they_pay():
    groups = [["b", "a"], ["c"]]
    hopes = {"a": 0.5, "b": 0.4, "c": 0.0}
    unmeasured = TaskGroups(groups, hopes, "cosine")
    assert unmeasured.words() == (
        "By cosine (exact search), a and b are one group and c stays alone. "
        "What that gains was not measured."
    )
    gains = MeasuredGains(
        {"a": np.array([4.0, 5.0]), "b": np.array([-3.0, -2.0]), "c": np.zeros(2)}
    )
    worse = MeasuredGains({n: np.array([-6.0, -5.0]) for n in "abc"})
    measured = TaskGroups(groups, hopes, "cosine", measured=gains, together=worse)
    assert isinstance(measured, Finding)
    assert gains.delta_m == pytest.approx((2 / 3, 1 / 3))
    assert measured.words() == (
        "By cosine (exact search), a and b are one group and c stays alone. "
        "Trained in these groups, delta_m is +0.67 ± 0.33 %: the seeds cannot tell it from 0. "
        "Trained all together, delta_m is -5.50 ± 0.50 %: it does not pay. "
        "In these groups, b loses against training alone. "
        "The prediction has another sign than the gain for b."
    )
    noise = MeasuredGains({n: np.array([-3.0, 2.0]) for n in "abc"})
    assert "another sign" not in TaskGroups(groups, hopes, "cosine", measured=noise).words()
    assert measured.rows()[2] == ["b", "a+b", "0.4", "-2.50 ± 0.50", "-5.50 ± 0.50"]
    assert measured.rows()[4][3] == "+0.67 ± 0.33 (delta_m)"
    panels = measured.figure().axes
    assert [panel.get_title() for panel in panels] == [
        "predicted in its group",
        "measured, ± standard error",
    ]
    assert [bar.get_width() for bar in panels[0].patches] == [0.5, 0.4, 0.0]
    assert len(unmeasured.figure().axes) == 1
