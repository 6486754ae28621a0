"""Bandits on planted progress: their mathematics, what they find, and that they follow a change."""

import numpy as np
import pytest

from mtlzoo.training import EXP3, UCB, Window

NAMES = ["a", "b", "c"]


def started(policy, names=NAMES):
    policy.start(names, seed=0)
    return policy


class Planted:
    """Losses that fall by a number per step of their own, with noise, whoever is trained."""

    def __init__(self, slopes, noise=0.2, seed=0):
        self.losses = dict.fromkeys(NAMES, 100.0)
        self.slopes, self.noise = slopes, noise
        self.rng, self.step = np.random.default_rng(seed), 0

    def window(self, policy, length=1):
        """Train what is drawn by the shares in each step of a window."""
        shares = [policy.shares()[n] for n in NAMES]
        drawn = self.rng.choice(NAMES, size=length, p=shares)
        steps = {n: int((drawn == n).sum()) for n in NAMES if (drawn == n).any()}
        for name, count in steps.items():
            slope = self.slopes[name] + self.noise * self.rng.normal()
            self.losses[name] -= count * slope
        self.step += length
        policy.observe(Window(self.step, 0, {n: self.losses[n] for n in steps}, steps))
        return steps


POLICIES = {
    "ucb": lambda: UCB(discount=0.95),
    "exp3": lambda: EXP3(step_size=0.3, exploration=0.15, mixing=0.02),
}


@pytest.mark.parametrize("length", [1, 10])
@pytest.mark.parametrize("name", POLICIES)
def test_the_one_with_most_progress_is_found_and_a_change_is_followed(name, length):
    policy = started(POLICIES[name]())
    planted = Planted({"a": 0.1, "b": 1.0, "c": 0.3})
    found = []
    for slopes in (planted.slopes, {"a": 1.0, "b": 0.1, "c": 0.3}):
        planted.slopes = slopes
        counts = dict.fromkeys(NAMES, 0)
        for window in range(400):
            for each, count in planted.window(policy, length).items():
                counts[each] += count * (window >= 150)
        found.append({n: c / sum(counts.values()) for n, c in counts.items()})
    assert found[0]["b"] > 0.6 and found[1]["a"] > 0.6, found
    assert min(min(of.values()) for of in found) > 0.005, found  # the others are tried


def test_what_is_cheap_is_worth_more():
    counts = {}
    for cost in (1.0, 20.0):
        policy = started(UCB(costs={"a": 1.0, "b": cost, "c": 1.0}))
        planted = Planted({"a": 0.4, "b": 1.0, "c": 0.1}, noise=0.1)
        drawn = [max(planted.window(policy)) for _ in range(300)]
        counts[cost] = drawn.count("b")
    assert counts[1.0] > 150 > 60 > counts[20.0], counts


WINDOWS = [
    Window(10, 0, {"a": 2.0}, {"a": 10}),
    Window(20, 0, {"a": 1.0, "b": 4.0}, {"a": 5, "b": 5}),
    Window(30, 0, {"b": 3.0, "c": 0.5}, {"b": 6, "c": 4}),
    Window(40, 1, {"a": 1.1, "b": 2.9, "c": 0.1}, {"a": 4, "b": 4, "c": 2}, {"loss": 1.0}),
    Window(50, 1, {"a": 0.9, "c": 0.4}, {"a": 2, "c": 8}),
]


def rewards_of(windows, costs=None):
    """By window the rewards, written down once more."""
    first, last, past, found = {}, {}, [], []
    for window in windows:
        progress = {}
        for n, loss in window.losses.items():
            if n in last:
                rate = (last[n] - loss) / window.steps[n] / abs(first[n])
                progress[n] = rate / (costs or {}).get(n, 1.0)
            first.setdefault(n, loss)
            last[n] = loss
        past += list(progress.values())
        if not progress:
            found.append({})
            continue
        low, high = np.percentile(past, [20, 80])
        spread = {
            n: 0.0 if low == high else 2 * (p - low) / (high - low) - 1 for n, p in progress.items()
        }
        found.append({n: min(max(r, -1.0), 1.0) for n, r in spread.items()})
    return found


