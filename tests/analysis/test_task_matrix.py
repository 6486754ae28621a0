"""A number for each pair of tasks: its order, its words, what it agrees with."""

import numpy as np
import pytest
from scipy import stats

from mtlzoo.analysis import Finding, TaskMatrix

NAMES = ["c", "a", "b"]
VALUES = np.array([[9.0, 0.1, -0.3], [0.1, 9.0, 0.5], [-0.3, 0.5, 9.0]])


def test_axes_are_in_sorted_order():
    matrix = TaskMatrix(NAMES, VALUES, "cosine")
    assert matrix.names == ("a", "b", "c")
    assert matrix["c", "a"] == matrix["a", "c"] == 0.1
    assert matrix["a", "b"] == 0.5
    assert matrix.ranked() == [("a", "b", 0.5), ("a", "c", 0.1), ("b", "c", -0.3)]


def test_words_rows_and_picture():
    matrix = TaskMatrix(NAMES, VALUES, "cosine")
    assert isinstance(matrix, Finding)
    assert matrix.words() == (
        "The cosine is highest for a and b (0.5) and lowest for b and c (-0.3); "
        "it is negative for 1 of 3 pairs."
    )
    assert matrix.rows()[0] == ["", "a", "b", "c"]
    assert matrix.rows()[3] == ["c", "0.1", "-0.3", "9"]
    panel = matrix.figure().axes[0]
    assert panel.get_title() == matrix.title == "Cosine between the tasks"
    assert [text.get_text() for text in panel.texts].count("–") == 3  # the diagonal


def test_directed_pairs_and_their_mean():
    matrix = TaskMatrix(["a", "b"], [[0, 1.0], [3.0, 0]], "gain", directed=True)
    assert matrix.ranked() == [("b", "a", 3.0), ("a", "b", 1.0)]
    assert "b → a (3)" in matrix.words()
    assert matrix.symmetric()["a", "b"] == 2.0


@pytest.mark.parametrize("directed", [False, True])
def test_agreement_is_spearmans(directed):
    numbers = np.random.default_rng(0)
    first, second = numbers.integers(0, 6, (2, 5, 5)).astype(float)
    if not directed:
        first, second = first + first.T, second + second.T
    pairs = ~np.eye(5, dtype=bool) if directed else np.triu(np.ones((5, 5), bool), 1)
    expected = stats.spearmanr(first[pairs], second[pairs]).statistic
    one, other = (TaskMatrix("abcde", v, "m", directed=directed) for v in (first, second))
    assert one.agreement(other) == pytest.approx(expected)


def test_agreement_of_one_pair_is_not_known():
    matrix = TaskMatrix(["a", "b"], np.eye(2), "m")
    assert np.isnan(matrix.agreement(matrix))


def test_bad_input():
    with pytest.raises(ValueError, match=r"`names` should differ. Received: names=\['a', 'a'\]"):
        TaskMatrix(["a", "a"], np.eye(2), "m")
    with pytest.raises(ValueError, match=r"a square of the 2 tasks .* the shape \(3, 3\)"):
        TaskMatrix(["a", "b"], np.eye(3), "m")
    with pytest.raises(ValueError, match=r"symmetric unless `directed` is True"):
        TaskMatrix(["a", "b"], [[0, 1.0], [2.0, 0]], "m")
    with pytest.raises(KeyError, match=r"There should be a task 'z' among \['a', 'b'\]"):
        TaskMatrix(["a", "b"], np.eye(2), "m")["a", "z"]
    with pytest.raises(ValueError, match=r"`other` should be of the tasks \['a', 'b'\]"):
        TaskMatrix(["a", "b"], np.eye(2), "m").agreement(TaskMatrix(["a", "c"], np.eye(2), "m"))
