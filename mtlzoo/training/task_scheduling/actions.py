"""What a scheduler acts through: a mixture, factors of losses, or the selection of tasks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mtlzoo.data import Mixture

# By model who acts through what in its training.
_CLAIMS: weakref.WeakKeyDictionary[Any, dict[str, weakref.ref]] = weakref.WeakKeyDictionary()


class Action:
    """Puts shares in force.

    Args:
        model: The model that is trained.
    """

    #: Whether all tasks are computed in each step.
    computes_all = False

    def __init__(self, model: Any) -> None:
        self.model = model
        self.off: set[str] = set()  # tasks that are switched off
        self.shares: dict[str, float] = {}

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

    def get_state(self) -> dict[str, Any]:
        """What is remembered."""
        return {"shares": dict(self.shares)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Args:
            state: What `get_state` gave.
        """
        self.shares = dict(state["shares"])


class Weighing(Action):
    """Shares as factors of the losses, with the mean 1 over the tasks that have any."""

    computes_all = True

    def act(self, shares: Mapping[str, float], step: int, window: int) -> None:
        """See `Action`."""
        super().act(shares, step, window)
        self._weigh()

    def _weigh(self) -> None:
        count = sum(share > 0 for share in self.shares.values())
        self.model.weigh_tasks(**{name: share * count for name, share in self.shares.items()})

    def end(self) -> None:
        """See `Action`."""
        self.model.weigh_tasks(**dict.fromkeys(self.model.task_names, 1.0))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Action`."""
        super().set_state(state)
        self._weigh()


class Selecting(Action):
    """Tasks drawn by their shares, which alone are computed in a window.

    Args:
        model: The model that is trained.
        at_once: How many are drawn, if so many have shares.
        seed: Of the draws.
        fits: Whether tasks may be in one step; one that does not fit is passed over.
    """

    def __init__(
        self, model: Any, at_once: int, seed: int, fits: Callable[[Iterable[str]], bool]
    ) -> None:
        super().__init__(model)
        self._at_once, self._seed, self._fits = at_once, seed, fits
        self._chosen: list[str] = []

    def act(self, shares: Mapping[str, float], step: int, window: int) -> None:
        """See `Action`."""
        super().act(shares, step, window)
        names = [name for name, share in shares.items() if share > 0]
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
        self._chosen = names
        self.model.select_tasks(names)

    def trained(self, step: int) -> Iterable[str]:
        """See `Action`."""
        return self._chosen

    def end(self) -> None:
        """See `Action`."""
        self.model.select_tasks(None)

    def get_state(self) -> dict[str, Any]:
        """See `Action`."""
        return {**super().get_state(), "chosen": list(self._chosen)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Action`."""
        super().set_state(state)
        self._choose(list(state["chosen"]))


class Mixing(Action):
    """Shares as probabilities of a mixture, and the selection of the tasks of what is drawn.

    Args:
        model: The model that is trained.
        mixture: What it is fitted to, which begins with the first shares.
        is_fixed: Whether they are all that there will be.

    Raises:
        ValueError: If it has labels of a task that the model does not have.
    """

    def __init__(self, model: Any, mixture: Mixture, is_fixed: bool) -> None:
        super().__init__(model)
        self._mixture, self._is_fixed = mixture, is_fixed
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
        """See `Action`."""
        if not self._is_fixed and self.shares and shares != self.shares:
            self._mixture.set_sampling_weights(shares, step)
        super().act(shares, step, window)

    def before(self, step: int, count: int) -> None:
        """See `Action`."""
        if self._mixture.form == "rows":
            return
        drawn = {name for k in range(step, step + count) for name in self._mixture.drawn_at(k)}
        tasks = {task for name in drawn for task in self._mixture.tasks[name]}
        self.model.select_tasks(sorted(tasks - self.off or tasks))

    def in_force(self, step: int) -> dict[str, float]:
        """See `Action`."""
        return self._mixture.probabilities(step)

    def trained(self, step: int) -> Iterable[str]:
        """See `Action`."""
        return self._mixture.drawn_at(step)

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

    def end(self) -> None:
        """See `Action`."""
        self.model.select_tasks(None)

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
