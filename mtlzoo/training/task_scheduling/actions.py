"""What a scheduler acts through: a mixture, factors of losses, or the selection of tasks."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mtlzoo.data import InTurn, Mixture
from mtlzoo.data.sampling import Explicit

# By model who acts through what in its training.
_CLAIMS: weakref.WeakKeyDictionary[Any, dict[str, weakref.ref]] = weakref.WeakKeyDictionary()
# By model the training and what was chosen before its first scheduler began to act.
_CHOSEN: weakref.WeakKeyDictionary[Any, tuple[Any, Chosen]] = weakref.WeakKeyDictionary()
_LEAST = 1e-9  # what is less than this is no share, but what is left of rounding


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What the user has chosen of a model before the training, and finds again after it.

    Args:
        selected: The selected tasks.
        factors: By task its factor.
    """

    selected: Sequence[str]
    factors: Mapping[str, float]


class Action:
    """Puts shares in force.

    Args:
        model: The model that is trained.
        chosen: What was chosen before.
    """

    #: Whether all tasks are computed in each step.
    computes_all = False

    def __init__(self, model: Any, chosen: Chosen) -> None:
        self.model, self.chosen = model, chosen
        self.off: set[str] = set()  # tasks that cannot be trained
        self.shares: dict[str, float] = {}

    def find_off(self) -> set[str]:
        """The tasks of which nothing can be trained: switched off, not selected, or weighed by 0.

        Of tasks that are balanced as one, only if it is so for all.
        """
        mask, row_of = self.model.task_mask, self.model.row_of
        on = {
            row_of.get(name, name)
            for name in self.chosen.selected
            if mask[name] and self.chosen.factors[name] > 0
        }
        return set(self.model._step.rows.names) - on

    def act(self, shares: Mapping[str, float], step: int, window: int) -> None:
        """Put shares in force, now or as soon as it can be.

        Args:
            shares: By name.
            step: How many steps of training are done.
            window: The number of the window that begins.
        """
        self.shares = dict(shares)

    def before(self, step: int, count: int) -> None:
        """Prepare steps of training.

        Args:
            step: The number of the first one.
            count: How many there are.
        """

    def in_force(self, step: int) -> dict[str, float]:
        """The shares in a step.

        Args:
            step: Its number.
        """
        return self.shares

    def trained(self, step: int) -> Iterable[str]:
        """The names that a step trains.

        Args:
            step: Its number.
        """
        return [name for name, share in self.shares.items() if share > 0]

    def end(self) -> None:
        """Leave the model as it was."""
        self.model.select_tasks(list(self.chosen.selected))

    def get_state(self) -> dict[str, Any]:
        """What is remembered."""
        return {
            "shares": dict(self.shares),
            "off": sorted(self.off),
            "selected": list(self.chosen.selected),
            "factors": dict(self.chosen.factors),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: What `get_state` gave.
        """
        self.shares, self.off = dict(state["shares"]), set(state["off"])
        # Where a training goes on, the model has what was scheduled already.
        self.chosen = Chosen(list(state["selected"]), dict(state["factors"]))


class Weighing(Action):
    """Shares as factors of the losses, with the mean 1 over the tasks that have any.

    They multiply the factors that were there before.
    """

    computes_all = True

    def act(self, shares: Mapping[str, float], step: int, window: int) -> None:
        """See `Action`."""
        super().act(shares, step, window)
        self._weigh()

    def _weigh(self) -> None:
        count, row_of = sum(share > 0 for share in self.shares.values()), self.model.row_of
        factors = {
            name: factor * count * self.shares[row_of.get(name, name)]
            for name, factor in self.chosen.factors.items()
        }
        self.model.weigh_tasks(**factors)

    def end(self) -> None:
        """See `Action`."""
        self.model.weigh_tasks(**self.chosen.factors)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Action`."""
        super().set_state(state)
        self._weigh()


class Selecting(Action):
    """Tasks drawn by their shares, which alone are computed in a window.

    Args:
        model: The model that is trained.
        chosen: What was chosen before.
        at_once: How many are drawn, if so many have shares.
        seed: Of the draws.
        fits: Whether tasks may be in one step; one that does not fit is passed over.
    """

    def __init__(
        self,
        model: Any,
        chosen: Chosen,
        at_once: int,
        seed: int,
        fits: Callable[[Iterable[str]], bool],
    ) -> None:
        super().__init__(model, chosen)
        self._at_once, self._seed, self._fits = at_once, seed, fits
        self._drawn: list[str] = []

    def act(self, shares: Mapping[str, float], step: int, window: int) -> None:
        """See `Action`."""
        super().act(shares, step, window)
        names = [name for name, share in shares.items() if share >= _LEAST]
        # The first ones of a race of exponential variables with these rates: one alone is drawn
        # with its share, several as if one after the other.
        uniform = np.random.default_rng([self._seed, window]).random(len(shares))
        drawn = dict(zip(sorted(shares), -np.log1p(-uniform), strict=True))
        names.sort(key=lambda name: drawn[name] / shares[name])
        chosen: list[str] = []
        for name in names:
            if len(chosen) < self._at_once and (not chosen or self._fits([*chosen, name])):
                chosen.append(name)
        self._choose(chosen)

    def _choose(self, names: list[str]) -> None:
        self._drawn = names
        self.model.select_tasks(names)

    def before(self, step: int, count: int) -> None:
        """See `Action`."""
        self._choose(self._drawn)  # whatever other callbacks have selected since

    def trained(self, step: int) -> Iterable[str]:
        """See `Action`."""
        return self._drawn

    def get_state(self) -> dict[str, Any]:
        """See `Action`."""
        return {**super().get_state(), "drawn": list(self._drawn)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Action`."""
        super().set_state(state)
        self._choose(list(state["drawn"]))


class Mixing(Action):
    """Shares as probabilities of a mixture, and the selection of the tasks of what is drawn.

    Args:
        model: The model that is trained.
        chosen: What was chosen before.
        mixture: What it is fitted to, which begins with the first shares.
        turns: What gives turns by the step in place of shares, or `None`.

    Raises:
        ValueError: If it has labels of a task that the model does not have.
    """

    def __init__(
        self, model: Any, chosen: Chosen, mixture: Mixture, turns: Callable[[], InTurn | None]
    ) -> None:
        super().__init__(model, chosen)
        self._mixture, self._turns = mixture, turns
        self._reading: int | None = None  # the number of the reading that the steps come from
        for name, tasks in mixture.tasks.items():
            for task in tasks:
                if task not in model.task_names:
                    raise ValueError(
                        "`through` should be a mixture with labels of the tasks "
                        f"{list(model.task_names)} only. Received: task `{task}` in its data set "
                        f"`{name}`"
                    )

    def act(self, shares: Mapping[str, float], step: int, window: int) -> None:
        """See `Action`; of turns, the shares are those of a round."""
        turns = self._turns()
        if turns is not None:
            shares = turns.probabilities(self._mixture.sizes, 0)
        super().act(shares, step, window)
        # A training that goes on begins with changes already, and `Backup` brings the rest back.
        goes_on = step == 0 and self._mixture.state["changes"]
        if not goes_on and self._mixture.latest != (turns or Explicit(self.shares)):
            self._mixture.set_sampling_weights(turns or self.shares, step)

    def before(self, step: int, count: int) -> None:
        """See `Action`."""
        if self._mixture.form == "rows":
            return
        drawn = {name for k in range(step, step + count) for name in self._mixture.drawn_at(k)}
        tasks = {task for name in drawn for task in self._mixture.tasks[name]}
        # What was drawn before its tasks were switched off trains nothing, whatever is selected.
        self.model.select_tasks(sorted(tasks - self.off or tasks))

    def in_force(self, step: int) -> dict[str, float]:
        """See `Action`."""
        return self._mixture.probabilities(step)

    def trained(self, step: int) -> Iterable[str]:
        """See `Action`."""
        tasks = self._mixture.tasks
        return [n for n in self._mixture.drawn_at(step) if not set(tasks[n]) <= self.off]

    def check_reading(self, before: int) -> None:
        """Check, after steps, that they came from this mixture, read as a whole.

        Args:
            before: How often reading it was begun before the training.

        Raises:
            ValueError: If they did not.
        """
        begun = self._mixture.begun
        if len(begun) <= before:
            raise ValueError(
                "`through` should be the mixture that is fitted: fit(mixture.dataset, "
                "steps_per_epoch=mixture.steps_per_epoch). Received: a mixture of the tasks "
                f"{sorted({t for tasks in self._mixture.tasks.values() for t in tasks})} that was "
                "not read in the first step"
            )
        if self._reading is None:
            self._reading = len(begun)
        if begun[-1] != 0 or len(begun) != self._reading:
            raise ValueError(
                "`through` should be a mixture that is read once, from its first step on: "
                "fit(mixture.dataset, steps_per_epoch=mixture.steps_per_epoch). "
                f"Received: one that was begun at the steps {begun[before:]}"
            )

    def get_state(self) -> dict[str, Any]:
        """See `Action`."""
        return {**super().get_state(), "changes": len(self._mixture.state["changes"])}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Action`.

        Raises:
            ValueError: If the mixture was not brought to where it was.
        """
        super().set_state(state)
        found = len(self._mixture.state["changes"])
        if found != state["changes"]:
            raise ValueError(
                "`mixture` of `Backup` should be the one that the scheduler acts through. "
                f"Received: a mixture with {found} changes, where there were {state['changes']}"
            )


def claim(scheduler: Any, through: Any) -> None:
    """Refuse a second scheduler that acts through the same thing in one training.

    Args:
        scheduler: The callback.
        through: What it acts through.

    Raises:
        ValueError: If there is one.
    """
    things = {through if isinstance(through, str) else "mixture"}
    if isinstance(through, Mixture) and through.form == "batches":
        things.add("selection")
    claims = _CLAIMS.setdefault(scheduler.model, {})
    for thing in sorted(things):
        other = claims[thing]() if thing in claims else None
        # All callbacks of one training have the same object as `params`.
        if other is not None and other is not scheduler and other.params is scheduler.params:
            names = " and ".join(type(each.policy).__name__ for each in (other, scheduler))
            raise ValueError(
                "`callbacks` should have one `TaskScheduler` for each thing that is acted through. "
                f"Received: two that act through the {thing} of the tasks "
                f"{list(scheduler.model.task_names)}, with the policies {names}"
            )
        claims[thing] = weakref.ref(scheduler)


def chosen_before(scheduler: Any) -> Chosen:
    """What was chosen of a model before any scheduler of this training began to act.

    Args:
        scheduler: The callback.
    """
    model, training = scheduler.model, scheduler.params  # one object for all callbacks
    if model not in _CHOSEN or _CHOSEN[model][0] is not training:
        _CHOSEN[model] = training, Chosen(model.selected_tasks, model.task_factors)
    return _CHOSEN[model][1]
