"""Importances as tables: intervals, words, pictures."""

import numpy as np
import pytest
from scipy import stats

from mtlzoo.analysis import FeatureImportance
from mtlzoo.analysis.statistics import student

RNG = np.random.default_rng(0)
SAMPLES = RNG.normal([[0.5, 0.0], [0.0, 0.3], [0.0, 0.0]], 0.05, size=(8, 3, 2))


def made(samples=SAMPLES, features=("age", "hours", "noise"), **arguments):
    units = {"buy": "auc", "stay": "rmse"}
    return FeatureImportance(features, ("buy", "stay"), samples, units, **arguments)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 98, 4001])
@pytest.mark.parametrize("confidence", [0.1, 0.95, 0.999])
def test_quantiles_are_those_of_scipy(freedom, confidence):
    expected = stats.t.ppf(0.5 + confidence / 2, freedom)
    assert student(confidence, freedom) == pytest.approx(expected, rel=1e-9)


def test_intervals_are_of_the_mean_or_of_one_sample():
    of_mean, of_one = made(), made(of_one=True)
    error = SAMPLES.std(0, ddof=1) * student(0.95, 7)
    np.testing.assert_allclose(of_one.high - of_one.values, error)
    np.testing.assert_allclose(of_mean.values - of_mean.low, error / np.sqrt(8))


def test_who_depends_on_what():
    found = made()
    assert [feature for feature, *_ in found.top("buy", 1)] == ["age"]
    assert found.certain("stay") == ["hours"]
    np.testing.assert_allclose(found.relative().max(0), 1)
    assert found.similarity()["buy", "stay"] < 0.3
    said = found.words()
    assert "buy depends most on age (" in said and "for 1 of 3 features" in said
    assert "stand in for each other" in said
    head, first, *_ = found.rows()
    assert head == ["feature", "buy, auc", "stay, rmse"]
    assert first[0] == "age" and first[1].startswith(f"{found.values[0, 0]:.4g} (")


def test_pictures_have_bars_for_each_task_and_a_map():
    figure = made().figure()
    buy, stay, heat, _ = figure.axes
    assert (buy.get_title(), buy.get_xlabel()) == ("buy", "auc")
    assert [label.get_text() for label in heat.get_xticklabels()] == ["buy", "stay"]
    assert len(stay.patches) == 3
    many = made(np.repeat(SAMPLES, 10, axis=1), [f"f{i}" for i in range(30)])
    assert len(many.figure().axes[0].patches) == 20
    assert "20 of 30" in many.figure()._suptitle.get_text()


def test_of_a_task_without_labels_nothing_is_said_to_be_known():
    samples = SAMPLES.copy()
    samples[[1, 4], :, 1] = np.nan  # no label in two of eight repeats
    found = made(samples, confidence=0.995)
    said = found.words()
    assert "Nothing is known of stay: no row had a label of it that counts in 2 of 8" in said
    assert "stay depends" not in said and "the 99.5% interval" in said
    assert found.certain("stay") == [] and [row[2] for row in found.rows()[1:]] == ["–"] * 3
    np.testing.assert_allclose(found.relative().max(0), [1, np.nan])
    assert np.isnan(found.similarity()["buy", "stay"])
    figure = found.figure()
    assert "99.5% intervals" in figure._suptitle.get_text()
    assert figure.axes[0].get_yticklabels()[0].get_text() == "age"
    figure.draw_without_rendering()


def test_unfit_samples_are_refused():
    with pytest.raises(ValueError, match=r"`samples` should be of 2 features and 2 tasks"):
        made(features=("age", "hours"))
    with pytest.raises(ValueError, match=r"`samples` should be three at least"):
        made(SAMPLES[:2])
    with pytest.raises(ValueError, match=r"`task` should be one of \['buy', 'stay'\]"):
        made().top("sell")
    alone = FeatureImportance(["age"], ["buy"], SAMPLES[:, :1, :1], {"buy": "auc"})
    with pytest.raises(ValueError, match=r"`similarity` should be asked of two or more tasks"):
        alone.similarity()
    assert len(alone.figure().axes) == 1
