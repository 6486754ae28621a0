"""The policy of budgets: shares against an independent solution, spending, the end, memory."""

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from mtlzoo import HardSharing, Regression
from mtlzoo.training import ResourceBudget, TaskCosts, TaskScheduler, Window
from mtlzoo.training.task_scheduling import budget as budget_file

SECONDS = {"a": 1.0, "b": 2.0, "c": 6.0}
COSTS = TaskCosts(SECONDS)


def started(costs=COSTS, **arguments):
    policy = ResourceBudget(costs, **arguments)
    policy.start(list("abc"))
    return policy


def divergence(shares, weights):
    return sum(p * math.log(p / q) for p, q in zip(shares, weights, strict=True) if p > 0)


@pytest.mark.parametrize("allowed", [1.2, 2.0, 2.9])
def test_shares_are_the_nearest_to_importance_that_are_allowed(allowed):
    importance = {"a": 2.0, "b": 1.0, "c": 1.0}
    weights = np.array([0.5, 0.25, 0.25])
    costs = np.array(list(SECONDS.values()))
    found = started(seconds_per_step=allowed, importance=importance).shares()
    shares = np.array(list(found.values()))
    assert shares @ costs <= allowed * (1 + 1e-6)
    if weights @ costs <= allowed:
        np.testing.assert_allclose(shares, weights)
        return
    assert shares @ costs == pytest.approx(allowed, rel=1e-6)
    # No other shares on a grid that are allowed are nearer.
    for c in np.linspace(0.0, 1.0, 101):
        for b in np.linspace(0.0, 1.0 - c, 101):
            other = np.array([1.0 - b - c, b, c])
            if other.min() >= 0 and other @ costs <= allowed:
                assert divergence(other, weights) >= divergence(shares, weights) - 1e-9


def test_without_importance_a_task_is_not_trained():
    assert started(seconds=9, importance={"c": 0.0}).shares() == {"a": 0.5, "b": 0.5, "c": 0.0}


def test_tasks_that_are_off_leave_their_part_of_the_budget_to_the_others():
    policy = started(seconds_per_step=3.0)
    policy.off = frozenset("a")
    shares = policy.shares()
    assert shares["a"] == 0 and 2 * shares["b"] + 6 * shares["c"] == pytest.approx(3.0)


def test_what_is_spent_is_counted_by_the_costs():
    policy = started(TaskCosts(SECONDS, all_seconds=7.0), seconds=1e3)  # 1 in common
    policy.observe(Window(10, 0, steps={"a": 4, "c": 6}))  # one task in a step
    assert policy.spent == pytest.approx({"a": 4.0, "b": 0.0, "c": 36.0})
    policy.observe(Window(15, 0, steps={"a": 5, "c": 5}))  # two in each
    assert policy.spent == pytest.approx({"a": 4.0 + 2.5, "b": 0.0, "c": 36.0 + 25.0 + 2.5})
    assert policy.logs() == {f"{name}_seconds": s for name, s in policy.spent.items()}


def test_what_is_spent_is_never_negative_and_that_of_all_is_what_was_measured():
    costs = TaskCosts({"a": 0.001, "b": 0.01, "c": 0.01}, all_seconds=0.0125)
    policy = started(costs, seconds=1e3)
    policy.observe(Window(10, 0, steps={"b": 10, "c": 10}))
    policy.observe(Window(11, 0, steps={"a": 1, "b": 1}))
    assert min(policy.spent.values()) >= 0
    before = sum(policy.spent.values())
    policy.observe(Window(21, 0, steps=dict.fromkeys("abc", 10)))
    assert sum(policy.spent.values()) - before == pytest.approx(10 * 0.0125)
    # Through weights all are computed, whoever has a share.
    policy.check_use("weights", 1)
    before = sum(policy.spent.values())
    policy.observe(Window(31, 0, steps={"a": 10}))
    assert sum(policy.spent.values()) - before == pytest.approx(10 * 0.0125)


