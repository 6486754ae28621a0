"""The complexity of rows: unsure and new ones score high, what is usual about a half."""

import math

import numpy as np
import pytest

from mtlzoo.online import Complexity
from mtlzoo.online.complexity import entropy
from mtlzoo.online.running import Recent, Running
from mtlzoo.tasks import BinaryClassification, Classification, MultiLabelClassification, Regression


def test_entropy_is_a_share_of_the_most_that_there_can_be():
    chances = np.array([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0]])
    with np.errstate(divide="ignore"):
        found = entropy(np.log(chances), -1)
    np.testing.assert_allclose(found, [1, 0, 0.5], atol=1e-12)
    two = np.log(np.array([[[0.5, 0.5], [0.9, 0.1]]]))
    part = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    np.testing.assert_allclose(entropy(two, -1), [(1 + part) / 2])


def test_ranks_are_shares_of_the_remembered_numbers_below():
    recent = Recent(4)
    np.testing.assert_allclose(
        recent.rank(np.array([1.0, 2.0, 3.0, 4.0])), [1 / 8, 3 / 8, 5 / 8, 7 / 8]
    )
    np.testing.assert_allclose(recent.rank(np.array([0.0, 2.5, 3.0, 9.0])), [0, 0.5, 5 / 8, 1])
    np.testing.assert_allclose(recent.rank(np.array([1.0])), [0.25])  # the older four are forgotten


def test_moments_are_those_of_all_rows_where_nothing_fades():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3)) * [1, 5, 0.1] + [0, 2, -3]
    running = Running(10**9)
    for part in np.split(rows, [10, 11, 200]):
        running.remember(part)
    np.testing.assert_allclose(running.mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(running.variance, rows.var(0), rtol=1e-6)


def test_old_rows_fade():
    running = Running(100)
    running.remember(np.zeros((1000, 1)))
    running.remember(np.ones((300, 1)))
    # 100 at most are left of the older ones, of which 1/e^3 stay.
    assert running.mean[0] > 0.85


def test_distance_is_in_standard_deviations():
    running = Running(10**9)
    running.remember(np.array([[0.0, 10.0], [2.0, 30.0]]))
    np.testing.assert_allclose(running.distance(np.array([[3.0, 20.0]])), [math.sqrt(2)])


def test_a_column_that_never_varied_is_no_division_by_zero():
    running = Running(100)
    assert running.distance(np.zeros((5, 2))).tolist() == [0.0] * 5
    assert np.isfinite(running.distance(np.ones((1, 2))))
    varied = Running(100)
    varied.remember(np.array([[0.0, 0.0], [1.0, 0.0]]))
    assert np.isfinite(varied.distance(np.array([[0.5, 1.0]])))


def test_unsure_and_new_rows_score_high_and_become_usual():
    rng = np.random.default_rng(0)
    tasks = [
        BinaryClassification("click"),
        Classification("kind", num_classes=4),
        MultiLabelClassification("tags", num_labels=3),
        Regression("stay"),
    ]
    complexity = Complexity(tasks, memory=512)

    def rows(n, sure, shift):
        signs = rng.choice([-1, 1], (n, 1))
        outputs = {
            "click": signs * sure + rng.normal(size=(n, 1)),
            "kind": sure * np.eye(4)[rng.integers(0, 4, n)] + rng.normal(size=(n, 4)),
            "tags": signs * sure + rng.normal(size=(n, 3)),
            "stay": rng.normal(size=(n, 1)) + shift,
        }
        return outputs, rng.normal(size=(n, 5)) + shift

    usual = complexity.score(*rows(512, 6, 0))
    assert usual.shape == (512,)
    assert abs(usual.mean() - 0.5) < 0.02
    assert complexity.score(*rows(512, 6, 0)).mean() < 0.55
    assert complexity.score(*rows(8, 0, 6)).mean() > 0.95
    for _ in range(20):
        later = complexity.score(*rows(256, 0, 6))
    assert abs(later.mean() - 0.5) < 0.05


def test_a_resumed_one_scores_the_same():
    rng = np.random.default_rng(0)
    parts = [({"stay": rng.normal(size=(40, 1))}, rng.normal(size=(40, 2))) for _ in range(6)]
    whole = Complexity([Regression("stay")], memory=64)
    for part in parts[:4]:
        whole.score(*part)
    resumed = Complexity([Regression("stay")], memory=64)
    resumed.set_state(whole.get_state())
    for part in parts[4:]:
        np.testing.assert_array_equal(resumed.score(*part), whole.score(*part))


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"`tasks` or `features` should be given"):
        Complexity(features=False)
    with pytest.raises(ValueError, match=r"`memory` should be an integer of at least 1"):
        Complexity(memory=0)
    complexity = Complexity([Regression("stay")])
    with pytest.raises(
        ValueError, match=r"should have the tasks \['stay'\].*outputs of \['other'\]"
    ):
        complexity.score({"other": np.zeros((2, 1))}, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"features=None"):
        complexity.score({"stay": np.zeros((2, 1))})
    with pytest.raises(ValueError, match=r"`features` should be False for a model without inputs"):
        complexity.score({"stay": np.zeros((2, 1))}, np.zeros((2, 0)))
    complexity.score({"stay": np.zeros((2, 1))}, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"should have 3 columns, as before. Received: 4"):
        complexity.score({"stay": np.zeros((2, 1))}, np.zeros((2, 4)))
