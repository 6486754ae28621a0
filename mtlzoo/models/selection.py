"""Which tasks the training steps compute, and how much each loss counts, while a model trains."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.models.graph import Split
from mtlzoo.models.running import RunByPlan


class Selection:
    """The tasks that a training step computes, and what of the model they need.

    Args:
        model: the model.
        names: the selected tasks, in order.
    """

    def __init__(self, model: keras.Model, names: tuple[str, ...]) -> None:
        self._model, self.names = model, names
        self.flags = np.array([name in names for name in model.task_names])
        self.is_whole = bool(self.flags.all())
        self._made: dict[int | None, Any] = {}  # what is run, by the id of the split

    def runner(self) -> keras.Model:
        """The model as it is run, with the outputs of the selected tasks only."""
        if self.is_whole:
            return self._model.runner()
        return self._once(None, lambda: self._model.as_planned(self._part(self._model)))

    def split(self, split: Split | None) -> Split | None:
        """A model cut at its boundary, with such heads.

        Args:
            split: the two parts, not planned.
        """
        if split is None:
            return None
        if self.is_whole:
            return self._once(id(split), lambda: self._model.split_as_planned(split))

        def made():
            return dataclasses.replace(split, heads=self._part(split.heads))

        return self._once(id(split), lambda: self._model.split_as_planned(made()))

    def _part(self, model):
        return keras.Model(model.input, {name: model.output[name] for name in self.names})

    def _once(self, key, make):
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class SelectedByTask(RunByPlan):
    """The part of `MultiTaskModel` that says which tasks take part in training, and how much."""

    @property
    def task_mask(self) -> dict[str, bool]:
        """Which tasks take part; those switched off count as absent from every batch."""
        return self._by_task(self._step.mask)

    def switch_tasks(self, **active: bool) -> None:
        """Switch tasks on or off by name, e.g. `model.switch_tasks(click=False)`.

        It costs nothing, and saves nothing: what is off is computed and left out. `select_tasks`
        saves it.
        """
        mask = self.task_mask
        for name, on in active.items():
            self._check_name(name)
            if not isinstance(on, bool | np.bool_):
                raise ValueError(
                    f"Task `{name}` should be switched by a bool. Received: {name}={on!r}"
                )
            mask[name] = bool(on)
        self._step.mask.assign(list(mask.values()))

    @property
    def selected_tasks(self) -> list[str]:
        """The tasks that training steps compute, sorted."""
        return list(self._step.selection.names)

    def select_tasks(self, names: Sequence[str] | None) -> None:
        """Have the training steps that follow compute some of the tasks only.

        Of the others nothing is computed, forward or backward, and labels are not looked at: they
        count as absent, as after `switch_tasks`. A step is traced once for each set of tasks, and
        kept. Tasks that are balanced as one (as those of soft targets, `model.row_of`) are selected
        together. `compile` selects all tasks; `evaluate` and `predict` are of all tasks always.

        Layers that count steps by themselves (the annealing of `DynamicSharing`, the temperatures
        of `LearningToBranch`) count those in which they are computed.

        Args:
            names: names of tasks, at least one; `None` for all.

        Raises:
            ValueError: for anything else.

        Example:
        ```python
        import keras
        from mtlzoo import HardSharing, Regression

        model = HardSharing(keras.Input((4,)), [Regression("a"), Regression("b")], shared_units=[8])
        model.compile("sgd", balancer="pcgrad")
        model.select_tasks(["a"])
        print(model.selected_tasks)  # ['a']
        ```
        """
        step = self._step
        if names is None:
            names = self.task_names
        if not isinstance(names, list | tuple | set | frozenset) or not names:
            raise ValueError(
                f"`names` should be a list of one or more of the tasks {list(self.task_names)}, or "
                f"None for all. Received: names={names!r}"
            )
        for name in names:
            self._check_name(name)
        rows = {self.row_of.get(name, name) for name in names}
        step.select(tuple(n for n in self.task_names if self.row_of.get(n, n) in rows))

    @property
    def task_factors(self) -> dict[str, float]:
        """By task the factor of `weigh_tasks`."""
        return self._by_task(self._step.factors)

    def weigh_tasks(self, **factors: float) -> None:
        """Multiply the `loss_weights` of tasks from the next training step on, e.g.
        `model.weigh_tasks(click=0.5)`.

        Nothing is traced anew. As `loss_weights` do, factors come before the balancer. A task with
        the factor 0 counts as absent. The `loss` in the logs is without them.

        Args:
            **factors: by the name of a task a number that is not negative.

        Raises:
            ValueError: for anything else.
        """
        found = self.task_factors
        for name, factor in factors.items():
            self._check_name(name)
            is_number = isinstance(factor, int | float | np.number) and not isinstance(factor, bool)
            if not is_number or not 0 <= factor <= float(np.finfo("float32").max):
                raise ValueError(
                    f"The factor of task `{name}` should be a number that is not negative. "
                    f"Received: {name}={factor!r}"
                )
            found[name] = float(factor)
        self._step.factors.assign(list(found.values()))

    @contextlib.contextmanager
    def _as_chosen_after_errors(self) -> Iterator[None]:
        """Whatever callbacks have selected, switched or weighed is undone where training fails."""
        step = self._step
        before = step.selection.names, self.task_mask, self.task_factors
        try:
            yield
        except BaseException:
            step.select(before[0])
            step.mask.assign(list(before[1].values()))
            step.factors.assign(list(before[2].values()))
            raise

    def _by_task(self, variable):
        values = keras.ops.convert_to_numpy(variable)
        return dict(zip(self.task_names, values.tolist(), strict=True))


def taking_part(mask: tf.Tensor, factors: tf.Tensor, selected: np.ndarray) -> list[Any]:
    """For each task whether it takes part in a step, a scalar bool; those not selected do not.

    Args:
        mask: `(T,)` bool, those that are switched on.
        factors: `(T,)`, their factors.
        selected: `(T,)` bool.
    """
    active = tf.unstack(mask & (factors > 0))
    return [
        on if chosen else tf.constant(False)
        for on, chosen in zip(active, selected.tolist(), strict=True)
    ]
