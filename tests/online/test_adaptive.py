"""The adaptive policy: what it decides, by its formula, on losses that are made up."""

import numpy as np
import pytest

from mtlzoo.online import Adaptive, Complexity, Moment
from mtlzoo.online.adaptive import CALM
from mtlzoo.tasks import Regression

OFF = {"drift": 0.0, "trend": 0.0, "complexity": 0.0, "load": 0.0}


class Stream:
    """Mini-batches of 32 rows, and what a learner that trains when told to would show."""

    def __init__(self, policy, seed=0):
        self.policy, self.rng = policy, np.random.default_rng(seed)
        self.waiting = self.time = 0
        self.drifts = []

    def run(self, batches, load=0.0, shift=0.0, **means):
        """The updates: rows, passes, reason, the number of the mini-batch."""
        found = []
        for i in range(batches):
            self.waiting += 32
            self.time += 1
            losses = {name: self.rng.exponential(mean, 32) for name, mean in means.items()}
            outputs = {name: self.rng.normal(size=(32, 1)) + shift for name in means}
            moment = Moment(32, self.waiting, self.time, losses, outputs, None, load)
            decision = self.policy.decide(moment)
            self.drifts += decision.drifts
            if decision.updates:
                found.append((self.waiting, decision.updates, decision.reason, i))
                self.waiting = 0
        return found


def started(names=("a", "b"), **arguments):
    policy = Adaptive(rows=(64, 1024), **arguments)
    policy.start(sorted(names))
    return policy, Stream(policy)


def test_windows_grow_where_nothing_changes():
    policy, stream = started(patience=4)
    rows = [each[0] for each in stream.run(200, a=0.1, b=0.1)]
    assert rows[:4] == [64, 128, 256, 512]  # 64 * 16 ** (k / 4)
    assert set(rows[4:]) == {1024}
    assert policy.window == pytest.approx(1024)
    assert not stream.drifts


def test_drift_takes_windows_back_and_adds_passes_for_a_while():
    _, stream = started(patience=4, hold=1024)
    stream.run(300, a=0.1, b=0.1)
    found = stream.run(60, a=0.1, b=0.5)
    assert set(stream.drifts) == {"b"}
    soon = next(each for each in found if "drift" in each[2])
    assert soon[3] < 12
    assert soon[1] == 3
    assert "drift 1.00 (b)" in soon[2] or "drift 0.9" in soon[2]
    assert soon[2].startswith("64 rows, need 1.00")
    # The model has learned it, and after `hold` rows nothing is left of it.
    for _ in range(4):
        late = stream.run(60, a=0.1, b=0.1)
    assert late[-1][0] == 1024
    assert late[-1][1] == 1


def test_the_formula():
    policy, stream = started(weights={**OFF, "load": 1.0}, patience=1)
    first = stream.run(2, a=0.1, b=0.1)
    assert [each[0] for each in first] == [64]
    assert policy.get_state()["calm"] == 1.0
    policy.decide(Moment(1, 1, 0.0, {}, {}, load=0.5))
    assert policy.window == pytest.approx(1024)
    policy.set_state({**policy.get_state(), "calm": 0.0})
    policy.decide(Moment(1, 1, 0.0, {}, {}, load=0.5))
    assert policy.window == pytest.approx(64 * 16**0.5)
    policy.set_state({**policy.get_state(), "calm": 0.25})
    policy.decide(Moment(1, 1, 0.0, {}, {}))
    assert policy.window == pytest.approx(64 * 16**0.25)


def test_under_load_windows_are_large_and_passes_few_even_in_drift():
    _, stream = started(patience=4)
    stream.run(200, a=0.1, b=0.1)
    found = stream.run(200, load=1.0, a=0.6, b=0.1)
    assert stream.drifts
    assert {each[:2] for each in found[1:]} == {(1024, 1)}
    assert "load 1.00" in found[-1][2]
    assert stream.waiting < 1024  # nothing is left to wait for ever


def test_a_rising_loss_is_a_need_without_drift():
    policy, stream = started(weights={"drift": 0.0, "trend": 1.0})
    stream.run(200, a=0.1, b=0.1)
    assert policy.need < CALM
    (*_, (_, passes, reason, _)) = stream.run(20, a=0.3, b=0.1)
    assert "trend" in reason
    assert "(a)" in reason
    assert passes > 1
    assert policy.need > 0.5


