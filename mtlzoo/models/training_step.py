"""The one training step of every multi-task model."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from mtlzoo import gradients
from mtlzoo.balancing import Balancer
from mtlzoo.layers.positions import with_mask
from mtlzoo.models import compile_checks, optimizers, replica_losses
from mtlzoo.models.graph import Ownership, Split
from mtlzoo.models.objectives import Objectives, TaskBatch
from mtlzoo.models.optimizer_slots import OptimizerSlots

# What may go wrong with a task in a step. The first failure stays until it is reported.
NOTHING, NON_FINITE_LOSS, ILLEGAL_LABEL, NON_FINITE_GRADIENT = range(4)
# How far apart losses may be at the start without a warning.
FAR_APART = 100


class TrainingStep:
    """Forward once, T masked losses, balance, apply once, keep what must not move.

    Args:
        model: the compiled model.
        objectives: its losses and metrics.
        balancer: its balancer, built.
        ownership: who owns which variable.
        slots: what the optimizer keeps for each variable.
        split: the model cut at its boundary, for balancing at features level, else `None`.
        guard: `None` or `"all"`, see `MultiTaskModel.compile`.
    """

    def __init__(
        self,
        model: keras.Model,
        objectives: Objectives,
        balancer: Balancer,
        ownership: Ownership,
        slots: OptimizerSlots,
        split: Split | None,
        guard: str | None,
    ) -> None:
        self.model = model
        self.objectives = objectives
        self.balancer = balancer
        self.ownership = ownership
        self.slots = slots
        self.split = split
        self.guard = guard
        self.initial_losses: dict[str, float] = {}
        count = len(objectives.names)
        self.failure = _state("failure", (count,), "int32", "zeros")
        self.offender = _state("offender", (count,), "float32", "zeros")
        self.mask = _state("task_mask", (count,), "bool", "ones")
        # Which tasks were present since the last update, for gradient accumulation.
        self.seen = _state("seen", (count,), "bool", "zeros")

    # -- one step ---------------------------------------------------------------------------

    def train(self, x: Any, y: Any, sample_weight: Any) -> None:
        """Train on one batch; the metrics are updated."""
        rows = _batch_size(x)
        batches = self._batches(y, sample_weight, rows)
        counts, illegal, part = self._count(batches, rows)
        present = counts > 0
        statistics = self._statistics()
        before = [_read(v) for v, _ in statistics]
        outputs = {}

        def compute(watch):
            outputs.update(self._forward(x, watch))
            added = replica_losses.share_of_added(self.model, part)
            return self._shares(batches, outputs, counts, present), added

        recording = gradients.record(compute, present, self.objectives.loss_weights)
        scale = optimizers.loss_scale(self.model.optimizer)
        due = self._due(present)
        slices = gradients.replica_count() == 1 and optimizers.takes_slices(self.model.optimizer)
        update = gradients.balanced(recording, self._variables(), self.balancer, scale, due, slices)
        ok = self._check(recording, update, illegal, batches)
        self._apply(update, ok, present, scale)
        complete = tf.logical_and(ok, tf.reduce_all(present))
        flags = tf.unstack(present)
        moved = [(v, ok if i is None else ok & flags[i]) for v, i in statistics]
        _unless(complete, lambda: _put_back(moved, before))
        # Weights out of an overflow, which the optimizer passes over, are not kept.
        sound = ok if update.finite is None else ok & tf.reduce_all(update.finite)
        if due is not None:
            refreshed = self.balancer.gradient_part.refreshed
            new = tf.cast(present & sound, refreshed.dtype)
            refreshed.assign(tf.where(due & ok, new, _read(refreshed)))
        step = self.balancer.step
        step.assign(_read(step) + tf.cast(ok, _read(step).dtype))
        self._remember(update.state, sound)
        if update.gramians:
            self.model.observe_gramians(update.gramians, present & ok)
        self._log(recording.unweighted, recording.losses, recording.extra, rows, part)
        self.objectives.update_metrics(
            batches, outputs, recording.unweighted, self._parts(counts, present)
        )

    def _remember(self, values, sound):
        """Keep what the balancer made of its state, if the step was one."""
        state = self.balancer.state
        for name, value in values.items():
            old = _read(state[name])
            state[name].assign(tf.where(sound, tf.cast(value, old.dtype), old))

    def test(self, x: Any, y: Any, sample_weight: Any) -> None:
        """Evaluate one batch; the metrics are updated."""
        rows = _batch_size(x)
        batches = self._batches(y, sample_weight, rows)
        counts, illegal, part = self._count(batches, rows)
        outputs = self.model(x, training=False)
        extra = replica_losses.share_of_added(self.model, part)
        present = counts > 0
        shares = self._shares(batches, outputs, counts, present)
        (losses,) = gradients.replica_sum([tf.stack(shares)])
        code = tf.where(illegal > 0, ILLEGAL_LABEL, NOTHING)
        _unless(tf.reduce_all(illegal <= 0), lambda: self._report(code, losses, batches))
        weighted = losses
        if self.objectives.loss_weights is not None:
            weighted = losses * tf.constant(self.objectives.loss_weights, losses.dtype)
        self._log(losses, weighted, extra, rows, part)
        self.objectives.update_metrics(batches, outputs, losses, self._parts(counts, present))

    @staticmethod
    def _parts(counts, present):
        """This replica's part of the labels of the tasks that take part."""
        return tf.where(present, counts / gradients.replica_count(), tf.zeros_like(counts))

    # -- its parts --------------------------------------------------------------------------

    def _batches(self, y, sample_weight, rows):
        """The labels by task; none of tasks that are switched off, not even wrong ones."""
        batches = self.objectives.read(y, sample_weight, rows)
        active = tf.unstack(_read(self.mask))
        return {n: batch.masked(on) for (n, batch), on in zip(batches.items(), active, strict=True)}

    def _count(self, batches: dict[str, TaskBatch], rows: tf.Tensor):
        """The labels that take part, and the illegal ones, in the global batch, `(T,)` each; and
        what part of its rows are this replica's.
        """
        masks = [b.present for b in batches.values()] + [b.invalid for b in batches.values()]
        if all(len(mask.shape) == 1 for mask in masks):
            totals = tf.reduce_sum(tf.cast(tf.stack(masks), keras.backend.floatx()), axis=1)
        else:
            totals = tf.stack(
                [tf.math.count_nonzero(m, dtype=keras.backend.floatx()) for m in masks]
            )
        rows = tf.cast(rows, totals.dtype)
        totals, all_rows = gradients.replica_sum([totals, rows])
        counts, illegal = tf.unstack(tf.reshape(totals, [2, -1]))
        return counts, illegal, rows / all_rows

    def _due(self, present):
        """Whether the weights must be computed anew: each k-th step, and when a task comes back."""
        every = self.balancer.every
        if every == 1:
            return None
        new = tf.reduce_any(present & (_read(self.balancer.gradient_part.refreshed) == 0))
        return tf.equal(_read(self.balancer.step) % every, 0) | new

    def _shares(self, batches, outputs, counts, present):
        shares = []
        divisors = tf.unstack(tf.maximum(counts, 1))
        for (name, batch), n, here in zip(
            batches.items(), divisors, tf.unstack(present), strict=True
        ):
            share = self.objectives.loss_share(name, batch, outputs[name], n)
            shares.append(tf.where(here, share, tf.zeros_like(share)))
        dtype = "float64" if any(s.dtype == tf.float64 for s in shares) else "float32"
        return [tf.cast(s, dtype) for s in shares]

    def _forward(self, x, watch: Callable):
        if self.split is None:
            return self.model(x, training=True)
        ends = self.split.trunk(x, training=True)
        ends = ends if isinstance(ends, list | tuple) else [ends]
        copies = []
        for end, watched in zip(ends, self.split.watched, strict=True):
            copies.append(with_mask(watch(end), end) if watched else end)
        return self.split.heads(copies, training=True)

    def _variables(self) -> gradients.Variables:
        model = self.model
        of_balancer = {id(v) for v in self.balancer.trainable_variables}
        of_model = [v for v in model.trained_variables if id(v) not in of_balancer]
        return gradients.Variables(
            self.ownership.shared(of_model),
            [self.ownership.owned_by(name, of_model) for name in self.objectives.names],
            list(self.balancer.trainable_variables),
            compile_checks.measured_groups(model),
        )

    def _statistics(self):
        """State that the forward pass itself moves, such as moving averages of BatchNorm, each
        with the index of the task that owns it or `None`.
        """
        names = self.objectives.names
        found = {}
        for layer in self.model._flatten_layers(include_self=False):
            if not layer.trainable:
                continue
            for variable in layer._non_trainable_variables:
                tasks = self.ownership.tasks_of.get(id(variable))
                if tasks is not None and keras.backend.is_float_dtype(variable.dtype):
                    owner = names.index(next(iter(tasks))) if len(tasks) == 1 else None
                    found[id(variable)] = (variable, owner)
        return list(found.values())

    def _apply(self, update: gradients.Update, ok, present, scale) -> None:
        optimizer, variables = self.model.optimizer, self._variables()
        replicas = gradients.replica_count()
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        accumulates = bool(getattr(inner, "gradient_accumulation_steps", None))
        if accumulates:  # what was accumulated is for the tasks seen since the last update
            present = present | _read(self.seen)
            updates = tf.convert_to_tensor(inner.iterations)
        guarded = self._guarded(variables, ok, present, replicas)
        complete = tf.logical_and(ok, tf.reduce_all(present))
        before = [_read(v) for v, _ in guarded]
        grads = update.gradients
        targets = variables.all()
        if replicas == 1:
            # Nothing at all happens in a failed step.
            tf.cond(ok, lambda: _apply(optimizer, grads, targets), lambda: tf.constant(False))
        else:
            if optimizers.needs_global_gradients(optimizer):
                grads = gradients.replica_sum(grads)
                grads = optimizers.exact_clip(grads, targets, optimizer, scale)
                grads = [g if g is None else g / replicas for g in grads]
            grads = [g if g is None else tf.where(ok, g, tf.zeros_like(g)) for g in grads]
            _apply(optimizer, grads, targets)
        _unless(complete, lambda: _put_back(guarded, before))
        if accumulates:
            updated = tf.convert_to_tensor(inner.iterations) != updates
            self.seen.assign(present & ~updated)

    def _guarded(self, variables: gradients.Variables, ok, present, replicas: int):
        """What must be put back after the update, and whether the update is to be kept."""
        keeps = tf.unstack(tf.logical_and(ok, present))
        guarded = [
            (v, keep)
            for own, keep in zip(variables.owned, keeps, strict=True)
            for owned in own
            for v in [owned, *self.slots.of(owned)]
        ]
        for variable in variables.balancer:  # their first axis is that of the tasks
            for v in [variable, *self.slots.of(variable)]:
                keep = ok
                if v.shape == variable.shape:
                    rank = len(v.shape)
                    keep = tf.logical_and(ok, tf.reshape(present, [-1] + [1] * (rank - 1)))
                guarded.append((v, keep))
        if self.guard == "all" and replicas > 1:
            guarded += [(v, ok) for r in variables.shared for v in [r, *self.slots.of(r)]]
        return guarded

    def _check(self, recording, update, illegal, batches):
        """Record what went wrong; True where nothing did, now or in an earlier step."""
        finite = tf.math.is_finite(recording.losses)
        code = tf.where(finite, NOTHING, NON_FINITE_LOSS)
        if update.finite is not None and not optimizers.scales_dynamically(self.model.optimizer):
            # There an overflow is the optimizer's to handle.
            code = tf.where(finite & ~update.finite, NON_FINITE_GRADIENT, code)
        code = tf.where(recording.present, code, NOTHING)
        code = tf.where(illegal > 0, ILLEGAL_LABEL, code)
        ok = tf.reduce_all((code == NOTHING) & (_read(self.failure) == NOTHING))
        _unless(ok, lambda: self._report(code, recording.unweighted, batches))
        return ok

    def _report(self, code, losses, batches) -> None:
        """Keep the first failure of each task until the host reads it."""
        # The label may be on some replicas only; where several have one, their mean is shown.
        found = tf.stack([_illegal_value(b) for b in batches.values()])
        has = tf.stack([tf.cast(tf.reduce_any(b.invalid), found.dtype) for b in batches.values()])
        total, having = gradients.replica_sum([tf.where(has > 0, found, 0.0), has])
        values = tf.where(code == ILLEGAL_LABEL, total / having, tf.cast(losses, "float32"))
        fresh = _read(self.failure) == NOTHING
        self.offender.assign(tf.where(fresh, values, _read(self.offender)))
        self.failure.assign(tf.where(fresh, code, _read(self.failure)))

    def _log(self, losses, weighted, extra, rows, part) -> None:
        total = tf.reduce_sum(weighted)
        if extra is not None:
            total += tf.cast(tf.math.divide_no_nan(extra, part), total.dtype)
        self.model._loss_tracker.update_state(total, sample_weight=rows)

    def report_scales(self) -> None:
        """Log the losses of the first step (or sequence of steps), with a warning if they, times
        their loss weights, are far apart.
        """
        if self.initial_losses:
            return
        losses = keras.ops.convert_to_numpy(self.objectives.tracker.result())
        self.initial_losses = dict(zip(self.objectives.names, losses.tolist(), strict=True))
        weights = self.objectives.loss_weights or [1.0] * len(losses)
        found = [abs(loss * weight) for loss, weight in zip(losses, weights, strict=True)]
        found = [loss for loss in found if loss > 0]
        text = ", ".join(f"`{name}` {loss:.3g}" for name, loss in self.initial_losses.items())
        logging.info("Losses of the tasks at the start: %s", text)
        if found and max(found) > FAR_APART * min(found):
            logging.warning(
                "The losses at the start are more than %d-fold apart: %s. The larger may drown "
                "the smaller; `loss_weights` or a balancer that corrects scales brings them "
                "together.",
                FAR_APART,
                text,
            )

    def raise_on_failure(self) -> None:
        """End the training with the task's name, if a step failed; host side."""
        failure = keras.ops.convert_to_numpy(self.failure)
        if not failure.any():
            return
        values = keras.ops.convert_to_numpy(self.offender)
        # A label explains a loss, and a loss a gradient.
        causes = [ILLEGAL_LABEL, NON_FINITE_LOSS, NON_FINITE_GRADIENT]
        index = min(failure.nonzero()[0], key=lambda i: causes.index(failure[i]))
        name, value, code = self.objectives.names[index], values[index], failure[index]
        self.failure.assign(keras.ops.zeros_like(self.failure))
        if code == ILLEGAL_LABEL:
            raise ValueError(
                f"Labels of task `{name}` should be legal labels of "
                f"{self.objectives.tasks[name]!r} or its missing value "
                f"{self.objectives.tasks[name].missing!r}. Received: a label of value {value:g}. "
                "The model was not updated with this batch."
            )
        what = "loss" if code == NON_FINITE_LOSS else "gradient"
        raise FloatingPointError(
            f"The {what} of task `{name}` is not finite (loss {value:g}). Training has stopped and "
            "its gradients were not applied; look at the task's inputs and labels, at the learning "
            "rate, or clip the gradients."
        )


