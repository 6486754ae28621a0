"""How often each of several data sets is drawn from."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from mtlzoo.data.arguments import check_count, is_number

NAMES = ("proportional", "uniform")


class SamplingWeights(Protocol):
    """What decides how often each data set is drawn from.

    One that has a method `at_step(sizes, step)` too, as `InTurn`, decides anew in each step.
    """

    def probabilities(self, sizes: Mapping[str, int], epoch: int) -> dict[str, float]:
        """By data set how likely it is to be drawn from.

        Args:
            sizes: by data set, how many rows or batches it has.
            epoch: which one, from 0.

        Returns:
            Numbers that are not negative and sum to one.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Temperature:
    """Probabilities proportional to the sizes to the power 1/temperature.

    With temperature 1 they are proportional to the sizes, with a high one nearly equal, so that
    small data sets are repeated more often (Arivazhagan et al., *Massively Multilingual Neural
    Machine Translation in the Wild*, 2019).

    Args:
        temperature: Positive number.

    Raises:
        ValueError: If it is none.

    Example:
    ```python
    from mtlzoo.data import Temperature

    Temperature(2.0).probabilities({"a": 900, "b": 100}, epoch=0)  # a 0.75, b 0.25
    ```
    """

    temperature: float

    def __post_init__(self) -> None:
        value = self.temperature
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not value > 0:
            raise ValueError(
                f"`temperature` should be a positive number. Received: temperature={value!r}"
            )

    def probabilities(self, sizes: Mapping[str, int], epoch: int) -> dict[str, float]:
        """See `SamplingWeights`."""
        largest = max(sizes.values())  # by which powers cannot overflow
        return normalized(
            {n: (size / largest) ** (1 / self.temperature) for n, size in sizes.items()}
        )


@dataclasses.dataclass(frozen=True)
class Annealed:
    """Probabilities whose exponent goes from one value to another over the epochs.

    In epoch e they are proportional to the sizes to the power start + (end − start) e / (epochs −
    1), and stay as they are after the last one: by default large data sets count for more at the
    beginning, and towards the end all nearly alike (Stickland & Murray, *BERT and PALs*, ICML 2019,
    with 1 and 0.2).

    Args:
        epochs: How many there are, at least 2.
        start: The exponent of the first epoch, a number of at least 0. Defaults to 1.
        end: That of the last one. Defaults to 0.2.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
    ```python
    from mtlzoo.data import Annealed

    Annealed(epochs=5).probabilities({"a": 900, "b": 100}, epoch=0)  # a 0.9, b 0.1
    ```
    """

    epochs: int
    start: float = 1.0
    end: float = 0.2

    def __post_init__(self) -> None:
        check_count("epochs", self.epochs, least=2)
        for name in ("start", "end"):
            value = getattr(self, name)
            if not is_number(value) or value < 0:
                raise ValueError(
                    f"`{name}` should be a number of at least 0. Received: {name}={value!r}"
                )

    def probabilities(self, sizes: Mapping[str, int], epoch: int) -> dict[str, float]:
        """See `SamplingWeights`."""
        done = min(epoch / (self.epochs - 1), 1.0)
        power = self.start + (self.end - self.start) * done
        return normalized({name: size**power for name, size in sizes.items()})


