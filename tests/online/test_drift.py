"""Drift detectors: they find rises, not falls, and go on from a state as if nothing had been."""

import builtins
import math

import numpy as np
import pytest

from mtlzoo.online import DriftDetector
from mtlzoo.online.drift import DETECTORS, USUAL


def losses(mean, rows, seed=0):
    """With a spread of half the mean."""
    return np.random.default_rng(seed).gamma(4.0, mean / 4, rows)


def rising(seed=0):
    return np.concatenate([losses(0.1, 1500, seed), losses(0.3, 1500, seed + 1)])


# Several to one where the test takes long.
CHUNKS = {"kswin": 16}


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_each_detector_finds_a_rise(name):
    detector = DriftDetector(name, chunk=CHUNKS.get(name, 1))
    before, after = detector.update(losses(0.1, 2000, 3)), detector.update(losses(0.3, 2000, 103))
    assert not before
    assert after
    assert after[0] < 1000
    assert detector.found == len(before) + len(after)
    assert detector.seen == 4000


@pytest.mark.parametrize("name", ["adwin", "page_hinkley", "kswin"])
def test_falling_losses_are_no_drift(name):
    detector = DriftDetector(name, chunk=CHUNKS.get(name, 1))
    assert detector.update(losses(0.3, 2000)) == detector.update(losses(0.1, 2000)) == []
    # It has started anew, and finds the next rise.
    assert detector.update(losses(0.3, 2000))


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_of_the_losses_does_not_matter(factor):
    values = rising()
    assert DriftDetector().update(values) == DriftDetector().update(values * factor)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["adwin", "kswin", "page_hinkley", "hddm_a"])
@pytest.mark.parametrize("cut", [50, 1103, 1590])
def test_a_resumed_detector_finds_the_same(name, cut):
    values = np.concatenate([rising(1), rising(2)])
    chunk = 8 if name == "kswin" else 2
    whole = DriftDetector(name, chunk=chunk, memory=400)
    first, second = whole.update(values[:cut]), whole.update(values[cut:])
    begun = DriftDetector(name, chunk=chunk, memory=400)
    assert begun.update(values[:cut]) == first
    resumed = DriftDetector(name, chunk=chunk, memory=400)
    resumed.set_state(begun.get_state())
    assert resumed.update(values[cut:]) == second
    assert second
    assert (resumed.found, resumed.seen) == (whole.found, whole.seen)


def test_what_is_remembered_is_bounded():
    detector = DriftDetector(memory=4 * USUAL)
    for seed in range(4):
        detector.update(np.random.default_rng(seed).exponential(1.0, 1000))
        assert len(detector.get_state()["values"]) < 4 * USUAL
    assert detector.found == 0
    assert detector.update(np.random.default_rng(9).exponential(3.0, 500))


def test_losses_of_zero_have_no_unit():
    detector = DriftDetector()
    assert detector.update(np.zeros(1000)) == []
    assert detector.update(np.ones(300))


def test_pieces_do_not_matter():
    values = rising()
    whole, pieces = DriftDetector(chunk=4), DriftDetector(chunk=4)
    found = [i + p for i in range(0, len(values), 7) for p in pieces.update(values[i : i + 7])]
    assert found == whole.update(values)
    assert pieces.update([]) == []


def test_a_copy_has_seen_nothing():
    detector = DriftDetector("page_hinkley", chunk=2, memory=500, threshold=20.0)
    detector.update(rising())
    new = detector.new()
    assert (new.seen, new.chunk, new.memory) == (0, 2, 500)
    assert new.options == {"mode": "up", "threshold": 20.0}


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"`name` should be one of .*Received: name='cusum'"):
        DriftDetector("cusum")
    with pytest.raises(ValueError, match=r"`chunk` should be an integer of at least 1"):
        DriftDetector(chunk=0)
    with pytest.raises(ValueError, match=r"`memory` should be an integer of at least 400"):
        DriftDetector(memory=100)
    with pytest.raises(ValueError, match=r"`options` should be arguments of river's `drift.ADWIN`"):
        DriftDetector("adwin", threshold=3)
    detector = DriftDetector()
    with pytest.raises(ValueError, match=r"`values` should be finite numbers.*1 not finite"):
        detector.update([0.0, math.nan])
    with pytest.raises(ValueError, match=r"`values` should be finite numbers.*shape \(2, 1\)"):
        detector.update([[0.0], [1.0]])
    for name, arguments in {
        "name='adwin'": {"name": "ddm"},
        "chunk=1": {"chunk": 4},
        "options={}": {"delta": 0.1},
    }.items():
        with pytest.raises(ValueError, match=f"should be that of a detector with {name}"):
            detector.set_state(DriftDetector(**arguments).get_state())


def test_without_river_one_line_says_what_to_install(monkeypatch):
    found = builtins.__import__

    def hidden(name, *arguments):
        if name.split(".")[0] == "river":
            raise ImportError("No module named 'river'")
        return found(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", hidden)
    with pytest.raises(ImportError, match=r"`DriftDetector` needs river: .*'mtlzoo\[online\]'"):
        DriftDetector()
