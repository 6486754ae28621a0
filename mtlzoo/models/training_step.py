"""The one training step of every multi-task model."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from mtlzoo import gradients
from mtlzoo.balancing import Balancer
from mtlzoo.layers.positions import with_mask
from mtlzoo.models import (
    batch_parts,
    compile_checks,
    initial_losses,
    optimizers,
    refreshing,
    replica_losses,
)
from mtlzoo.models.applying import Applying, put_back
from mtlzoo.models.failures import Failures, read, step_state, unless
from mtlzoo.models.gramian_record import GramianRecord
from mtlzoo.models.graph import Ownership, Split, read_ownership
from mtlzoo.models.objectives import Objectives, TaskBatch
from mtlzoo.models.optimizer_slots import OptimizerSlots, update_beside_variables
from mtlzoo.models.rows import Rows
from mtlzoo.models.second_forward import SecondForward
from mtlzoo.models.selection import Selection, taking_part


class TrainingStep:
    """Forward once, T masked losses, balance, apply once, keep what must not move.

    Args:
        model: the compiled model.
        objectives: its losses and metrics.
        rows: which of its tasks are balanced as one.
        balancer: its balancer, built.
        ownership: who owns which variable.
        slots: what the optimizer keeps for each variable.
        splits: for each phase of the balancer the model cut at its boundary, for balancing at
            features level, else `None`.
        guard: `None` or `"all"`, see `MultiTaskModel.compile`.
        record: what keeps the Gramians, or `None`.
    """

    def __init__(
        self,
        model: keras.Model,
        objectives: Objectives,
        rows: Rows,
        balancer: Balancer,
        ownership: Ownership,
        slots: OptimizerSlots,
        splits: list[Split | None],
        guard: str | None,
        record: GramianRecord | None = None,
    ) -> None:
        self.model = model
        self.objectives = objectives
        self.rows = rows
        self.balancer = balancer
        self.ownership = ownership
        # Also of tasks that are balanced as one: what only one of them reads rests without it.
        self.readers = ownership if rows.are_tasks else read_ownership(model, by_row=False)
        self.slots = slots
        self.splits = splits
        self.record = record
        self.phase = balancer.phase()
        # Whether the step that is being traced keeps the weights of the tasks in any case.
        self.keeps_weights = False
        self.initial_losses: dict[str, float] = {}
        count = len(objectives.names)
        self.failures = Failures(objectives)
        self.mask = step_state("task_mask", (count,), "bool", "ones")
        self.factors = step_state("task_factors", (count,), keras.backend.floatx(), "ones")
        # What the weights of the last step were, also where others are kept; NaN before the first.
        self.weights = step_state("weights", (count,), keras.backend.floatx(), "zeros")
        self.weights.assign(keras.ops.full((count,), float("nan")))
        # Which tasks were present since the last update, for gradient accumulation.
        self.seen = step_state("seen", (count,), "bool", "zeros")
        accumulates = optimizers.accumulates(model.optimizer)
        model._balancer_state.hold_of_step({"tasks_seen": self.seen} if accumulates else {})
        self.applying = Applying(
            model.optimizer, objectives.names, rows, self.readers, slots, guard, self.seen
        )
        self._selections: dict[tuple[str, ...], Selection] = {}
        self.select(objectives.names)
        self.run_by_plan()

    @property
    def method(self) -> Balancer:
        """What balances in the present phase: the balancer, or one that it is made of."""
        return self.balancer.phases[self.phase]

    @property
    def split(self) -> Split | None:
        """The model cut at its boundary, if the method balances there."""
        return self.selection.split(self.splits[self.phase])

    def select(self, names: tuple[str, ...]) -> None:
        """Compute some of the tasks only, from the next tracing or another function on.

        Args:
            names: those of the tasks, in order; rows as a whole.
        """
        if names not in self._selections:
            self._selections[names] = Selection(self.model, names)
        self.selection = self._selections[names]

    def run_by_plan(self) -> None:
        """Run by the plan that the model has now."""
        self._selections.clear()
        self.select(self.selection.names)
        for split in self.splits:
            self.selection.split(split)  # what cannot be planned is seen now
        update_beside_variables(self.model.optimizer, self.model.plan)

    # -- one step ---------------------------------------------------------------------------

    def train(self, x: Any, y: Any, sample_weight: Any) -> None:
        """Train on one batch; the metrics are updated."""
        rows = _batch_size(x)
        active = taking_part(read(self.mask), read(self.factors), self.selection.flags)
        batches = self._batches(y, sample_weight, rows, active)
        counts, illegal, part = self._count(batches, rows)
        held_out, parts, part_counts, fractions = None, [], [], None
        if "holdout" in self.method.needs:
            batches, held_out = batch_parts.split(batches, rows, 2, read(self.method.step))
            counts, held_counts = batch_parts.label_counts([batches, held_out], counts.dtype)
        elif self.method.n_batches > 1:
            parts = batch_parts.split(batches, rows, self.method.n_batches, read(self.method.step))
            part_counts = batch_parts.label_counts(parts, counts.dtype)
            fractions = tf.stack(part_counts) / tf.maximum(counts, 1)
        present = counts > 0
        statistics = self._statistics()
        before = [read(v) for v, _ in statistics]
        again = None
        if self.method.needs & {"second_forward", "holdout"}:
            again = SecondForward(self.selection.runner())
        outputs = {}

        def compute(watch):
            outputs.update(self._forward(x, watch))
            added = replica_losses.share_of_added(self.model, part)
            shares = [self._shares(batches, outputs, counts, present)]
            for own, of_part in zip(parts, part_counts, strict=True):
                shares.append(self._shares(own, outputs, of_part, of_part > 0))
            return shares[0], added, *shares[1:]

        weights, sums = self._loss_weights(), self.rows.sums
        of_tasks = gradients.record(compute, present, weights, fractions, sums)
        recording = self.rows.merged(of_tasks)
        present = recording.present
        scale = optimizers.loss_scale(self.model.optimizer)
        due = False if self.keeps_weights else refreshing.due(self.method, present)
        slices = gradients.may_branch() and optimizers.takes_slices(self.model.optimizer)
        variables = self._variables()
        look = self._looks()
        update = gradients.balanced(recording, variables, self.method, scale, due, slices, look)
        if held_out is not None:
            unweighed = gradients.unweighed_scale(scale, update.weights, present)
            trained = gradients.task_gradients(recording, variables, unweighed)
        finite = None if update.finite is None else self.rows.spread(update.finite)
        optimizer = self.model.optimizer
        ok = self.failures.check(of_tasks, finite, illegal, batches, optimizer)
        selected = self.selection.flags
        updated = self.applying(update, variables, ok, of_tasks.present, scale, selected)
        complete = ok & tf.reduce_all(of_tasks.present | tf.constant(~selected))
        flags = tf.unstack(of_tasks.present)
        moved = [(v, ok if i is None else ok & flags[i]) for v, i in statistics]
        unless(complete, lambda: put_back(moved, before))
        # What comes out of an overflow, which the optimizer passes over, is not kept.
        sound = ok if update.finite is None else ok & tf.reduce_all(update.finite)
        if optimizers.scales_dynamically(optimizer):
            sound &= updated
        if due is not None:
            refreshed = self.method.gradient_part.refreshed
            new = tf.cast(present & sound, refreshed.dtype)
            refreshed.assign(tf.where(due & ok, new, read(refreshed)))
        step = self.method.step
        step.assign(read(step) + tf.cast(ok, read(step).dtype))
        self._remember(update.state, sound)
        shown = [(self.weights, self.rows.spread(update.weights))]
        if self.method is not self.balancer:  # files have those of the method in use
            shown.append((self.balancer.task_weights, update.weights))
        for variable, weights in shown:
            old = read(variable)
            variable.assign(tf.where(sound, tf.cast(weights, old.dtype), old))
        if "second_forward" in self.method.needs:
            self._look_back(again, x, batches, counts, recording, sound & updated)
        if held_out is not None:
            sound &= updated
            self._hold_out(
                again, x, held_out, held_counts, trained, variables, present, unweighed, sound
            )
        self._observe(update, present & ok)
        self._log(of_tasks.unweighted, of_tasks.extra, rows, part)
        parts_of_labels = self._parts(counts, of_tasks.present)
        self.objectives.update_metrics(batches, outputs, of_tasks.unweighted, parts_of_labels)

    def _looks(self):
        """Whether a Gramian that is wanted is made in this step, if the balancer makes none."""
        if self.record is None or not gradients.may_branch():
            return self.record is None or self.record.looks
        return self.record.looks_at(read(self.method.step))

    def _observe(self, update, present):
        """Show the Gramians of the step to those who look at them."""
        of_model = len(compile_checks.measured_groups(self.model))
        if of_model:
            self.model.observe_gramians(update.gramians[:of_model], present)
        if self.record is not None:
            self.record.observe(update.gramian, update.gramians[of_model:], present)

    def _look_back(self, again, x, batches, counts, recording, sound):
        """Have the balancer learn from the losses before and after the update."""
        balancer = self.method.loss_part
        after = self._record_again(again, x, batches, counts).losses
        found = balancer.after_update(recording.losses, after, recording.present)
        sound &= tf.reduce_all(tf.math.is_finite(after))
        self._remember(self.method.named(balancer, found), sound)

    def _hold_out(self, again, x, batches, counts, trained, variables, present, scale, sound):
        """Have the balancer learn from the held-out rows, with the variables after the update."""
        balancer = self.method.loss_part
        after = self._record_again(again, x, batches, counts)
        wanted = tf.cast(balancer.held_out_weights(), after.losses.dtype)
        agreement = gradients.agreement(trained, after, variables, wanted, scale)
        found = balancer.after_holdout(agreement, present)
        sound &= tf.reduce_all(tf.math.is_finite(agreement))
        sound &= tf.reduce_any(after.present & (wanted > 0))  # else nothing was held out
        self._remember(self.method.named(balancer, found), sound)

    def _record_again(self, again, x, batches, counts):
        """The losses of the same rows with the variables after the update."""

        def compute(watch):
            return self._shares(batches, again(x), counts, counts > 0), None

        weights, sums = self._loss_weights(), self.rows.sums
        return self.rows.merged(gradients.record(compute, counts > 0, weights, merge=sums))

    def _remember(self, values, sound):
        """Keep what the balancer made of its state, if the step was one."""
        state = self.method.state
        for name, value in values.items():
            old = read(state[name])
            state[name].assign(tf.where(sound, tf.cast(value, old.dtype), old))

    def test(self, x: Any, y: Any, sample_weight: Any) -> None:
        """Evaluate one batch; the metrics are updated."""
        rows = _batch_size(x)
        batches = self._batches(y, sample_weight, rows, tf.unstack(read(self.mask)))
        counts, illegal, part = self._count(batches, rows)
        outputs = self.model.runner()(x, training=False)
        extra = replica_losses.share_of_added(self.model, part)
        present = counts > 0
        shares = self._shares(batches, outputs, counts, present)
        (losses,) = gradients.replica_sum([tf.stack(shares)])
        self.failures.check_labels(illegal, losses, batches)
        self._log(losses, extra, rows, part)
        self.objectives.update_metrics(batches, outputs, losses, self._parts(counts, present))

    @staticmethod
    def _parts(counts, present):
        """This replica's part of the labels of the tasks that take part."""
        return tf.where(present, counts / gradients.replica_count(), tf.zeros_like(counts))

    # -- its parts --------------------------------------------------------------------------

    def _batches(self, y, sample_weight, rows, active):
        """The labels by task; none of tasks that take no part, not even wrong ones."""
        batches = self.objectives.read(y, sample_weight, rows)
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

    def _loss_weights(self) -> list[tf.Tensor]:
        """What the losses of the tasks are multiplied by, T scalars."""
        factors = read(self.factors)
        if self.objectives.loss_weights is not None:
            factors *= tf.constant(self.objectives.loss_weights, factors.dtype)
        return tf.unstack(factors)

    def _shares(self, batches, outputs, counts, present):
        shares = []
        divisors = tf.unstack(tf.maximum(counts, 1))
        for (name, batch), n, here in zip(
            batches.items(), divisors, tf.unstack(present), strict=True
        ):
            share = tf.zeros([])
            if name in outputs:  # else the task is not computed
                share = self.objectives.loss_share(name, batch, outputs[name], n)
                share = tf.where(here, share, tf.zeros_like(share))
            shares.append(share)
        dtype = "float64" if any(s.dtype == tf.float64 for s in shares) else "float32"
        return [tf.cast(s, dtype) for s in shares]

    def _forward(self, x, watch: Callable):
        if not self.selection.is_whole:
            self.model._clear_losses()  # also those of layers that are not called this time
        if self.split is None:
            return self.selection.runner()(x, training=True)
        split = self.split
        ends = split.trunk(x, training=True)
        added = replica_losses.added_by(split.on_both_sides)
        ends = ends if isinstance(ends, list | tuple) else [ends]
        copies = []
        for end, watched in zip(ends, split.watched, strict=True):
            copies.append(with_mask(watch(end), end) if watched else end)
        outputs = split.heads(copies, training=True)
        # Layers that are called in both have forgotten what they added in the trunk.
        for layer, losses in added:
            layer._losses.extend(losses)
        return outputs

    def _variables(self) -> gradients.Variables:
        """What is differentiated by: the variables of the tasks that are computed."""
        model = self.model
        of_balancer = {id(v) for v in self.balancer.trainable_variables}
        of_model = [v for v in model.trained_variables if id(v) not in of_balancer]
        groups = compile_checks.measured_groups(model)
        if self.record is not None:
            groups = [*groups, *self.record.variables_of]
        if not (self.selection.is_whole or self.applying.moves_all):
            selected = set(self.selection.names)
            of_model = [v for v in of_model if self.readers.of(v) & selected]
        # Of what is frozen, or of no task that is computed, there is no gradient.
        known = {id(v) for v in of_model}
        groups = [[v for v in group if id(v) in known] for group in groups]
        return gradients.Variables(
            self.ownership.shared(of_model),
            [self.ownership.owned_by(name, of_model) for name in self.rows.names],
            list(self.balancer.trainable_variables),
            groups,
            measured=self.record is not None and not self.record.variables_of,
        )

    def _statistics(self):
        """State that the forward pass itself moves, such as moving averages of BatchNorm, each
        with the index of the task that owns it or `None`.
        """
        names, selected = self.objectives.names, set(self.selection.names)
        found = {}
        for layer in self.model._flatten_layers(include_self=False):
            if not layer.trainable:
                continue
            for variable in layer._non_trainable_variables:
                tasks = self.readers.of(variable)
                if tasks & selected and keras.backend.is_float_dtype(variable.dtype):
                    owner = names.index(next(iter(tasks))) if len(tasks) == 1 else None
                    found[id(variable)] = (variable, owner)
        return list(found.values())

    def _log(self, losses, extra, rows, part) -> None:
        weighted = losses
        if self.objectives.loss_weights is not None:
            weighted = losses * tf.constant(self.objectives.loss_weights, losses.dtype)
        total = tf.reduce_sum(weighted)
        if extra is not None:
            total += tf.cast(tf.math.divide_no_nan(extra, part), total.dtype)
        self.model._loss_tracker.update_state(total, sample_weight=rows)

    def report_scales(self) -> None:
        """Log the losses of the first step (or sequence), also of tasks that come in later."""
        if not self.initial_losses.keys() >= set(self.selection.names):
            self.initial_losses = initial_losses.reported(
                self.objectives, self.selection.names, self.initial_losses
            )


def _batch_size(x):
    first = next(t for t in keras.tree.flatten(x) if t is not None)
    return tf.shape(first)[0]