@dataclasses.dataclass(frozen=True)
class InTurn:
    """Each data set in its turn, exactly, instead of by chance.

    Args:
        order: The names of one round, in which one may stand several times; data sets that are not
            in it are not drawn from. Defaults to `None`, for all once, by name.
        steps: For how many steps each has its turn, at least 1. Defaults to 1.

    Raises:
        ValueError: If an argument is out of its range, or `order` has a name that is no data set.

    Example:
    ```python
    from mtlzoo.data import InTurn

    turns = InTurn(order=["a", "a", "b"])
    [turns.at_step({"a": 900, "b": 100}, step)["a"] for step in range(4)]  # [1.0, 1.0, 0.0, 1.0]
    ```
    """

    order: Sequence[str] | None = None
    steps: int = 1

    def __post_init__(self) -> None:
        check_count("steps", self.steps)
        if self.order is not None and not (
            isinstance(self.order, list | tuple)
            and self.order
            and all(isinstance(name, str) for name in self.order)
        ):
            raise ValueError(
                f"`order` should be a list of names, or None. Received: order={self.order!r}"
            )

    def probabilities(self, sizes: Mapping[str, int], epoch: int) -> dict[str, float]:
        """See `SamplingWeights`: those of a whole round."""
        order = self._round(sizes)
        return normalized({name: order.count(name) for name in sizes})

    def at_step(self, sizes: Mapping[str, int], step: int) -> dict[str, float]:
        """The probabilities in a step: 1 for the data set whose turn it is.

        Args:
            sizes: By data set anything.
            step: The number of the step, from 0.
        """
        order = self._round(sizes)
        now = order[step // self.steps % len(order)]
        return {name: float(name == now) for name in sizes}

    def _round(self, sizes: Mapping[str, int]) -> list[str]:
        order = sorted(sizes) if self.order is None else list(self.order)
        if unknown := sorted(set(order) - set(sizes)):
            raise ValueError(
                f"`order` should have names among {sorted(sizes)}. Received: {unknown}"
            )
        return order


@dataclasses.dataclass(frozen=True)
class Explicit:
    """Probabilities that are given.

    Args:
        weights: By data set a number that is not negative; they are scaled to the sum 1.
    """

    weights: Mapping[str, float]

    def probabilities(self, sizes: Mapping[str, int], epoch: int) -> dict[str, float]:
        """See `SamplingWeights`."""
        return normalized({name: self.weights[name] for name in sizes})


def resolve(given: Any, names: list[str]) -> SamplingWeights:
    """Read what a user gives as `sampling_weights`.

    Args:
        given: `"proportional"`, `"uniform"`, a temperature, a dict by data set, or an object with
            the method `probabilities`.
        names: those of the data sets.

    Returns:
        An object with that method.

    Raises:
        ValueError: if it is none of them, or a dict has other names or unusable numbers.
    """
    if isinstance(given, Mapping):
        return Explicit(check(given, names))
    if isinstance(given, str) and given in NAMES:
        return Temperature(1.0 if given == "proportional" else math.inf)
    if is_number(given) and given > 0:
        return Temperature(float(given))
    if callable(getattr(given, "probabilities", None)) and not isinstance(given, type):
        return given
    raise ValueError(
        "`sampling_weights` should be 'proportional', 'uniform', a positive temperature, a dict by "
        f"data set, or an object like `Annealed`. Received: sampling_weights={given!r}"
    )


def check(weights: Mapping[str, Any], names: list[str]) -> dict[str, float]:
    """Check sampling weights that are given by data set.

    Args:
        weights: by data set a number.
        names: those of the data sets.

    Returns:
        The same, as floats.

    Raises:
        ValueError: if a name is missing or unknown, a number is negative or not finite, or all are
            zero.
    """
    if not isinstance(weights, Mapping) or sorted(weights) != sorted(names):
        raise ValueError(
            f"`sampling_weights` should have a number for each of the data sets {sorted(names)}. "
            f"Received: sampling_weights={weights!r}"
        )
    for name, value in weights.items():
        if not is_number(value) or value < 0:
            raise ValueError(
                f"`sampling_weights[{name!r}]` should be a number of at least 0. "
                f"Received: {value!r}"
            )
    if not any(weights.values()):
        raise ValueError(
            "`sampling_weights` should have a number above 0. "
            f"Received: sampling_weights={dict(weights)!r}"
        )
    return {name: float(value) for name, value in weights.items()}


def normalized(weights: Mapping[str, float]) -> dict[str, float]:
    """Scale numbers to the sum 1.

    Args:
        weights: numbers that are not negative, not all zero.
    """
    total = math.fsum(weights.values())
    return {name: value / total for name, value in weights.items()}


def draw(probabilities: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Turn uniform random numbers into places, by these probabilities.

    Args:
        probabilities: `(n,)`, with the sum 1.
        uniform: numbers from 0 to below 1.

    Returns:
        Places from 0 to n - 1, of the shape of `uniform`; none has the probability 0.
    """
    ends = np.cumsum(probabilities)
    ends[np.flatnonzero(probabilities)[-1] :] = np.inf  # rounding leaves nothing behind the last
    return np.searchsorted(ends, uniform, side="right")
