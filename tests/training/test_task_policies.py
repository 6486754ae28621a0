"""Policies on plain dicts, against references in NumPy."""

import json

import numpy as np
import pytest
from scheduled import epoch, started

from mtlzoo.training import (
    EXP3,
    UCB,
    Curriculum,
    LearningSpeed,
    MetricPriority,
    Priority,
    Proportional,
    RoundRobin,
    TaskPolicy,
    Window,
)


def seen(policy, *windows):
    for window in windows:
        policy.observe(window)
    return policy.shares()


# By policy some windows that change what it remembers.
WINDOWS = [
    Window(10, 0, {"a": 1.0, "b": 4.0, "c": 0.5}, {"a": 3, "b": 4, "c": 3}),
    Window(20, 0, {"a": 0.9, "b": 1.2}, {"a": 5, "b": 5}),
    Window(
        25, 0, {"c": 0.4}, {"c": 5}, {"a_loss": 0.9, "b_loss": 2.0, "c_loss": 0.5, "a_auc": 0.7}
    ),
    Window(35, 1, {"a": 0.8, "b": 1.1, "c": 0.1}, {"a": 2, "b": 2, "c": 6}),
    Window(
        45, 1, {"b": 1.3}, {"b": 10}, {"a_loss": 0.8, "b_loss": 1.0, "c_loss": 0.1, "a_auc": 0.9}
    ),
]
POLICIES = {
    "priority": lambda: Priority({"b": 2}, targets={"a": ("auc", 0.8)}, deadlines={"c": 3}),
    "learning speed": LearningSpeed,
    "metric priority": lambda: MetricPriority({"a": "auc"}),
    "round robin": RoundRobin,
    "proportional": lambda: Proportional({"a": 1, "b": 2, "c": 3}),
    "curriculum": lambda: Curriculum(unit="steps", pace=10),
    "ucb": UCB,
    "exp3": EXP3,
    "base": TaskPolicy,
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_goes_on_from_its_state_and_is_started_anew(name):
    policy = started(POLICIES[name]())
    first, ends = policy.shares(), []
    for k, window in enumerate(WINDOWS):
        policy.observe(window)
        shares = policy.shares()
        assert sorted(shares) == ["a", "b", "c"] and min(shares.values()) >= 0
        assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
        other = started(POLICIES[name]())
        other.set_state(json.loads(json.dumps(policy.get_state(), default=np.ndarray.tolist)))
        ends.append(seen(other, *WINDOWS[k + 1 :]))
    assert ends == [policy.shares()] * len(WINDOWS)
    assert started(policy).shares() == first


@pytest.mark.parametrize("name", POLICIES)
def test_one_alone_has_all(name):
    policy = POLICIES[name]()
    if name in ("priority", "metric priority"):
        policy = type(policy)()
    if name == "proportional":
        policy = Proportional({"a": 2.0})
    started(policy, ["a"])
    for window in WINDOWS:
        losses, steps = (
            {k: v for k, v in of.items() if k == "a"} for of in (window.losses, window.steps)
        )
        policy.observe(Window(window.step, window.epoch, losses, steps, window.metrics))
        assert policy.shares() == {"a": 1.0}


def test_names_have_the_sum_over_their_tasks():
    tasks = {"x": ["a", "b"], "y": ["b"], "z": ["c"]}
    policy = started(Priority({"a": 3, "b": 2, "c": 1}), tasks, tasks=tasks)
    assert policy.task_names == ["a", "b", "c"]
    assert policy.shares() == pytest.approx({"x": 4 / 6, "y": 1 / 6, "z": 1 / 6})
    assert policy.losses_by_name({"a": 1.0, "b": 3.0}) == {"x": 2.0, "y": 3.0}


# -- priority ---------------------------------------------------------------------------------


@pytest.mark.parametrize("urgency", [0.0, 1.0, 2.0])
def test_priority_is_importance_times_urgency(urgency):
    policy = started(Priority({"a": 3.0, "b": 0.5}, deadlines={"b": 4, "c": 2}, urgency=urgency))
    for done in range(7):
        left = np.maximum(np.array([np.inf, 4, 2]) - done, 1)
        rise = np.array([1, 4 / left[1], 2 / left[2]]) ** urgency
        expected = np.array([3.0, 0.5, 1.0]) * rise
        found = list(policy.shares().values())
        np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)
        policy.observe(epoch(done, loss=1.0))