def test_a_mean_that_was_too_high_is_made_good_again():
    policy = started(seconds_per_step=2.5)
    policy.observe(Window(10, 0, steps={"a": 5, "c": 5}))  # 3.5 on average
    costs = np.array(list(SECONDS.values()))
    assert np.array(list(policy.shares().values())) @ costs == pytest.approx(1.5, rel=1e-6)
    planned = started(seconds=50.0, steps=20)
    planned.observe(Window(10, 0, steps={"a": 5, "c": 5}))  # 15 are left for 10 steps
    assert planned.shares() == pytest.approx(policy.shares())


def test_simulated_trainings_keep_to_the_budget():
    policy, rng, step = started(seconds_per_step=2.0), np.random.default_rng(0), 0
    for _ in range(100):
        shares = policy.shares()
        drawn = rng.choice(list(shares), 10, p=list(shares.values())).tolist()
        step += 10
        policy.observe(Window(step, 0, steps={name: drawn.count(name) for name in set(drawn)}))
    assert sum(policy.spent.values()) / step == pytest.approx(2.0, rel=0.02)


def test_training_ends_before_the_budget_is_exceeded(caplog):
    keras.utils.set_random_seed(0)
    x = np.zeros((8, 4), "float32")
    y = {name: x[:, :1] for name in SECONDS}
    model = HardSharing(keras.Input((4,)), [Regression(name) for name in SECONDS], shared_units=())
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True, jit_compile=False)
    policy = ResourceBudget(COSTS, seconds=20.0)
    scheduler = TaskScheduler(policy, "selection", every=2, seed=1)
    logs = model.fit(x, y, batch_size=1, epochs=4, callbacks=[scheduler], verbose=0).history
    spent = sum(policy.spent.values())
    steps = {name: sum(logs[f"{name}_steps"]) for name in SECONDS}
    assert spent == sum(SECONDS[name] * count for name, count in steps.items())
    assert 8 < spent <= 20
    assert sum(steps.values()) < 32
    assert logs["a_seconds"][-1] == policy.spent["a"]
    assert "The budget of 20 seconds is used up after" in caplog.text
    assert policy.finished in caplog.text


