"""What decides how much each task is trained: the base of all policies, and what they are told."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtlzoo.data import InTurn
from mtlzoo.data.arguments import check_count, is_number
from mtlzoo.data.sampling import normalized


@dataclasses.dataclass(frozen=True)
class Window:
    """Some steps of training, as a policy is told of them.

    Args:
        step: How many steps of training are done at its end.
        epoch: The epoch in which it ends, from 0.
        losses: By task the mean training loss of its labels in the window; only of tasks that were
            trained in it. Empty if it is not given.
        steps: By name how many steps of the window have trained it: names of tasks, or with a
            mixture those of its data sets. Empty if it is not given.
        metrics: The epoch's logs, where the window ends with the epoch, else empty.
        shares: By name the mean over the steps of the window of the share that was in force, which
            with a mixture is not the last one that was decided. Empty if it is not given.
    """

    step: int
    epoch: int
    losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    steps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)


class TaskPolicy:
    """Base of what decides how much each task is trained; by itself, all alike.

    A policy gives **shares**: numbers by name that are not negative and have the sum 1. The names
    are those of tasks, or of the data sets of a mixture, each with the tasks that it has labels of.
    `TaskScheduler` tells it what happened and acts by its shares; plain dicts do as well, see the
    example.

    To make one, subclass it: `begin` checks the names and sets what is remembered, `observe` takes
    a window, `shares` answers, and `kept` names the attributes that are its state.

    Attributes:
        names: The names, sorted.
        tasks: By name the tasks that are trained with it; each itself where the names are tasks.
        sizes: By name how large its data set is, or `None`.
        seed: Of what is drawn.
        off: The names of which nothing can be trained now, since their tasks are switched off; what
            shares they are given goes to the others.
        needs_losses: Whether it reads the losses of windows, which costs a moment at their ends.
        kept: Names of the attributes that are its state, of what JSON can hold and arrays.

    Example:
    ```python
    from mtlzoo.training import LearningSpeed, Window

    policy = LearningSpeed()
    policy.start(["click", "stay"], seed=0)
    policy.observe(Window(step=10, epoch=0, losses={"click": 0.7, "stay": 2.0}))
    policy.observe(Window(step=20, epoch=0, losses={"click": 0.7, "stay": 1.0}))
    policy.shares()  # more for "click", which has learned less
    ```
    """

    needs_losses: bool = True
    kept: tuple[str, ...] = ()
    off: frozenset[str] = frozenset()

    def start(
        self,
        names: Sequence[str],
        seed: int = 0,
        tasks: Mapping[str, Sequence[str]] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """Begin a training.

        Args:
            names: What has shares.
            seed: Of what is drawn, an integer of at least 0. Defaults to 0.
            tasks: By name the tasks that are trained with it. Defaults to each itself.
            sizes: By name how large its data set is. Defaults to `None`, where that is not known.

        Raises:
            ValueError: If there are no names, one is there twice, or an argument of the policy does
                not fit them.
        """
        if isinstance(names, str) or not names or len(set(names)) < len(names):
            raise ValueError(
                f"`names` should be different names, one at least. Received: names={names!r}"
            )
        self.names = tuple(sorted(names))
        self.seed = check_count("seed", seed, least=0)
        given = {name: (name,) for name in self.names} if tasks is None else tasks
        if sorted(given) != sorted(self.names):
            raise ValueError(
                f"`tasks` should have the tasks of each of {list(self.names)}. "
                f"Received: tasks={tasks!r}"
            )
        self.tasks = {name: tuple(sorted(given[name])) for name in self.names}
        self.sizes = None if sizes is None else dict(sizes)
        self.off = frozenset()
        self.begin()

    def begin(self) -> None:
        """Check the arguments against the names, and set what is remembered."""

    def check_use(self, through: str, at_once: int) -> None:
        """Look at how the shares will be used; called after `check_model`.

        Args:
            through: `"mixture"`, `"weights"` or `"selection"`.
            at_once: How many are selected at once, of `"selection"`.

        Raises:
            ValueError: If the policy cannot be used so.
        """

    def check_model(self, model: Any) -> None:
        """Look at the model that will be trained; called after `start`, before the first step.

        Args:
            model: A compiled multi-task model.

        Raises:
            ValueError: If it lacks what the policy reads.
        """

    def observe(self, window: Window) -> None:
        """Take what happened in a window.

        Args:
            window: The window.
        """

    def shares(self) -> dict[str, float]:
        """By name its share from now on: numbers that are not negative, with the sum 1."""
        return {name: 1 / len(self.names) for name in self.names}

    def by_step(self) -> InTurn | None:
        """Turns by the number of the step, which a mixture takes exactly.

        Returns:
            A `data.InTurn`, or `None` where shares follow what happens.
        """
        return None

    def fits(self, names: Iterable[str]) -> bool:
        """Whether tasks may be trained in one step; asked where several are selected at once.

        Args:
            names: Their names.
        """
        return True

    def logs(self) -> dict[str, float]:
        """What the policy adds to the logs of an epoch."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """What the policy remembers, as a callback's state."""
        return {name: copy.deepcopy(getattr(self, name)) for name in self.kept}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; `start` was called before.

        Args:
            state: What `get_state` gave.
        """
        for name in self.kept:
            setattr(self, name, copy.deepcopy(state[name]))

    # -- for the policies -----------------------------------------------------------------------

    @property
    def on(self) -> list[str]:
        """The names that are not off, sorted; all of them where all are off."""
        return [name for name in self.names if name not in self.off] or list(self.names)

    @property
    def task_names(self) -> list[str]:
        """All tasks that are trained with any of the names, sorted."""
        return sorted({task for tasks in self.tasks.values() for task in tasks})

    def by_name(self, of_tasks: Mapping[str, float]) -> dict[str, float]:
        """Shares by name out of numbers by task; all alike where all numbers are 0.

        A name has the sum over its tasks; a task of several names is divided among them.

        Args:
            of_tasks: By task a number that is not negative.
        """
        often = {t: sum(t in tasks for tasks in self.tasks.values()) for t in self.task_names}
        found = {n: math.fsum(of_tasks[t] / often[t] for t in ts) for n, ts in self.tasks.items()}
        return normalized(found if any(found.values()) else dict.fromkeys(found, 1.0))

    def losses_by_name(self, losses: Mapping[str, float]) -> dict[str, float]:
        """By name the mean loss of its tasks, of names whose tasks all have one.

        Args:
            losses: Those of a window, by task.
        """
        return {
            name: math.fsum(losses[t] for t in tasks) / len(tasks)
            for name, tasks in self.tasks.items()
            if tasks and all(t in losses and math.isfinite(losses[t]) for t in tasks)
        }

    def check_names(self, argument: str, given: Iterable[str], names: Iterable[str]) -> None:
        """Refuse names that are unknown.

        Args:
            argument: The argument that has them.
            given: The names.
            names: Those that are known.

        Raises:
            ValueError: If there is such a name.
        """
        known = sorted(names)
        for name in given:
            if name not in known:
                raise ValueError(
                    f"`{argument}` should have names among {known} only. Received: {name!r}"
                )


def check_positive(argument: str, given: Any) -> dict[str, float]:
    """Check numbers by name.

    Args:
        argument: Its name.
        given: A dict of positive numbers, or `None` for none.

    Raises:
        ValueError: For anything else.
    """
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ValueError(f"`{argument}` should be a dict by name. Received: {argument}={given!r}")
    for name, value in given.items():
        if not is_number(value) or value <= 0:
            raise ValueError(
                f"`{argument}[{name!r}]` should be a number above 0. Received: {value!r}"
            )
    return {name: float(value) for name, value in given.items()}


def raised(shares: Mapping[str, float], least: float) -> dict[str, float]:
    """Shares of which each is at least `least`: a part for all alike, the rest by the shares.

    Args:
        shares: By name, with the sum 1.
        least: The least share; where it is more than all alike would have, all are alike.
    """
    alike = min(least * len(shares), 1.0)
    return {n: alike / len(shares) + (1 - alike) * share for n, share in shares.items()}