def test_tasks_that_reached_their_targets_give_way_until_they_fall_below():
    policy = started(
        Priority(
            {"a": 3.0},
            targets={"a": {"auc": 0.9, "loss": 0.5}, "b": ("rmse", 2.0)},
            least=0.1,
        )
    )
    both = {"a_auc": 0.95, "a_loss": 0.4, "b_rmse": 3.0}
    assert seen(policy, epoch(0, **both)) == pytest.approx({"a": 0.1, "b": 0.45, "c": 0.45})
    # One of two targets is not enough.
    shares = seen(policy, epoch(1, **{**both, "a_loss": 0.6}))
    assert shares == pytest.approx({"a": 0.6, "b": 0.2, "c": 0.2})
    # What the validation data say counts, once they are there.
    worse = {"val_a_auc": 0.8, "val_a_loss": 0.4, "val_b_rmse": 1.0}
    assert seen(policy, epoch(2, **both, **worse)) == pytest.approx(
        {"a": 0.675, "b": 0.1, "c": 0.225}
    )
    assert seen(policy, epoch(3, **both))["b"] == 0.1 and policy.reached == {"a": False, "b": True}
    better = {"val_a_auc": 0.9, "val_a_loss": 0.5, "val_b_rmse": float("nan")}
    assert seen(policy, epoch(4, **better)) == pytest.approx({"a": 0.1, "b": 0.1, "c": 0.8})


def test_all_take_part_when_all_have_reached_their_targets_and_none_with_least_0():
    policy = started(
        Priority({"a": 3.0}, targets={"a": ("auc", 0.5), "b": ("auc", 0.6)}, least=0), "ab"
    )
    assert seen(policy, epoch(0, a_auc=0.5, b_auc=0.1)) == {"a": 0, "b": 1}
    assert seen(policy, epoch(1, a_auc=0.5, b_auc=0.7)) == {"a": 0.75, "b": 0.25}


def test_directions_can_be_given_and_are_known_by_name_for_errors():
    policy = started(Priority(targets={"a": ("distance", 1.0)}, modes={"distance": "min"}), "ab")
    assert seen(policy, epoch(0, a_distance=0.5))["a"] == 0.01


# -- adaptive -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "decay", "least"), [(1, 0.5, 0.05), (2, 0, 0), (0.5, 0.9, 0.2)])
def test_slow_tasks_get_more(alpha, decay, least):
    policy = started(LearningSpeed(alpha, decay, least))
    first, average = {}, {}
    for window in WINDOWS:
        policy.observe(window)
        for task, loss in window.losses.items():
            first.setdefault(task, loss)
            average[task] = decay * average.get(task, loss) + (1 - decay) * loss
        left = np.array([average[t] / first[t] if t in first else 1.0 for t in "abc"])
        rates = (left / left.mean()) ** alpha
        expected = least + (1 - 3 * least) * rates / rates.sum()
        np.testing.assert_allclose(list(policy.shares().values()), expected, rtol=1e-12)
    assert np.mean(list(policy.rates().values())) == pytest.approx(1)


def test_losses_that_tell_nothing_of_speed_count_as_no_progress():
    policy = started(LearningSpeed(decay=0.0, least=0.0), "ab")
    odd = {"a": float("nan"), "b": -1.0}
    assert seen(policy, Window(1, 0, odd), Window(2, 0, {"a": 2.0, "b": -2.0})) == {
        "a": 0.5,
        "b": 0.5,
    }
    assert seen(policy, Window(3, 0, {"a": -1.0}))["a"] == 0.0


@pytest.mark.parametrize(("gamma", "decay"), [(1.0, 0.5), (2.0, 0.0)])
def test_worse_tasks_get_more(gamma, decay):
    policy = started(MetricPriority({"a": "auc", "b": "f1"}, gamma, decay, least=0.0))
    average = {}
    first = 0.8
    for k, (auc, f1, loss) in enumerate([(0.5, 0.9, 0.8), (0.7, 0.9, 0.6), (0.9, 0.5, 0.2)]):
        logs = {"val_a_auc": auc, "a_auc": 0.1, "b_f1": f1, "a_loss": np.nan, "b_loss": 1.0}
        policy.observe(Window(k, k, metrics={**logs, "c_loss": loss}))
        policy.observe(Window(k, k, losses={"a": 3.0}))  # nothing changes within an epoch
        found = {"a": auc, "b": f1, **({"c": 1 - loss / first} if k else {})}
        for task, value in found.items():
            average[task] = decay * average.get(task, value) + (1 - decay) * value
        kappa = np.clip([average[t] for t in sorted(average)], 0.01, 1)
        weights = np.append(-((1 - kappa) ** gamma) * np.log(kappa), [1.0] * (3 - len(average)))
        np.testing.assert_allclose(
            list(policy.shares().values()), weights / weights.sum(), rtol=1e-5
        )


