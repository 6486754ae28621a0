"""What is kept of the Gramians of an epoch's steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtlzoo.layers.arguments import check_count
from mtlzoo.models.failures import read, step_state
from mtlzoo.models.graph import Ownership
from mtlzoo.models.rows import Rows

SHARED = "shared"  # all shared variables together
LEVELS = (None, SHARED, "groups")


@dataclass(frozen=True)
class GramianSums:
    """Sums over the steps of which a Gramian was measured, for K groups of variables and T tasks.

    Differences of such sums are those of the steps in between.

    Attributes:
        steps: (K, T) steps in which the task had a finite gradient.
        zeros: (K, T) those in which it was exactly zero.
        faults: (K, T) steps in which it was not finite.
        squares: (K, T) sums of squared norms, of the losses times their loss weights.
        pairs: (K, T, T) steps in which both tasks had a gradient other than zero.
        products: (K, T, T) sums of cosines.
        negative: (K, T, T) steps with a negative cosine.
        likeness: (K, T, T) sums of gradient magnitude similarities.
    """

    steps: np.ndarray
    zeros: np.ndarray
    faults: np.ndarray
    squares: np.ndarray
    pairs: np.ndarray
    products: np.ndarray
    negative: np.ndarray
    likeness: np.ndarray

    def __sub__(self, other: "GramianSums") -> "GramianSums":
        return self._with(other, np.subtract)

    def __add__(self, other: "GramianSums") -> "GramianSums":
        return self._with(other, np.add)

    def _with(self, other, operation):
        names = [field.name for field in fields(self)]
        return GramianSums(*(operation(getattr(self, n), getattr(other, n)) for n in names))

    @property
    def cosines(self) -> np.ndarray:
        """(K, T, T) mean cosines; NaN where a pair was never seen, as in the next two."""
        return _ratio(self.products, self.pairs)

    @property
    def conflicts(self) -> np.ndarray:
        """(K, T, T) shares of steps in which the gradients point apart."""
        return _ratio(self.negative, self.pairs)

    @property
    def magnitude_similarities(self) -> np.ndarray:
        """(K, T, T) means of 2 |g| |h| / (|g|² + |h|²), which is 1 for equal norms."""
        return _ratio(self.likeness, self.pairs)

    @property
    def norms(self) -> np.ndarray:
        """(K, T) root mean squares of the norms."""
        return np.sqrt(_ratio(self.squares, self.steps))


def _ratio(total, count):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, total / count, np.nan)


class GramianRecord:
    """Running sums of the Gramians of an epoch, kept in variables.

    Args:
        names: the names of the T rows of a Gramian.
        shared: the shared variables.
        groups: the groups of them that are looked at apart, by name; none for all together.
        ownership: who owns which variable.
        every: which steps are looked at where the balancer makes no Gramian.

    Attributes:
        names: those of the rows.
        groups: the names of the K groups, `"shared"`, all of them together, first.
        shared: the shared variables.
        variables_of: those of the other groups.
        reached: (K, T) bool, whether the loss of a row depends on a group.
    """

    def __init__(
        self,
        names: Sequence[str],
        shared: Sequence[keras.Variable],
        groups: Mapping[str, list[keras.Variable]],
        ownership: Ownership,
        every: int,
    ) -> None:
        self.names = tuple(names)
        self.groups = (SHARED, *groups)
        self.every = every
        self.shared, self.variables_of = list(shared), list(groups.values())
        everything = [self.shared, *self.variables_of]
        tasks_of = [set().union(*(ownership.of(v) for v in group)) for group in everything]
        self.reached = np.array([[name in tasks for name in names] for tasks in tasks_of])
        shape = (len(self.groups), len(names))
        # Half precision would count up to 2048.
        dtype = "float64" if keras.backend.floatx() == "float64" else "float32"
        self.of_tasks = step_state("gramian_tasks", (4, *shape), dtype, "zeros")
        self.of_pairs = step_state("gramian_pairs", (4, *shape, len(names)), dtype, "zeros")
        # Whether a step that is being traced for several replicas looks at all.
        self.looks = True

    @property
    def variables(self) -> list[keras.Variable]:
        """Those that hold the sums."""
        return [self.of_tasks, self.of_pairs]

    def looks_at(self, step: Any) -> Any:
        """Whether a step is looked at if the balancer makes no Gramian.

        Args:
            step: its number, a scalar.
        """
        return tf.equal(step % self.every, 0)

    def observe(self, gramian: Any, of_groups: Sequence[Any], present: Any) -> None:
        """Add the Gramians of a step.

        Args:
            gramian: (T, T), that of all shared variables; `None` for the sum of the groups'.
            of_groups: (T, T) for each of the groups; of a step that made none, below zero.
            present: (T,) bool, the rows that are to be looked at.
        """
        total = tf.add_n(of_groups) if gramian is None else gramian
        dtype = self.of_tasks.dtype
        matrices = tf.cast(tf.stack([total, *of_groups]), dtype)
        squares = tf.linalg.diag_part(matrices)
        here = present[None, :] & tf.constant(self.reached) & ~(squares[:1, :1] < 0)
        sound = here & tf.math.is_finite(squares)
        squares = tf.where(sound, squares, 0.0)
        nonzero = squares > 0
        of_tasks = [sound, sound & ~nonzero, here & ~sound]
        of_tasks = [*(tf.cast(flags, dtype) for flags in of_tasks), squares]
        self._add(self.of_tasks, of_tasks)
        pairs = nonzero[:, :, None] & nonzero[:, None, :]
        norms = tf.sqrt(tf.where(nonzero, squares, 1.0))
        first, second = norms[:, :, None], norms[:, None, :]
        cosines = tf.where(pairs, matrices, 0.0) / first / second
        likeness = 2 / (first / second + second / first)
        of_pairs = [tf.ones_like(cosines), cosines, tf.cast(cosines < 0, dtype), likeness]
        self._add(self.of_pairs, [tf.where(pairs, each, 0.0) for each in of_pairs])

    @staticmethod
    def _add(variable, values):
        variable.assign(read(variable) + tf.stack(values))

    def sums(self) -> GramianSums:
        """What is known of the present epoch; host side."""
        of_tasks, of_pairs = map(keras.ops.convert_to_numpy, self.variables)
        return GramianSums(*of_tasks.astype("float64"), *of_pairs.astype("float64"))

    def reset(self) -> None:
        """Begin a new epoch; host side."""
        for variable in self.variables:
            variable.assign(keras.ops.zeros_like(variable))


def by_layer(
    model: keras.Model, variables: Sequence[keras.Variable]
) -> dict[str, list[keras.Variable]]:
    """The variables by the path of their layer, in the order in which they are created.

    Layers of two models inside may have the same path; the second is then named `"path (2)"`.

    Args:
        model: the model.
        variables: the shared ones.
    """
    wanted = {id(v) for v in variables}
    layers = [layer for layer in model._flatten_layers() if layer._trainable_variables]
    own = {id(la): [v for v in la._trainable_variables if id(v) in wanted] for la in layers}
    layers = [layer for layer in layers if own[id(layer)]]
    paths = [own[id(layer)][0].path.rpartition("/")[0] for layer in layers]
    named = zip(told_apart(paths), layers, strict=True)
    found = {name: own[id(layer)] for name, layer in named}
    order = {id(v): place for place, v in enumerate(variables)}
    return dict(sorted(found.items(), key=lambda item: order[id(item[1][0])]))


def told_apart(names: Sequence[str]) -> list[str]:
    """The same names, the second of equal ones with " (2)" behind it, and so on.

    Args:
        names: any.
    """
    count: dict[str, int] = {}
    found = []
    for name in names:
        count[name] = count.get(name, 0) + 1
        found.append(name if count[name] == 1 else f"{name} ({count[name]})")
    return found


def made(
    model: Any, rows: Rows, ownership: Ownership, level: Any, every: Any
) -> GramianRecord | None:
    """The record of a model that is compiled, or `None` if none is wanted.

    Args:
        model: the model.
        rows: which of its tasks are balanced as one.
        ownership: who owns which variable.
        level: `track_gramian` of `compile`.
        every: `track_every` of `compile`.

    Raises:
        ValueError: for unknown arguments, or where no two tasks share a variable.
    """
    every = check_count("track_every", every)
    if not isinstance(level, str | None) or level not in LEVELS:
        raise ValueError(
            f"`track_gramian` should be one of {list(LEVELS)}. Received: track_gramian={level!r}"
        )
    if level is None:
        return None
    shared = model.shared_variables
    if len(rows.names) < 2 or not any(len(ownership.of(v)) > 1 for v in shared):
        raise ValueError(
            "`track_gramian` should be None for a model in which no two tasks share a trainable "
            "variable, since there no gradients can be compared: compare representations instead "
            f"(`mtlzoo.analysis.representation_similarity`). Received: track_gramian={level!r} for "
            f"the tasks {list(rows.names)}"
        )
    groups = {} if level == SHARED else by_layer(model, shared)
    return GramianRecord(rows.names, shared, groups, ownership, every)
