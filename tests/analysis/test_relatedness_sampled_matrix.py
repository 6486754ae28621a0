"""A matrix of several measurements: means, errors, and what is sure."""

import numpy as np
import pytest

from mtlzoo.analysis import Finding, SampledMatrix

SAMPLES = np.array(
    [
        [[0, 1.0, np.nan], [0.2, 0, 3.0], [5.0, 1.0, 0]],
        [[0, 1.2, np.nan], [-0.2, 0, np.nan], [6.0, 1.0, 0]],
    ]
)


def test_means_and_errors_are_in_sorted_order_and_skip_what_is_unknown():
    matrix = SampledMatrix(["b", "c", "a"], SAMPLES, "gain", sampled="seeds")
    assert isinstance(matrix, Finding)
    assert matrix.names == ("a", "b", "c")
    assert matrix["b", "c"] == pytest.approx(1.1) and matrix["c", "a"] == 3.0
    assert np.isnan(matrix["b", "a"])
    errors = matrix.standard_errors
    assert errors[1, 2] == pytest.approx(np.std([1, 1.2], ddof=1) / np.sqrt(2))
    assert np.isnan(errors[2, 0]) and np.isnan(errors[1, 0])
    np.testing.assert_array_equal(matrix.samples[:, 0, 1], [5.0, 6.0])
    assert matrix.sure("b", "c") and matrix.sure("a", "c") and not matrix.sure("c", "b")
    assert not matrix.sure("c", "a")  # measured once


def test_words_and_rows_say_how_sure_it_is():
    matrix = SampledMatrix(["b", "c", "a"], SAMPLES, "gain", sampled="seeds")
    assert matrix.words() == (
        "The gain is highest for a → b (5.5) and lowest for c → b (0); it is negative for 0 of 5 "
        "pairs; 1 pair is not known, for want of anything to measure both in. It is the mean over "
        "2 seeds; 3 of 5 pairs are more than two standard errors from zero."
    )
    assert matrix.rows()[1] == ["a", "0 ± 0", "5.5 ± 0.5", "1 ± 0"]
    assert matrix.rows()[2][1] == "nan"
    once = SampledMatrix(["b", "c", "a"], SAMPLES[:1], "gain", sampled="seeds")
    assert once.words().endswith("It was measured once, so nothing is known of its spread.")
    assert once.rows()[3] == ["c", "3", "0.2", "0"]


def test_samples_must_be_squares():
    with pytest.raises(ValueError, match=r"`samples` should be one or more squares.*\(2, 2\)"):
        SampledMatrix(["a", "b"], np.zeros((2, 2)), "gain", sampled="seeds")
