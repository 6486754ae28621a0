"""The balancers that need the Gramian of the task gradients."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import keras
import numpy as np
from keras import ops

from mtlzoo.balancing.arguments import check_level, check_task_axis, to_numbers
from mtlzoo.balancing.balancer import Balancer
from mtlzoo.layers.arguments import check_count

REST = "rest"  # the group of the variables that no expression finds
# The state that the training step itself looks after.
_OF_THE_STEP = ("step", "task_weights", "refreshed")


class Options(TypedDict, total=False):
    """The arguments that every `GradientBalancer` has."""

    wrt: str
    every: int
    groups: str | Mapping[str, Sequence[str]] | None


class GradientBalancer(Balancer):
    """A method that needs the Gramian of the task gradients: it turns (T, T) into T weights.

    The shared variables move along Σᵢ wᵢ ∇Lᵢ. A subclass writes
    `_weights(gramian, losses, present)`, which never sees a non-finite number: absent tasks and
    tasks without a finite gradient are out of `present`, with zeros in their rows and columns.

    Args:
        wrt: `"parameters"` for the gradients by the shared variables, `"features"` for those by the
            tensors where the shared part ends: one backward pass through it instead of T.
            Defaults to `"parameters"`.
        every: The weights are computed each `every`-th step, and when a task comes back that was
            absent then, and kept in between. Where a task is absent in between, weights with the
            scale of a mean are shared by the others in proportion (equally if theirs are all zero;
            if one is negative, they stay as they are). Defaults to 1.
        groups: Groups of the shared variables, each with a Gramian and weights of its own.
            `"layers"` makes each layer one. A dict from names to lists of regular expressions,
            which are searched in the variables' paths, makes those and one of all other variables.
            At parameters level only. Defaults to `None`, all variables together.

    Example:
    ```python
    import keras
    import numpy as np
    from mtlzoo.balancing import GradientBalancer

    @keras.saving.register_keras_serializable(package="my_project")
    class UnitGradients(GradientBalancer):
        def _weights(self, gramian, losses, present):  # every task's gradient, scaled to length one
            return keras.ops.rsqrt(keras.ops.diagonal(gramian, axis1=-2, axis2=-1))

    UnitGradients().weights(np.diag([4.0, 1.0]))  # array([0.5, 1. ])
    ```
    """

    needs = frozenset({"gramian"})
    # Whether the weights have the scale of a mean of the tasks, or that of their sum. It decides
    # what equal weights are: 1/T or 1.
    averages: bool = False

    def __init__(
        self,
        *,
        wrt: str = "parameters",
        every: int = 1,
        groups: str | Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        check_level(wrt)
        _check_groups(groups)
        if groups is not None and wrt != "parameters":
            raise ValueError(
                "`groups` should be None with `wrt='features'`, where there is one pass through "
                f"all shared variables. Received: `groups={groups!r}`"
            )
        self.wrt = wrt
        self.every = check_count("every", every)
        self.groups = groups if isinstance(groups, str | None) else dict(groups)
        self.group_names: tuple[str, ...] = ()
        self._group_of: dict[int, int] = {}

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes of weights and state: `(number of groups,)`, or none."""
        return () if self.groups is None else (max(1, len(self.group_names)),)

    def keeps(self, variables: Sequence[keras.Variable]) -> bool:
        """Whether the groups have the same names as last time.

        Args:
            variables: Those of `build`.
        """
        same = self.groups is None or self._sorted(variables)[0] == self.group_names
        return same and super().keeps(variables)

    def see_variables(self, variables: Sequence[keras.Variable]) -> None:
        """Sorts the shared variables into groups.

        Args:
            variables: Those of `build`.

        Raises:
            ValueError: If an expression finds no variable, or two groups find the same.
        """
        if self.groups is not None:
            self.group_names, self._group_of = self._sorted(variables)

    @property
    def learned(self) -> dict[str, keras.Variable]:
        """What the method itself remembers, by variable name."""
        return {n: v for n, v in self._variables.items() if n not in _OF_THE_STEP}

    def group_of(self, variable: keras.Variable) -> int:
        """The place of a shared variable's group among `group_names`."""
        return 0 if self.groups is None else self._group_of[id(variable)]

    def _sorted(self, variables: Sequence[keras.Variable]) -> tuple[tuple[str, ...], dict]:
        if isinstance(self.groups, Mapping):
            found = _found(self.groups, variables)
            names = tuple(n for n in [*self.groups, REST] if n in found.values())
        else:
            found = {id(v): v.path.rpartition("/")[0] for v in variables}
            names = tuple(dict.fromkeys(found.values()))
        return names, {key: names.index(name) for key, name in found.items()}

    def _create_kept(self) -> None:
        if self.every > 1:  # which tasks were present when the weights were computed, as 0 or 1
            self.refreshed = self.add_variable("refreshed", (len(self.task_names),), "zeros")

    @property
    def gradient_part(self) -> GradientBalancer:
        """This method."""
        return self

    def weights(self, gramian: Any, losses: Any = None, present: Any = None) -> Any:
        """The tasks' weights.

        Works before `build` too, on a NumPy array or a tensor. One task alone, or one present, gets
        weight 1. Weights that cannot be made finite are replaced by equal ones.

        Args:
            gramian: (..., T, T) inner products of the task gradients, float32 or float64.
            losses: (..., T) losses, for methods whose `needs` has `"losses"`.
            present: (T,) or (..., T) booleans; None where all tasks are present. Absent tasks are
                left out: they get weight 0, and equal weights are shared among the others.

        Returns:
            (..., T) weights in the precision of `gramian`, NumPy for NumPy.

        Raises:
            ValueError: If a shape or the dtype does not fit.
        """
        is_numpy = not ops.is_tensor(gramian) and not isinstance(gramian, keras.Variable)
        if is_numpy:
            gramian = _to_array(gramian)
        weights, _ = self.advance(gramian, losses, present)
        return ops.convert_to_numpy(weights) if is_numpy else weights

    def advance(
        self, gramian: Any, losses: Any = None, present: Any = None
    ) -> tuple[Any, dict[str, Any]]:
        """The tasks' weights, and what the method remembers of this step.

        Args:
            gramian: See `weights`, as the next.
            losses: See `weights`.
            present: See `weights`.

        Returns:
            The weights, a tensor, and values by variable name. A value that is not finite leaves
            the variable as it is, and so does a step with fewer than two tasks; with `groups`, that
            of a group with fewer stays.
        """
        gramian = ops.convert_to_tensor(gramian)
        self._check_gramian(gramian)
        dtype, shape = gramian.dtype, tuple(gramian.shape[:-1])
        if losses is not None:
            losses = ops.cast(to_numbers("losses", losses), dtype)
            check_task_axis("losses", losses.shape, shape[-1])
        elif "losses" in self.needs:
            raise ValueError(
                f"`losses` should be given to `{type(self).__name__}`. Received: `losses=None`"
            )
        present = self._present(present, shape)

        finite = ops.isfinite(gramian)
        usable = ops.diagonal(finite, axis1=-2, axis2=-1)
        if present is not None:
            usable = ops.logical_and(usable, present)
        pairs = ops.logical_and(usable[..., :, None], usable[..., None, :])
        gramian = ops.where(ops.logical_and(pairs, finite), gramian, 0.0)
        ones = ops.cast(usable, dtype)
        count = ops.sum(ones, axis=-1, keepdims=True)
        equal = ones / ops.maximum(count, 1.0) if self.averages else ones
        old = self.learned
        state = {n: ops.convert_to_tensor(v) for n, v in old.items()}
        if shape[-1] == 1:
            return equal, state
        weights, found = self._advance(gramian, losses, usable)
        solved = ops.all(ops.isfinite(weights), axis=-1, keepdims=True)
        weights = ops.where(ops.logical_and(solved, count > 1.0), weights * ones, equal)
        learns = count > 1.0
        for name, value in found.items():
            enough = ops.all(learns)
            if self.lead:
                enough = ops.reshape(learns, (*self.lead, *(1 for _ in value.shape[1:])))
            sound = ops.logical_and(enough, ops.all(ops.isfinite(value)))
            state[name] = ops.where(sound, ops.cast(value, old[name].dtype), state[name])
        return weights, state

    def _advance(self, gramian: Any, losses: Any, present: Any) -> tuple[Any, dict[str, Any]]:
        """The weights, and what a method that remembers something makes of its variables."""
        return self._weights(gramian, losses, present), {}

    def _weights(self, gramian: Any, losses: Any, present: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} should define `_weights`.")

    def _check_gramian(self, gramian: Any) -> None:
        shape = tuple(gramian.shape)
        if len(shape) < 2 or shape[-1] is None or shape[-1] != shape[-2] or shape[-1] == 0:
            raise ValueError(
                "`gramian` should have the shape (..., T, T), with T known and at least 1. "
                f"Received: `gramian.shape={shape}`"
            )
        if self.built and shape[-1] != len(self.task_names):
            raise ValueError(
                f"`gramian` should have one row for each of the tasks {list(self.task_names)}. "
                f"Received: `gramian.shape={shape}`"
            )
        dtype = keras.backend.standardize_dtype(gramian.dtype)
        if dtype not in ("float32", "float64"):
            raise ValueError(
                f"`gramian` should be float32 or float64. Received: `gramian.dtype={dtype}`"
            )

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {"wrt": self.wrt, "every": self.every, "groups": self.groups}


