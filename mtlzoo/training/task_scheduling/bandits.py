"""Bandits: policies that train what makes the most progress, and try the others now and then."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.layers.arguments import check_number, check_rate
from mtlzoo.training.task_scheduling.policy import (
    TaskPolicy,
    Window,
    check_positive,
    raised,
)

#: Between which quantiles of past progress rewards are spread, as Graves et al. (2017) do.
_LOW, _HIGH = 0.2, 0.8


class Bandit(TaskPolicy):
    """Base of the bandits: what reward each name had in a window.

    The progress of a name is by how much its loss has decreased per step that trained it, from the
    last window with such steps to this one, in parts of its first loss, so that losses of different
    sizes compare. With costs it is divided by the cost of a step. The reward is the progress,
    spread from −1 to 1 between the 0.2 and the 0.8 quantile of the last `memory` of all names, and
    clipped (Graves et al., 2017). It is 0 where no progress can be told of what was trained, since
    there was no loss, or the first one was 0.

    Args:
        costs: By name what a step costs, positive numbers in one unit, such as seconds; or `None`,
            all alike.
        memory: How many values of progress the quantiles are of, at least 2.
    """

    kept: tuple[str, ...] = ("first", "last", "past", "step")

    def __init__(self, costs: Mapping[str, float] | None, memory: int) -> None:
        self._costs = check_positive("costs", costs)
        self._memory = check_count("memory", memory, least=2)

    def begin(self) -> None:
        """See `TaskPolicy`."""
        if self._costs:
            self.check_names("costs", self._costs, self.names)
            for name in self.names:
                if name not in self._costs:
                    raise ValueError(
                        f"`costs` should have a number for each of {list(self.names)}. "
                        f"Received: none for `{name}`"
                    )
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.past: list[float] = []
        self.step = 0

    def observe(self, window: Window) -> None:
        """See `TaskPolicy`."""
        progress: dict[str, float] = {}
        rewards: dict[str, float] = {}
        losses = self.losses_by_name(window.losses)
        for name in [name for name in self.names if window.steps.get(name, 0)]:
            if name not in losses or self.first.get(name) == 0:
                rewards[name] = 0.0  # no progress can be told, now or ever
                continue
            loss = losses[name]
            self.first.setdefault(name, loss)
            if name in self.last:
                change = (self.last[name] - loss) / abs(self.first[name])
                progress[name] = change / window.steps[name] / self._costs.get(name, 1.0)
            self.last[name] = loss
        self.past = [*self.past, *progress.values()][-self._memory :]
        if progress:
            low, high = np.quantile(self.past, [_LOW, _HIGH])
            rewards |= {name: _spread(p, low, high) for name, p in progress.items()}
        if rewards:
            self.learn(rewards, window)
        self.step = window.step

    def learn(self, rewards: Mapping[str, float], window: Window) -> None:
        """Take the rewards of a window.

        Args:
            rewards: By name from −1 to 1; only of those that had one.
            window: The window.
        """


class UCB(Bandit):
    """Trains the one with the highest upper confidence bound of its progress.

    With rewards rₖ of the past windows, scaled to [0, 1], and the discount γ to the power of the
    number of windows since then,

        Nᵢ = Σₖ γ^(n−k) · partᵢₖ,   X̄ᵢ = Σₖ γ^(n−k) · partᵢₖ · rᵢₖ / Nᵢ,
        boundᵢ = X̄ᵢ + 2 · sqrt(exploration · log(Σⱼ Nⱼ) / Nᵢ)

    where partᵢₖ is the part of the steps of window k that trained i. The one with the highest bound
    has the share 1 − (n − 1) · `least` of the next window, the first by name where several have it;
    those without a reward come first. With `discount=1` this is UCB1 (Auer et al., 2002) but for
    the constants; below 1 it follows rewards that change, as progress does (Garivier & Moulines,
    2011).

    Args:
        discount: γ, above 0, up to 1. It remembers about 1/(1 − γ) windows. Defaults to 0.95.
        exploration: Number of at least 0; the larger, the more the others are tried. Defaults to
            0.1.
        least: The share that each has at least, from 0 to below 1. Defaults to 0.
        costs: By name what a step costs, positive numbers; then the progress for the cost counts.
            Defaults to `None`, all alike.
        memory: Of how many values of progress the rewards are spread by quantiles. Defaults to 200.

    Raises:
        ValueError: If an argument is out of its range; when it is started, if `costs` does not have
            all names.

    Example:
    ```python
    from mtlzoo.training import UCB, Window

    policy = UCB()
    policy.start(["a", "b"])
    policy.observe(Window(10, 0, losses={"a": 1.0}, steps={"a": 10}))
    policy.observe(Window(20, 0, losses={"a": 0.9}, steps={"a": 10}))
    policy.shares()  # {'a': 0.0, 'b': 1.0}, since "b" has no reward yet
    ```

    References:
        Auer, Cesa-Bianchi & Fischer, *Finite-time Analysis of the Multiarmed Bandit Problem*, 2002.
        Garivier & Moulines, *On Upper-Confidence Bound Policies for Switching Bandit Problems*,
        ALT 2011.
        Graves, Bellemare, Menick, Munos & Kavukcuoglu, *Automated Curriculum Learning for Neural
        Networks*, ICML 2017.

    *Differences from the paper*: a round is a window, in which several may have been trained, each
    for a part of its steps. Progress is what the logs' losses say, from window to window, where
    Graves et al. evaluate the same examples again after the step.
    """

    kept = (*Bandit.kept, "counts", "sums")

    def __init__(
        self,
        discount: float = 0.95,
        exploration: float = 0.1,
        *,
        least: float = 0.0,
        costs: Mapping[str, float] | None = None,
        memory: int = 200,
    ) -> None:
        super().__init__(costs, memory)
        if not is_number(discount) or not 0 < discount <= 1:
            raise ValueError(
                f"`discount` should be a number above 0, up to 1. Received: discount={discount!r}"
            )
        self._discount = float(discount)
        self._exploration = check_number("exploration", exploration, "a number of at least 0", 0)
        self._least = check_rate("least", least)

    def begin(self) -> None:
        """See `TaskPolicy`."""
        super().begin()
        self.counts = dict.fromkeys(self.names, 0.0)
        self.sums = dict.fromkeys(self.names, 0.0)

    def learn(self, rewards: Mapping[str, float], window: Window) -> None:
        """See `Bandit`."""
        total = sum(window.steps.values())
        for name in self.names:
            self.counts[name] *= self._discount
            self.sums[name] *= self._discount
            if name in rewards:
                part = window.steps[name] / total
                self.counts[name] += part
                self.sums[name] += part * (rewards[name] + 1) / 2

    def bounds(self) -> dict[str, float]:
        """By name its upper confidence bound; infinite where there was no reward."""
        logarithm = math.log(max(math.fsum(self.counts.values()), 1.0))
        found = {}
        for name, count in self.counts.items():
            if count > 0:
                width = 2 * math.sqrt(self._exploration * logarithm / count)
                found[name] = self.sums[name] / count + width
            else:
                found[name] = math.inf
        return found

    def shares(self) -> dict[str, float]:
        """See `TaskPolicy`."""
        bounds = self.bounds()
        best = max(self.on, key=lambda name: bounds[name])
        return raised({name: float(name == best) for name in self.names}, self._least)


class EXP3(Bandit):
    """Draws by exponential weights of the progress (EXP3.S, for rewards that change).

    With n names, rewards rᵢ from −1 to 1, and partᵢ the part of the steps of a window that trained
    i, after the window t

        r̃ᵢ = (partᵢ · rᵢ + bias) / πᵢ,   αₜ = 1/(t + 1)
        wᵢ ← log[(1 − αₜ) exp(wᵢ + step_size · r̃ᵢ)
                 + αₜ/(n − 1) · Σⱼ≠ᵢ exp(wⱼ + step_size · r̃ⱼ)]
        πᵢ = (1 − exploration) · exp(wᵢ) / Σⱼ exp(wⱼ) + exploration / n

    and the shares are π; the rewards are divided by those that were in force in the window. Where
    all were trained in every step, as through weights, rᵢ is used as it is in place of
    (partᵢ · rᵢ) / πᵢ.

    Args:
        step_size: Positive number. Defaults to 0.05.
        exploration: Above 0, up to 1: the part that is shared alike. Defaults to 0.1.
        bias: Number of at least 0. Defaults to 0.
        mixing: The least αₜ, from 0 to below 1, so that late changes are followed, too. Defaults
            to 0.01.
        costs: By name what a step costs, positive numbers; then the progress for the cost counts.
            Defaults to `None`, all alike.
        memory: Of how many values of progress the rewards are spread by quantiles. Defaults to 200.

    Raises:
        ValueError: If an argument is out of its range; when it is started, if `costs` does not have
            all names.

    Example:
    ```python
    from mtlzoo.training import EXP3, Window

    policy = EXP3()
    policy.start(["a", "b"])
    policy.observe(Window(10, 0, losses={"a": 1.0}, steps={"a": 10}))
    policy.shares()  # {'a': 0.5, 'b': 0.5}
    ```

    References:
        Auer, Cesa-Bianchi, Freund & Schapire, *The Nonstochastic Multiarmed Bandit Problem*, 2002.
        Graves, Bellemare, Menick, Munos & Kavukcuoglu, *Automated Curriculum Learning for Neural
        Networks*, ICML 2017.

    *Differences from the paper*: those of `UCB`; α begins with 1/2, since 1 would give the first
    reward to all others, and has a least value.
    """

    kept = (*Bandit.kept, "weights", "rounds")

    def __init__(
        self,
        step_size: float = 0.05,
        exploration: float = 0.1,
        *,
        bias: float = 0.0,
        mixing: float = 0.01,
        costs: Mapping[str, float] | None = None,
        memory: int = 200,
    ) -> None:
        super().__init__(costs, memory)
        if not is_number(step_size) or step_size <= 0:
            raise ValueError(
                f"`step_size` should be a number above 0. Received: step_size={step_size!r}"
            )
        if not is_number(exploration) or not 0 < exploration <= 1:
            raise ValueError(
                "`exploration` should be a number above 0, up to 1. "
                f"Received: exploration={exploration!r}"
            )
        self._step_size, self._exploration = float(step_size), float(exploration)
        self._bias = check_number("bias", bias, "a number of at least 0", 0)
        self._mixing = check_rate("mixing", mixing)

    def begin(self) -> None:
        """See `TaskPolicy`."""
        super().begin()
        self.weights = dict.fromkeys(self.names, 0.0)
        self.rounds = 0

    def learn(self, rewards: Mapping[str, float], window: Window) -> None:
        """See `Bandit`."""
        count = len(self.names)
        if count == 1:
            return
        shares, total = {**self.shares(), **window.shares}, sum(window.steps.values())
        done = window.step - self.step
        everywhere = all(window.steps.get(n, 0) == done for n in self.names if shares[n] > 0)
        grown = {}
        for name in self.names:
            reward = rewards.get(name, 0.0)
            if shares[name] > 0:  # else it was off
                if not everywhere:
                    reward *= window.steps.get(name, 0) / total / shares[name]
                reward += self._bias / shares[name]
            grown[name] = self.weights[name] + self._step_size * reward
        top = max(grown.values())  # by which powers cannot overflow
        powers = {name: math.exp(weight - top) for name, weight in grown.items()}
        whole = math.fsum(powers.values())
        self.rounds += 1
        alpha = max(1 / (self.rounds + 1), self._mixing)
        for name, power in powers.items():
            mixed = (1 - alpha) * power + alpha / (count - 1) * (whole - power)
            self.weights[name] = math.log(max(mixed, 1e-300)) + top
        top = max(self.weights.values())  # only differences count
        self.weights = {name: weight - top for name, weight in self.weights.items()}

    def shares(self) -> dict[str, float]:
        """See `TaskPolicy`."""
        powers = {name: math.exp(weight) for name, weight in self.weights.items()}
        whole, alike = math.fsum(powers.values()), self._exploration / len(powers)
        return {n: (1 - self._exploration) * power / whole + alike for n, power in powers.items()}


def _spread(value: float, low: float, high: float) -> float:
    """From −1 to 1, where the two quantiles are; 0 where they are the same."""
    if high <= low:
        return 0.0
    return float(np.clip(2 * (value - low) / (high - low) - 1, -1, 1))