def test_noise_is_no_trend():
    policy, stream = started(weights={"drift": 0.0})
    needs = []
    for _ in range(300):
        stream.run(1, a=0.1, b=0.1)
        needs.append(policy.need)
    assert np.mean(needs) < 0.02


def test_unimportant_tasks_count_less():
    shares = {}
    for importance in (1.0, 0.5, 0.0):
        policy, stream = started(importance={"b": importance}, weights={"trend": 0.0}, hold=10**6)
        stream.run(150, a=0.1, b=0.1)
        stream.run(50, a=0.1, b=0.6)
        shares[importance] = policy.need
    assert shares[1.0] == pytest.approx(1.0, abs=0.01)
    assert shares[0.5] == pytest.approx(0.5, abs=0.01)
    assert shares[0.0] == 0.0


def test_complex_inputs_are_a_need():
    tasks = [Regression("a"), Regression("b")]
    complexity = Complexity(tasks, features=False, memory=2048)
    policy, stream = started(complexity=complexity, weights={"drift": 0.0, "trend": 0.0})
    assert not policy.needs_features
    assert Adaptive(complexity=Complexity(tasks)).needs_features
    assert not Adaptive(complexity=Complexity(tasks), weights={"complexity": 0.0}).needs_features
    stream.run(100, a=0.1, b=0.1)
    assert policy.need < 0.1
    found = stream.run(10, shift=8.0, a=0.1, b=0.1)
    assert policy.need > 0.25
    assert any("complexity" in reason for *_, reason, _ in found)


def test_missing_labels_are_no_loss():
    policy, _ = started()
    decision = policy.decide(Moment(32, 0, 0.0, {"a": np.zeros(0)}, {}))
    assert decision.updates == 0


def test_waiting_rows_do_not_wait_longer_than_said():
    _, stream = started(weights=OFF, patience=1, seconds=5)
    found = stream.run(12, a=0.1, b=0.1)
    assert [(rows, reason.split(",")[0]) for rows, _, reason, _ in found] == [
        (64, "64 rows"),
        (6 * 32, "5 seconds"),
    ]


def test_a_resumed_one_decides_the_same():
    def policy():
        return started(complexity=Complexity([Regression("a")], features=False), patience=3)

    _, stream = policy()
    resumed, other = policy()
    first = stream.run(120, a=0.1, b=0.1)
    assert other.run(120, a=0.1, b=0.1) == first
    state = resumed.get_state()
    resumed, _ = policy()
    resumed.set_state(state)
    other.policy = resumed
    later = stream.run(120, a=0.1, b=0.5)
    assert other.run(120, a=0.1, b=0.5) == later
    assert stream.drifts
    assert stream.drifts == other.drifts


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"`rows` should be the smallest window and the largest"):
        Adaptive(rows=(64, 32))
    with pytest.raises(ValueError, match=r"`rows` should be an integer of at least 1.*rows=0"):
        Adaptive(rows=(0, 32))
    with pytest.raises(ValueError, match=r"`passes` should be an integer of at least 1"):
        Adaptive(passes=0)
    with pytest.raises(ValueError, match=r"`importance` should be a dict of numbers of at least 0"):
        Adaptive(importance={"a": -1})
    with pytest.raises(ValueError, match=r"`weights` should have keys among .*'noise'"):
        Adaptive(weights={"noise": 1})
    with pytest.raises(ValueError, match=r"`short` should be below `long`"):
        Adaptive(short=100, long=100)
    with pytest.raises(ValueError, match=r"`seconds` should be a positive number or None"):
        Adaptive(seconds=0)
    with pytest.raises(ValueError, match=r"`name` should be one of .*name='sudden'"):
        Adaptive(detector="sudden")
    with pytest.raises(ValueError, match=r"`importance` should have keys among the tasks \['a'\]"):
        Adaptive(importance={"b": 1}).start(["a"])
    with pytest.raises(ValueError, match=r"`complexity` should be of tasks among \['a'\]"):
        Adaptive(complexity=Complexity([Regression("b")])).start(["a"])
