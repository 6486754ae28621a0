"""Gramians that are looked at, and that the balancer does not make itself."""

from dataclasses import replace
from typing import Any

import tensorflow as tf

from mtlzoo.gradients.recording import (
    Recording,
    Tensors,
    Update,
    Variables,
    replica_count,
    replica_sum,
    sums_slices,
    task_rows,
)
from mtlzoo.gramian import columns, dense, products, summed


def columns_of(rows: list[Tensors]) -> list:
    """The gradients by variable, with tables as slices where these can be summed over replicas.

    Args:
        rows: T lists, the gradients of each task by all variables.
    """
    if replica_count() > 1 and not sums_slices():
        rows = [[dense(g) for g in row] for row in rows]
    return columns(rows)


def over_replicas(found: list) -> list:
    """The gradients of the global batch, from this replica's shares of them.

    Args:
        found: those by each variable.
    """
    return tf.nest.pack_sequence_as(found, replica_sum(tf.nest.flatten(found)))


def unmade(like: tf.Tensor) -> tf.Tensor:
    """What stands for a Gramian of a step that made none: no Gramian has a negative diagonal.

    Args:
        like: `(T,)`.
    """
    return -tf.ones([like.shape[0]] * 2, like.dtype)


def of_groups(
    parts: list[tf.Tensor | None],
    recording: Recording,
    variables: Variables,
    scale: tf.Tensor | None,
) -> dict[str, Any]:
    """The Gramians that are wanted, as attributes of an `Update`.

    Args:
        parts: what each shared variable adds, in the global batch.
        recording: the forward pass.
        variables: those of the step.
        scale: the loss scale that the gradients carry, or `None`.
    """
    of = {id(variable): part for variable, part in zip(variables.shared, parts, strict=True)}

    def unscaled(chosen):
        total = summed(chosen)
        if total is None:  # no task depends on any of them
            return tf.zeros_like(unmade(recording.losses))
        return without_scale(total, recording, scale)

    found: dict[str, Any] = {
        "gramians": [unscaled([of[id(v)] for v in group]) for group in variables.groups]
    }
    if variables.measured:
        found["gramian"] = unscaled(parts)
    return found


def without_scale(total: tf.Tensor, recording: Recording, scale: tf.Tensor | None) -> tf.Tensor:
    """A Gramian in the precision of the losses, without their scale."""
    if scale is not None:
        total = total / tf.cast(scale, total.dtype) ** 2
    return tf.cast(total, recording.losses.dtype)


def measured(
    update: Update,
    recording: Recording,
    variables: Variables,
    scale: tf.Tensor | None,
    look: tf.Tensor | bool,
    with_factors: bool,
) -> Update:
    """The update with the Gramians that are wanted of it.

    Where the method makes none, T backward passes of their own do.

    Args:
        update: what the method found.
        recording: the forward pass.
        variables: those of the step.
        scale: the loss scale of mixed precision, or `None`.
        look: bool, whether such passes are wanted in this step; Python's on several replicas, where
            no branch may hold their sums.
        with_factors: whether the gradients are those of the losses times what a loss balancer
            makes of them: where another balancer comes after it.
    """
    complete = len(update.gramians) == len(variables.groups)
    if complete and (update.gramian is not None or not variables.measured):
        return update

    def passes():
        seen = recording if with_factors else replace(recording, factors=None)
        rows, _ = task_rows(seen, variables.shared, [[] for _ in recording.shares], scale)
        found = over_replicas(columns_of(rows))
        return of_groups([products(column) for column in found], recording, variables, scale)

    def none():
        nothing = unmade(recording.losses)
        found: dict[str, Any] = {"gramians": [nothing] * len(variables.groups)}
        return found | ({"gramian": nothing} if variables.measured else {})

    if isinstance(look, bool):
        return replace(update, **(passes() if look else none()))
    return replace(update, **tf.cond(look, passes, none))
