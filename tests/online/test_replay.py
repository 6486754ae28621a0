"""The replay memory: uniform, balanced by task and class, and resumed."""

import numpy as np
import pytest

from mtlzoo import BinaryClassification, Classification, Regression
from mtlzoo.online import Reservoir, StreamBatch

NAMES = ["click", "kind", "stay"]
TASKS = {
    "click": BinaryClassification("click"),
    "kind": Classification("kind", num_classes=3),
    "stay": Regression("stay"),
}


def batch(numbers, present=(1.0, 1.0, 1.0), seed=0):
    """Rows whose input is their number, each label there with a probability."""
    rows = len(numbers)
    random = np.random.default_rng(seed)
    has = random.random((rows, 3)) < present
    y = {
        "click": np.where(has[:, 0], random.integers(0, 2, rows), -1).astype("float32"),
        "kind": np.where(has[:, 1], random.choice(3, rows, p=[0.8, 0.15, 0.05]), -1),
        "stay": np.where(has[:, 2], 1.0, np.nan),
    }
    weights = {name: np.ones(rows) for name in NAMES}
    return StreamBatch(np.asarray(numbers, "float32")[:, None], y, weights), has


def memory(*args, **kwargs):
    made = Reservoir(*args, **kwargs)
    made.start(TASKS)
    return made


@pytest.mark.slow
def test_every_row_is_kept_with_the_same_probability():
    kept = np.zeros(60)
    for seed in range(300):
        reservoir = memory(12, seed=seed)
        for begin in range(0, 60, 7):
            reservoir.add(*batch(np.arange(begin, min(begin + 7, 60))), NAMES)
        rows = reservoir.draw(12).x[:, 0].astype(int)
        assert len(set(rows)) == 12  # no row twice
        kept[rows] += 1
    expected = 300 * 12 / 60
    # Chi-squared with 60 - 1 degrees of freedom, of negatively dependent counts.
    statistic = ((kept - expected) ** 2 / expected).sum() / (1 - 12 / 60)
    assert statistic < 87.2  # exceeded once in a hundred times
    assert abs(kept[:12].mean() - kept[-12:].mean()) < 4 * np.sqrt(expected / 12)


def test_tasks_are_replayed_equally_whatever_share_of_the_labels_they_have():
    reservoir = memory(90, per_task=True)
    for begin in range(0, 3000, 100):
        rows = batch(np.arange(begin, begin + 100), (0.9, 0.3, 0.05), begin)
        reservoir.add(*rows, NAMES)
    assert [stratum.rows for stratum in reservoir._strata] == [30, 30, 30]
    drawn = reservoir.draw(60)
    counts = [np.isfinite(drawn.y["stay"]).sum(), (drawn.y["kind"] >= 0).sum()]
    assert min(counts) >= 20 > 60 * 0.3


def test_classes_are_replayed_equally_too():
    reservoir = memory(180, per_task=True, per_class=True)
    reservoir.add(*batch(np.arange(4000)), NAMES)
    assert [s.rows for s in reservoir._strata] == [30, 30, 20, 20, 20, 60]
    kinds = [s for s in reservoir._strata if s.task == "kind"]
    for stratum in kinds:
        assert set(stratum.take(np.arange(20)).y["kind"]) == {stratum.number}


def test_what_an_empty_reservoir_lacks_the_others_give():
    reservoir = memory(30, per_task=True, ratio=0.9)
    reservoir.add(*batch(np.arange(50), (1.0, 0.0, 0.0)), NAMES)
    assert reservoir.rows == 10 and reservoir.replayed(10) == 9 and reservoir.replayed(100) == 10
    assert reservoir.draw(9).rows == 9


def test_a_memory_goes_on_from_its_state():
    one, other = (memory(20, per_task=True, seed=3) for _ in range(2))
    one.add(*batch(np.arange(100)), NAMES)
    one.draw(5)
    other.set_state(one.get_state())
    for each in (one, other):
        each.add(*batch(np.arange(100, 140)), NAMES)
    assert np.array_equal(one.draw(15).x, other.draw(15).x)


def test_bad_arguments_are_errors():
    for given, text in [
        ({"capacity": 0}, r"`capacity` should be an integer of at least 1"),
        ({"capacity": 9, "ratio": 1}, r"`ratio` should be a number between 0 and 1"),
        ({"capacity": 9, "per_class": True}, r"`per_class` should be True only with `per_task`"),
    ]:
        with pytest.raises(ValueError, match=text):
            Reservoir(**given)
    with pytest.raises(ValueError, match=r"`capacity` should be at least 9 for the tasks and cl"):
        memory(8, per_task=True, per_class=True)