def test_a_least_share_is_kept():
    policy = started(MetricPriority({"a": "auc", "b": "auc"}, least=0.1), "ab")
    shares = seen(policy, epoch(0, a_loss=1.0, b_loss=1.0, a_auc=1.0, b_auc=0.5))
    assert shares == pytest.approx({"a": 0.1, "b": 0.9})


# -- switching ----------------------------------------------------------------------------------


def test_turns_are_taken_by_windows_and_not_by_ends_of_epochs():
    policy = started(RoundRobin(["b", "b", "a"], length=2))
    found = []
    for step in range(12):
        found.append(max(policy.shares(), key=policy.shares().get))
        policy.observe(Window(step, 0, steps={"a": 1}))
        policy.observe(Window(step, 0, metrics={"loss": 1.0}))
    assert "".join(found) == "bbbbaa" * 2
    assert policy.by_step().at_step({"a": 1, "b": 1, "c": 1}, 5) == {"a": 1.0, "b": 0.0, "c": 0.0}


def test_shares_follow_sizes_and_temperatures():
    sizes = {"a": 100, "b": 25, "c": 4}
    assert started(Proportional(), sizes=sizes).shares() == pytest.approx(
        {"a": 100 / 129, "b": 25 / 129, "c": 4 / 129}
    )
    found = started(
        Proportional({"a": 4.0, "b": 1.0, "c": 1.0}, temperature=2), sizes=sizes
    ).shares()
    assert found == pytest.approx({"a": 0.5, "b": 0.25, "c": 0.25})


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_a_curriculum_opens_one_after_the_other(unit):
    policy = started(Curriculum(["c", "a", "b"], pace=2, unit=unit))
    counts = []
    for k in range(7):
        shares = policy.shares()
        counts.append(sum(share > 0 for share in shares.values()))
        assert (
            shares["c"] == pytest.approx(1 / counts[-1])
            and shares["a"] == (counts[-1] > 1) / counts[-1]
        )
        if unit == "epochs":
            policy.observe(Window(100 * k, k, losses={"a": 1.0}))
            policy.observe(epoch(k, loss=1.0))
        else:
            policy.observe(Window(k + 1, 0, losses={"a": 1.0}))
    assert counts == [1, 1, 2, 2, 3, 3, 3]


def test_a_curriculum_measures_what_is_easy_and_counts_from_there():
    policy = started(Curriculum(pace=1, first=2, least=0.1))
    assert seen(policy, Window(5, 0, {"a": 3.0, "b": 1.0})) == dict.fromkeys(
        "abc", pytest.approx(1 / 3)
    )
    shares = seen(policy, Window(10, 1, {"a": 0.1, "c": 2.0}), epoch(1, loss=1.0))
    assert policy.order == ["b", "c", "a"]
    assert shares == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})  # an epoch later
    policy = started(Curriculum(by={"a": "auc", "b": "auc", "c": "f1"}))
    logs = {"a_auc": 0.9, "val_a_auc": 0.6, "b_auc": 0.7, "c_f1": 0.65}
    assert seen(policy, Window(5, 0, {"a": 3.0}), epoch(0, **logs)) == {"a": 0, "b": 1, "c": 0}
    assert seen(policy, epoch(1, **logs)) == {"a": 0, "b": 0.5, "c": 0.5}


def test_what_is_off_is_left_out_of_the_order():
    turns = started(RoundRobin(["a", "b", "b", "c"]))
    turns.off = frozenset({"b"})
    found = []
    for step in range(4):
        found.append(max(turns.shares(), key=turns.shares().get))
        turns.observe(Window(step, 0, steps={found[-1]: 1}))
    assert found == ["a", "c", "a", "c"]
    easy_first = started(Curriculum(["a", "b", "c"], unit="steps"))
    easy_first.off = frozenset({"a"})
    assert easy_first.shares() == {"a": 0.0, "b": 1.0, "c": 0.0}
    easy_first.observe(Window(1, 0))
    assert easy_first.shares() == {"a": 0.0, "b": 0.5, "c": 0.5}
    measured = started(Curriculum())
    measured.off = frozenset({"a"})
    measured.observe(Window(1, 0, {"b": 2.0, "c": 1.0}, {"b": 1, "c": 1}))
    assert measured.order == ["c", "b", "a"]
    bandit = started(UCB())
    assert bandit.shares()["a"] == 1.0
    bandit.off = frozenset({"a"})
    assert bandit.shares()["b"] == 1.0
    bandit.off = frozenset({"a", "b", "c"})  # all are as good as none
    assert bandit.on == ["a", "b", "c"]