def _state(name, shape, dtype, initializer):
    return keras.Variable(
        initializer=initializer,
        shape=shape,
        dtype=dtype,
        trainable=False,
        aggregation="only_first_replica",
        name=name,
    )


def _apply(optimizer, grads, variables):
    optimizer.apply(grads, variables)
    return tf.constant(True)


def _unless(condition, function: Callable) -> None:
    """Run `function` where `condition` is False.

    On several replicas it always runs, since no branch may hold what it does there; so it must
    change nothing where the condition is True.
    """
    if gradients.replica_count() > 1:
        function()
        return

    def otherwise():
        function()
        return tf.constant(True)

    tf.cond(condition, lambda: tf.constant(False), otherwise)


def _put_back(guarded, before) -> None:
    """Give each variable its old value where it was not to be changed."""
    for (variable, keep), old in zip(guarded, before, strict=True):
        variable.assign(tf.where(keep, _read(variable), old))


def _read(variable: keras.Variable):
    return tf.convert_to_tensor(variable.value)


def _illegal_value(batch: TaskBatch):
    labels = tf.cast(tf.convert_to_tensor(batch.labels), "float32")
    rank = len(batch.invalid.shape)
    labels = tf.reduce_max(labels, axis=list(range(rank, len(labels.shape))))
    if len(labels.shape) < rank:  # one cell, given without its axis
        labels = labels[:, None]
    return tf.reduce_max(tf.where(batch.invalid, labels, -float("inf")))


def _batch_size(x):
    first = next(t for t in keras.tree.flatten(x) if t is not None)
    return tf.shape(first)[0]