def _check_groups(groups: Any) -> None:
    if groups is None or groups == "layers":
        return
    if isinstance(groups, Mapping) and groups and REST not in groups:
        lists = list(groups.values())
        if all(isinstance(g, list | tuple) and all(isinstance(e, str) for e in g) for g in lists):
            return
    raise ValueError(
        "`groups` should be None, 'layers', or a dict from names (other than 'rest') to lists of "
        f"regular expressions. Received: `groups={groups!r}`"
    )


def _found(groups: Mapping[str, Sequence[str]], variables: Sequence[Any]) -> dict[int, str]:
    """The name of each variable's group."""
    found: dict[int, str] = {}
    for name, expressions in groups.items():
        for expression in expressions:
            matches = [v for v in variables if re.search(expression, v.path)]
            if not matches and variables:
                raise ValueError(
                    f"`groups[{name!r}]` should find shared variables. Received: {expression!r}, "
                    f"which is in none of the paths {[v.path for v in variables]}"
                )
            for variable in matches:
                if found.setdefault(id(variable), name) != name:
                    raise ValueError(
                        f"`groups` should find each variable once. Received: `{variable.path}`, "
                        f"found by {found[id(variable)]!r} and {name!r}"
                    )
    return {id(v): found.get(id(v), REST) for v in variables}


def _to_array(gramian: Any) -> Any:
    try:
        array = np.asarray(gramian)
    except ValueError:  # rows of different lengths
        array = None
    if array is None or array.dtype == object:
        raise ValueError(f"`gramian` should be a square array. Received: `gramian={gramian!r}`")
    return array