def test_bounds_are_those_of_discounted_ucb():
    costs = {"a": 1.0, "b": 2.0, "c": 0.5}
    policy = started(UCB(discount=0.8, exploration=0.3, least=0.1, costs=costs))
    for window in WINDOWS:
        policy.observe(window)
    counts, sums = np.zeros(3), np.zeros(3)
    for window, rewards in zip(WINDOWS, rewards_of(WINDOWS, costs), strict=True):
        if not rewards:
            continue
        part = np.array([window.steps[n] if n in rewards else 0 for n in NAMES]) / 10
        reward = np.array([(rewards.get(n, 0) + 1) / 2 for n in NAMES])
        counts, sums = 0.8 * counts + part, 0.8 * sums + part * reward
    bounds = sums / counts + 2 * np.sqrt(0.3 * np.log(max(counts.sum(), 1)) / counts)
    np.testing.assert_allclose(list(policy.bounds().values()), bounds, rtol=1e-12)
    best = NAMES[int(bounds.argmax())]
    assert policy.shares() == pytest.approx({n: 0.8 if n == best else 0.1 for n in NAMES})


def test_shares_are_those_of_exp3s():
    policy = started(EXP3(step_size=0.4, exploration=0.2, bias=0.05, mixing=0.3))
    weights, rounds = np.zeros(3), 0
    for window, rewards in zip(WINDOWS, rewards_of(WINDOWS), strict=True):
        shares = 0.8 * np.exp(weights) / np.exp(weights).sum() + 0.2 / 3
        np.testing.assert_allclose(list(policy.shares().values()), shares, rtol=1e-10)
        policy.observe(window)
        if not rewards:
            continue
        rounds += 1
        alpha = max(1 / (rounds + 1), 0.3)
        part = np.array([window.steps.get(n, 0) for n in NAMES]) / 10
        estimate = (part * [rewards.get(n, 0) for n in NAMES] + 0.05) / shares
        grown = np.exp(weights + 0.4 * estimate)
        weights = np.log((1 - alpha) * grown + alpha / 2 * (grown.sum() - grown))
    assert rounds == 4


def test_rewards_are_used_as_they_are_where_all_are_trained_everywhere():
    policy = started(EXP3(step_size=0.4, exploration=0.2, mixing=0.0), NAMES[:2])
    for k, losses in enumerate([(4.0, 4.0), (3.0, 3.9), (2.0, 3.8)]):
        both = dict(zip("ab", losses, strict=True))
        policy.observe(Window(10 * (k + 1), 0, both, {"a": 10, "b": 10}))
    # Rewards 1 and -1 twice: alpha is 1/2, and then 1/3.
    powers = np.exp([0.4, -0.4])
    expected = powers @ [[2 / 3, 1 / 3], [1 / 3, 2 / 3]]
    expected = 0.8 * expected / expected.sum() + 0.1
    np.testing.assert_allclose(list(policy.shares().values()), expected, rtol=1e-10)


def test_enormous_rewards_do_not_overflow():
    policy = started(EXP3(step_size=1000.0, exploration=1e-3))
    planted = Planted({"a": 0.1, "b": 1.0, "c": 0.3}, noise=1.0)
    for _ in range(300):
        planted.window(policy)
        assert np.isfinite(list(policy.shares().values())).all()


def test_exp3_divides_by_the_shares_that_were_in_force():
    windows = [
        Window(10, 0, {"a": 4.0, "b": 4.0}, {"a": 5, "b": 5}),
        Window(20, 0, {"a": 3.0, "b": 3.9}, {"a": 5, "b": 5}),
        Window(30, 0, {"a": 2.0, "b": 3.8}, {"a": 5, "b": 5}, {}, {"a": 0.25, "b": 0.75}),
    ]
    policy = started(EXP3(step_size=0.4, exploration=0.2, mixing=0.0), NAMES[:2])
    for window in windows:
        policy.observe(window)
    # Rewards 1 and -1 twice, of half of the steps each: alpha is 1/2, which makes both alike, and
    # then 1/3.
    powers = np.exp([0.4 * 0.5 / 0.25, -0.4 * 0.5 / 0.75])
    expected = powers @ [[2 / 3, 1 / 3], [1 / 3, 2 / 3]]
    expected = 0.8 * expected / expected.sum() + 0.1
    np.testing.assert_allclose(list(policy.shares().values()), expected, rtol=1e-10)


@pytest.mark.parametrize("loss", [None, 0.0])
def test_one_of_which_no_progress_can_be_told_does_not_starve_the_others(loss):
    policy = started(UCB())
    counts, falling = dict.fromkeys(NAMES, 0), {"b": 9.0, "c": 9.0}
    for k in range(60):
        (name,) = [name for name, share in policy.shares().items() if share == 1.0]
        counts[name] += 1
        if name in falling:
            falling[name] -= 0.1
        losses = falling.get(name, loss)
        losses = {} if losses is None else {name: losses}
        policy.observe(Window(k + 1, 0, losses, {name: 1}))
    assert all(2 <= count <= 50 for count in counts.values()), counts