def test_without_costs_the_clock_counts_and_costs_are_estimated(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(budget_file.time, "perf_counter", lambda: now[0])
    policy, rng, step = started(None, seconds_per_step=2.0), np.random.default_rng(0), 0
    assert policy.shares() == pytest.approx(dict.fromkeys("abc", 1 / 3))
    now[0] += 100.0  # the first window is traced
    policy.observe(Window(30, 0, steps=dict.fromkeys("abc", 10)))
    assert sum(policy.spent.values()) == pytest.approx(100.0)
    for _ in range(30):
        counts = dict(zip("abc", rng.multinomial(20, [0.4, 0.3, 0.3]).tolist(), strict=True))
        step += 20
        now[0] += sum(SECONDS[name] * count for name, count in counts.items())
        policy.observe(Window(30 + step, 0, steps=counts))
    assert sum(policy.spent.values()) == pytest.approx(now[0])
    np.testing.assert_allclose(policy._of_names(), list(SECONDS.values()), rtol=0.05)


def test_the_state_is_all_that_it_remembers():
    first, second = started(seconds_per_step=2.0), started(seconds_per_step=2.0)
    first.observe(Window(10, 0, steps={"a": 5, "c": 5}))
    second.set_state(first.get_state())
    assert second.shares() == first.shares() != started(seconds_per_step=2.0).shares()
    for policy in (first, second):
        policy.observe(Window(20, 0, steps={"b": 10}))
    assert second.get_state()["spent"] == first.get_state()["spent"]


def test_memory_says_what_fits_into_a_step():
    costs = TaskCosts(SECONDS, temporaries={"a": 10, "b": 20, "c": 30}, shared_parameters=5)
    policy = started(costs, memory=40)
    assert policy.fits(["a", "b"]) and policy.fits(["c"])
    assert not policy.fits(["a", "c"])
    with pytest.raises(ValueError, match=r"`memory` should be enough for a step of `c` alone, 35"):
        started(costs, memory=34)


def test_a_budget_that_would_not_be_kept_is_refused():
    for budget in ({"seconds_per_step": 3.0}, {"seconds": 60.0, "steps": 20}):
        policy = started(**budget)
        policy.check_use("selection", 1)
        with pytest.raises(ValueError, match=rf"`{list(budget)[-1]}` should be given with at_once"):
            policy.check_use("selection", 2)
    started(seconds=60.0).check_use("selection", 2)
    costs = TaskCosts(SECONDS, temporaries={"a": 10, "b": 20, "c": 30}, all_temporaries=50)
    started(costs, memory=50).check_use("weights", 1)
    policy = started(costs, memory=49)
    policy.check_use("selection", 2)
    with pytest.raises(ValueError, match=r"enough for a step of all tasks, .* 50 bytes"):
        policy.check_use("weights", 1)


def test_memory_is_not_kept_through_weights_and_so_refused_before_training():
    model = HardSharing(keras.Input((4,)), [Regression(name) for name in SECONDS], shared_units=())
    model.compile("sgd", run_eagerly=True, jit_compile=False)
    costs = TaskCosts(SECONDS, temporaries=SECONDS)
    scheduler = TaskScheduler(ResourceBudget(costs, memory=8), "weights")
    x = np.zeros((8, 4), "float32")
    with pytest.raises(ValueError, match=r"`memory` should be enough for a step of all tasks"):
        model.fit(x, {"a": x[:, :1]}, callbacks=[scheduler], verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_tasks_that_are_balanced_as_one_cost_what_their_row_does():
    class Model:
        row_of = {"a_soft": "a"}
        _step = SimpleNamespace(rows=SimpleNamespace(names=("a", "b")))

    costs = TaskCosts({"a": 1.0, "b": 2.0})
    policy = ResourceBudget(costs, seconds=9.0)
    policy.start(["a", "b"], tasks={"a": ["a", "a_soft"], "b": ["b"]})
    policy.check_model(Model())
    policy.observe(Window(3, 0, steps={"a": 1, "b": 2}))
    assert policy.spent == {"a": 1.0, "b": 4.0}
    # A data set that happens to have the name of a task is not one of that task alone.
    policy.start(["a"], tasks={"a": ["a", "c"]})
    with pytest.raises(ValueError, match=r"tasks \['a', 'b'\]. .* without `c`"):
        policy.check_model(Model())


REFUSED = {
    "nothing": ({}, r"`seconds`, `seconds_per_step` or `memory` should be given"),
    "negative": ({"seconds": -1.0}, r"`seconds` should be a positive number"),
    "steps": ({"seconds_per_step": 1.0, "steps": 5}, r"`steps` should be given with `seconds`"),
    "costs": ({"costs": SECONDS, "seconds": 1.0}, r"`costs` should be `TaskCosts` or None"),
    "memory": ({"memory": 10}, r"`costs` should be given with `memory`"),
    "importance": (
        {"seconds": 1.0, "importance": {"a": float("nan")}},
        r"`importance` of task `a` should be a number that is not negative",
    ),
    "too little": (
        {"seconds_per_step": 0.5},
        r"should allow a step of the cheapest task, 1 seconds. Received: 0.5",
    ),
    "unknown": (
        {"seconds": 1.0, "importance": {"z": 1.0}},
        r"`importance` should be by the tasks \['a', 'b', 'c'\]",
    ),
    "no importance": (
        {"seconds": 1.0, "importance": dict.fromkeys("abc", 0)},
        r"`importance` should have a positive number",
    ),
    "lacking": (
        {"costs": TaskCosts({"a": 1.0}), "seconds": 1.0},
        r"`costs` should have the tasks \['a', 'b', 'c'\]. Received: \['a'\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_budgets_are_refused(case):
    arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        started(**arguments)
