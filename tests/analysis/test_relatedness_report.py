"""The report: who helps whom, whether measures agree, whether it pays, and what cannot be told."""

import numpy as np
import pytest

from mtlzoo import Regression
from mtlzoo.analysis import (
    Finding,
    LabelEfficiency,
    MeasuredGains,
    RelatednessReport,
    SampledMatrix,
    TaskGroups,
    TaskMatrix,
)

NAMES = ["a", "b", "c"]
COSINES = TaskMatrix(NAMES, [[1, 0.5, -0.1], [0.5, 1, 0.1], [-0.1, 0.1, 1]], "cosine")
ALIKE = TaskMatrix(NAMES, [[1, 0.2, 0.4], [0.2, 1, 0.3], [0.4, 0.3, 1]], "CKA", signed=False)


def gains_of(spread):
    means = np.array([[np.nan, 2.0, 0.1], [1.0, np.nan, -3.0], [0.0, 0.2, np.nan]])
    samples = [means - spread, means + spread]
    return SampledMatrix(NAMES, samples, "gain in percent", sampled="seeds")


@pytest.mark.slow
def test_it_says_who_helps_whom_and_whether_it_pays():
    apart = MeasuredGains({n: np.array([1.0, 1.2]) for n in NAMES})
    together = MeasuredGains({n: np.array([-1.0, -1.4]) for n in NAMES})
    groups = TaskGroups(
        [["a", "b"], ["c"]], dict.fromkeys(NAMES, 1.0), "cosine", measured=apart, together=together
    )
    report = RelatednessReport([COSINES], gains=gains_of(0.3), groups=groups)
    assert isinstance(report, Finding)
    assert report.words() == (
        "Trained in pairs, it helps: a → b (+2.00 ± 0.30 %) and b → a (+1.00 ± 0.30 %). "
        "Trained in pairs, it hurts: b → c (-3.00 ± 0.30 %). "
        "2 seeds cannot tell for c → b (+0.20 ± 0.30 %), a → c (+0.10 ± 0.30 %) and c → a "
        "(+0.00 ± 0.30 %). "
        "The cosine and the gain in percent agree on the order of the pairs "
        "(rank correlation 0.50). Of 3 pairs of tasks, that may be chance. "
        f"{groups.words()} "
        "The groups are better than one model of all (+2.30 ± 0.30 points of delta_m)."
    )
    assert report.rows()[:2] == [
        ["acts", "on", "cosine", "gain in percent"],
        ["a", "b", "0.5", "2"],
    ]
    assert [p.get_title() for p in report.figure().axes[:2]] == ["cosine", "gain in percent"]


def test_it_says_when_measures_disagree_and_what_was_not_measured():
    words = RelatednessReport([COSINES, ALIKE]).words()
    assert (
        "The cosine and the CKA disagree on the order of the pairs (rank correlation -1.00)."
        in words
    )
    assert "Who helps whom was not measured by training: these are signs of it." in words
    assert words.endswith("Whether training them together pays was not measured.")


def test_it_says_when_the_data_cannot_tell():
    unsure = RelatednessReport([COSINES], gains=gains_of(5.0)).words()
    assert "helps" not in unsure and "2 seeds cannot tell for a → b (+2.00 ± 5.00 %), " in unsure
    once = SampledMatrix(NAMES, gains_of(1.0).samples[:1], "gain in percent", sampled="seeds")
    words = RelatednessReport([COSINES], gains=once).words()
    assert "With one seed nothing can be told of who helps whom." in words
    two = [
        TaskMatrix(["a", "b"], [[1, value], [value, 1]], measure)
        for value, measure in ((0.2, "cosine"), (0.4, "CKA"))
    ]
    assert "Whether the measures agree cannot be told of one pair" in RelatednessReport(two).words()


def test_labels_have_their_part():
    scores = {"alone": np.array([[2.0, 2.2]]), "beside b": np.array([[1.0, 1.2]])}
    efficiency = LabelEfficiency(Regression("a"), [10], scores)
    report = RelatednessReport([COSINES], efficiency=efficiency)
    assert report.words().endswith(efficiency.words())


def test_measures_must_fit():
    with pytest.raises(ValueError, match=r"`matrices` should have a measure at least"):
        RelatednessReport([])
    with pytest.raises(ValueError, match=r"`gains` should be what `pairwise_gains` measured"):
        RelatednessReport([COSINES], gains=gains_of(1.0).symmetric())
    other = TaskMatrix(["a", "d"], np.eye(2), "cosine")
    with pytest.raises(ValueError, match=r"of the tasks \['a', 'b', 'c'\]. .*one of \['a', 'd'\]"):
        RelatednessReport([COSINES, other])
    with pytest.raises(ValueError, match=r"`matrices` should be of two tasks or more.*\['a'\]"):
        RelatednessReport([TaskMatrix(["a"], [[1.0]], "cosine")])
