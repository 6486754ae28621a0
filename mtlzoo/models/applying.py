"""The update of a training step: one `optimizer.apply`, and what must not have moved put back."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from mtlzoo import gradients
from mtlzoo.models import optimizers
from mtlzoo.models.failures import read, unless
from mtlzoo.models.graph import Ownership
from mtlzoo.models.optimizer_slots import OptimizerSlots
from mtlzoo.models.rows import Rows


class Applying:
    """Applies the gradients of a step.

    Args:
        optimizer: the model's optimizer, built.
        names: the tasks, in order.
        rows: which of them are balanced as one.
        readers: which tasks depend on each variable.
        slots: what the optimizer keeps for each variable.
        guard: see `MultiTaskModel.compile`.
        seen: variable `(T,)`, which tasks were present since the last update, for gradient
            accumulation.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        names: Sequence[str],
        rows: Rows,
        readers: Ownership,
        slots: OptimizerSlots,
        guard: str | None,
        seen: keras.Variable,
    ) -> None:
        self.optimizer, self.slots = optimizer, slots
        self.names, self.rows, self.readers = names, rows, readers
        self.guard, self.seen = guard, seen
        # Whether a step moves something of variables without a gradient: averages of weights, and
        # what was accumulated before.
        self.moves_all = optimizers.moves_all(optimizer)

    def __call__(
        self,
        update: gradients.Update,
        variables: gradients.Variables,
        ok: tf.Tensor,
        present: tf.Tensor,
        scale: tf.Tensor | None,
        selected: np.ndarray,
    ) -> tf.Tensor:
        """Update the model, but for what must stay.

        Args:
            update: the gradients of `variables`.
            variables: those of the selected tasks.
            ok: whether the step did not fail.
            present: `(T,)` bool, the tasks that have labels.
            scale: the loss scale, or `None`.
            selected: `(T,)` bool, the tasks that were computed.

        Returns:
            Whether the optimizer did update.
        """
        optimizer = self.optimizer
        targets = variables.all()
        grads = update.gradients
        if self.moves_all:
            grads = [self._or_zeros(g, v) for g, v in zip(grads, targets, strict=True)]
        replicas = gradients.replica_count()
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        accumulates = optimizers.accumulates(optimizer)
        if accumulates:  # what was accumulated is for the tasks seen since the last update
            present = present | read(self.seen)
        may_wait = accumulates or optimizers.scales_dynamically(optimizer)
        updates = tf.convert_to_tensor(inner.iterations) if may_wait else None
        guarded = self._guarded(variables, ok, present)
        # What belongs to tasks that were not computed is not moved, and so not guarded.
        moves_more = self.moves_all or variables.balancer
        still = present if moves_more else present | tf.constant(~selected)
        complete = tf.logical_and(ok, tf.reduce_all(still))
        before = [read(v) for v, _ in guarded]
        if gradients.may_branch():
            # Nothing at all happens in a failed step.
            tf.cond(ok, lambda: _apply(optimizer, grads, targets), lambda: tf.constant(False))
        else:
            if optimizers.needs_global_gradients(optimizer):
                grads = gradients.replica_sum(grads)
                grads = optimizers.exact_clip(grads, targets, optimizer, scale)
                grads = [g if g is None else g / replicas for g in grads]
            grads = [g if g is None else tf.where(ok, g, tf.zeros_like(g)) for g in grads]
            _apply(optimizer, grads, targets)
        unless(complete, lambda: put_back(guarded, before))
        updated = ok if updates is None else tf.convert_to_tensor(inner.iterations) != updates
        if accumulates:
            self.seen.assign(present & ~updated)
        return updated

    def _or_zeros(self, gradient, variable):
        if gradient is None and self.readers.of(variable):
            return tf.zeros(variable.shape, variable.dtype)
        return gradient

    def _guarded(self, variables: gradients.Variables, ok, present):
        """What must be put back after the update, and whether the update is to be kept."""
        flags = dict(zip(self.names, tf.unstack(present), strict=True))
        guarded = []
        owned = [v for own in variables.owned for v in own]
        for i, variable in enumerate([*owned, *variables.shared]):
            tasks = self.readers.of(variable)
            keep = ok if self.guard == "all" and not gradients.may_branch() else None
            if i < len(owned) or 0 < len(tasks) < len(flags):  # whose tasks may all be absent
                here = [flags[name] for name in sorted(tasks)]
                keep = tf.logical_and(ok, tf.reduce_any(tf.stack(here)))
            if keep is not None:
                guarded += [(v, keep) for v in [variable, *self.slots.of(variable)]]
        of_rows = self.rows.any(present)
        for variable in variables.balancer:  # their first axis is that of the rows
            for v in [variable, *self.slots.of(variable)]:
                keep = ok
                if v.shape == variable.shape:
                    rank = len(v.shape)
                    keep = tf.logical_and(ok, tf.reshape(of_rows, [-1] + [1] * (rank - 1)))
                guarded.append((v, keep))
        return guarded


def put_back(
    guarded: Sequence[tuple[keras.Variable, tf.Tensor]], before: Sequence[tf.Tensor]
) -> None:
    """Give each variable its old value where it was not to be changed.

    Args:
        guarded: variables, each with whether its change is to be kept.
        before: their old values.
    """
    for (variable, keep), old in zip(guarded, before, strict=True):
        variable.assign(tf.where(keep, read(variable), old))


def _apply(optimizer, grads, variables):
    optimizer.apply(grads, variables)
    return tf.constant(True)
