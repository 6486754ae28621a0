"""Balancing by the Gramian of the task gradients."""

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from mtlzoo.balancing import GradientBalancer
from mtlzoo.gradients.measuring import (
    columns_of,
    of_groups,
    over_replicas,
    unmade,
    without_scale,
)
from mtlzoo.gradients.recording import (
    Recording,
    Update,
    Variables,
    backward,
    check_reached,
    into_trunk,
    may_branch,
    replica_sum,
    task_rows,
    weighed,
)
from mtlzoo.gramian import columns, combine, dense, gramian, products, summed


def by_gramian(
    recording: Recording,
    variables: Variables,
    balancer: GradientBalancer,
    scale: Any,
    due: tf.Tensor | bool | None,
) -> Update:
    """The gradients of the model, those of shared variables weighed by the balancer."""
    at_features = bool(recording.cut)
    refresh = _features_level if at_features else _parameters_level
    if recording.parts:
        refresh = _parts_level
    if balancer.every == 1:
        return refresh(recording, variables, balancer, scale)
    reuse = _reuse_at_features if at_features else _reuse_at_parameters
    if due is False:
        return reuse(recording, variables, balancer, scale)
    # Collectives cannot stand inside a branch, so that there the host chooses.
    if not may_branch():
        return refresh(recording, variables, balancer, scale, due)

    def densely(compute):  # branches must agree, also in the number of looked-up rows
        update = compute(recording, variables, balancer, scale)
        gradients = [dense(g) for g in update.gradients]
        measured = update.gramians, update.gramian
        return gradients, update.weights, update.finite, update.state, *measured

    return Update(*tf.cond(due, lambda: densely(refresh), lambda: densely(reuse)))


def _parameters_level(recording, variables, balancer, scale, due=None):
    rows, owned = task_rows(recording, variables.shared, variables.owned, scale)
    reached = _reached(rows, variables.shared, balancer, recording)
    found = columns_of(rows)
    parts = [products(column) for column in over_replicas(found)]
    total = _by_group(parts, variables.shared, balancer)
    weights, state, finite = _weights(balancer, total, recording, scale, reached)
    weights, state = _unless_due(balancer, recording, due, weights, state, reached)
    measured = of_groups(parts, recording, variables, scale)
    shared = _combined(found, weights, variables.shared, balancer)
    owned = weighed(owned, _of_tasks(weights), balancer)
    return Update([*shared, *owned], _of_tasks(weights), finite, state, **measured)


def _parts_level(recording, variables, balancer, scale, due=None):
    """The products of the gradients of one part of the batch with those of another.

    Where there is a third part, the update is made of its gradients alone.
    """
    rows = []
    for part in recording.parts[:2]:
        none_owned = [[] for _ in part]
        of_part = replace(recording, shares=part)
        rows += task_rows(of_part, variables.shared, none_owned, scale)[0]
    count = len(recording.shares)
    reached = _reached(rows[:count], variables.shared, balancer, recording)
    found = columns_of(rows)
    parts = [products(column) for column in over_replicas(found)]
    total = _by_group(parts, variables.shared, balancer)
    finite = tf.math.is_finite(tf.linalg.diag_part(total))
    finite = finite[..., :count] & finite[..., count:]
    cross = total[..., :count, count:]
    weights, state, finite = _weights(balancer, cross, recording, scale, reached, finite)
    weights, state = _unless_due(balancer, recording, due, weights, state, reached)
    if len(recording.parts) == 2:
        of_parts = [weights * fraction for fraction in tf.unstack(recording.fractions)]
        both = tf.concat(of_parts, axis=-1)
        shared = _combined(found, both, variables.shared, balancer)
    else:
        used = weights
        if scale is not None:
            # The optimizer must see an overflow of the first two parts, to lower the scale.
            used = tf.where(tf.reduce_all(finite), weights, float("nan"))
        shared = _third_backward(recording, variables, used, balancer, scale)
    of_tasks = _of_tasks(weights)
    owned = _owned_backward(recording, variables, of_tasks, balancer, scale)
    return Update([*shared, *owned], of_tasks, finite, state)


def _features_level(recording, variables, balancer, scale, due=None):
    copies = [copy for _, copy in recording.cut]
    rows, owned = task_rows(recording, copies, variables.owned, scale)
    reached = _reached(rows, copies, balancer, recording)
    # Replicas hold disjoint rows of the batch, so that the Gramian of the global batch is the sum
    # of theirs: T x T numbers travel, whatever the size of the model.
    found = columns(rows)
    (total,) = replica_sum([gramian(found)])
    weights, state, finite = _weights(balancer, total, recording, scale, reached)
    weights, state = _unless_due(balancer, recording, due, weights, state, reached)
    of_tasks = tf.unstack(weights)
    combined = [combine(c, of_tasks, copy) for c, copy in zip(found, copies, strict=True)]
    shared = into_trunk(recording, variables, combined)
    owned = weighed(owned, weights, balancer)
    seen = without_scale(total, recording, scale) if variables.measured else None
    return Update([*shared, *owned], weights, finite, state, gramian=seen)


def _reuse_at_parameters(recording, variables, balancer, scale):
    weights = _stored(balancer, recording, _reach(recording, variables.shared, balancer))
    of_whole = len(recording.parts) < 3
    run = _weighted_backward if of_whole else _third_backward
    shared = run(recording, variables, weights, balancer, scale)
    return _reused(recording, variables, balancer, scale, weights, shared)


def _reuse_at_features(recording, variables, balancer, scale):
    copies = [copy for _, copy in recording.cut]
    weights = _stored(balancer, recording, _reach(recording, copies, balancer))
    at_boundary = backward(recording, copies, weights, scale)
    shared = into_trunk(recording, variables, at_boundary)
    return _reused(recording, variables, balancer, scale, weights, shared)


def _reused(recording, variables, balancer, scale, weights, shared):
    """A step with the weights of an earlier one, of which nothing new is remembered."""
    of_tasks = _of_tasks(weights)
    owned = _owned_backward(recording, variables, of_tasks, balancer, scale)
    state = {n: tf.convert_to_tensor(v) for n, v in balancer.learned.items()}
    state["task_weights"] = tf.convert_to_tensor(balancer.task_weights)
    finite = tf.ones_like(recording.present)
    # Of what the method would have made in another step.
    nothing = unmade(recording.losses)
    groups = [] if recording.parts or recording.cut else variables.groups
    seen = nothing if variables.measured and not recording.parts else None
    return Update([*shared, *owned], of_tasks, finite, state, [nothing for _ in groups], seen)


def _owned_backward(recording, variables, of_tasks, balancer, scale):
    """The gradients by the tasks' own variables, times the weights if the method says so."""
    used = of_tasks if balancer.weighs_heads else tf.ones_like(of_tasks)
    return backward(recording, [v for own in variables.owned for v in own], used, scale)


def _by_group(parts, shared, balancer):
    """The Gramian, or one for each group of variables, of what each variable adds."""
    if balancer.groups is None:
        return summed(parts)
    of_each: list = []
    for group in range(*balancer.lead):
        pairs = zip(shared, parts, strict=True)
        of_each.append(summed([part for v, part in pairs if balancer.group_of(v) == group]))
    # A group may be frozen, or out of all tasks' reach.
    nothing = tf.zeros_like(next(matrix for matrix in of_each if matrix is not None))
    return tf.stack([nothing if matrix is None else matrix for matrix in of_each])


def _reached(rows, sources, balancer, recording):
    """Which tasks depend on any of the sources, `(T,)`, or for each group `(G, T)`; a constant."""
    reached = np.zeros((*balancer.lead, len(rows)), bool)
    for task, gradients in enumerate(rows):
        for source, gradient in zip(sources, gradients, strict=True):
            if gradient is not None:
                group = (balancer.group_of(source),) if balancer.lead else ()
                reached[(*group, task)] = True
    check_reached(reached, balancer)
    recording.reached.append(reached)
    return reached


def _reach(recording, sources, balancer):
    """The same in a step without the tasks' gradients, for methods that need it there.

    In a graph the other branch is traced first and has found it.
    """
    if balancer.averages and not recording.reached:
        rows, _ = task_rows(recording, sources, [[] for _ in recording.shares], None)
        _reached(rows, sources, balancer, recording)
    return recording.reached[-1] if recording.reached else None


def _combined(found, weights, shared, balancer):
    """The weighted sums of the tasks' gradients, by variable."""
    of_groups = [weights] if balancer.groups is None else tf.unstack(weights)
    of_groups = [tf.unstack(of_tasks) for of_tasks in of_groups]
    return [
        combine(column, of_groups[balancer.group_of(variable)], variable)
        for column, variable in zip(found, shared, strict=True)
    ]


def _third_backward(recording, variables, weights, balancer, scale):
    """That of the third part of the batch; one task alone has nothing to compare, and learns from
    the whole batch.
    """
    alone = tf.math.count_nonzero(recording.present) < 2
    of_whole = tf.where(alone, weights, tf.zeros_like(weights))
    of_third = tf.where(alone, tf.zeros_like(weights), weights)
    both = replace(recording, shares=[*recording.shares, *recording.parts[2]])
    if recording.factors is not None:
        both = replace(both, factors=tf.tile(recording.factors, [2]))
    weights = tf.concat([of_whole, of_third], axis=-1)
    return _weighted_backward(both, variables, weights, balancer, scale)


def _weighted_backward(recording, variables, weights, balancer, scale):
    """The same by a backward pass of the weighted losses, one for each group of variables."""
    if balancer.groups is None:
        return backward(recording, variables.shared, weights, scale)
    shared = [None] * len(variables.shared)
    for group, of_group in enumerate(tf.unstack(weights)):
        places = [i for i, v in enumerate(variables.shared) if balancer.group_of(v) == group]
        members = [variables.shared[i] for i in places]
        found = backward(recording, members, of_group, scale)
        for place, gradient in zip(places, found, strict=True):
            shared[place] = gradient
    return shared


def _weights(balancer, total, recording, scale, reached, finite=None):
    """The balancer's weights, what it remembers, and which tasks have a finite gradient.

    To the balancer, a task that does not depend on a group of variables is absent there: it would
    be a gradient of zeros, which is the shortest. Its weight is the mean of those elsewhere, or 1.
    """
    if scale is not None:
        total = total / tf.cast(scale, total.dtype) ** 2
    if finite is None:
        finite = tf.math.is_finite(tf.linalg.diag_part(total))
    if balancer.groups is not None:
        finite = tf.reduce_all(finite, axis=0)
    weights, state = balancer.advance(total, recording.losses, recording.present & reached)
    weights = tf.cast(weights, recording.losses.dtype)
    weights = _with_mean_elsewhere(weights, recording, reached)
    return weights, {**state, "task_weights": weights}, finite | ~recording.present


def _with_mean_elsewhere(weights, recording, reached):
    """The weights, with the mean of those in other groups, or 1, where a task is out of reach."""
    if reached.all():
        return weights
    of_groups = reached.reshape(-1, reached.shape[-1])
    used = tf.reshape(tf.where(reached, weights, 0.0), of_groups.shape)
    mean = tf.reduce_sum(used, axis=0) / np.maximum(of_groups.sum(0), 1)
    alone = tf.cast(recording.present, mean.dtype)
    return tf.where(reached, weights, tf.where(of_groups.any(0), mean, alone))


def _stored(balancer, recording, reached):
    """The weights of the last step, for the tasks that are present."""
    weights = tf.cast(tf.convert_to_tensor(balancer.task_weights), recording.losses.dtype)
    if balancer.averages:
        weights = _shared_out(weights, recording.present & reached, reached)
        weights = _with_mean_elsewhere(weights, recording, reached)
    alone = tf.math.count_nonzero(recording.present) < 2
    weights = tf.where(alone, tf.ones_like(weights), weights)
    return tf.where(recording.present, weights, tf.zeros_like(weights))


def _shared_out(weights, present, reached):
    """The weights of a mean over fewer tasks: those present share what the absent ones have.

    They share it in proportion to their weights, or equally where all of these are zero. Where one
    is negative there is no proportion, and they stay as they are.
    """
    used = tf.where(present, weights, 0.0)
    count = tf.math.count_nonzero(present, -1, keepdims=True, dtype=weights.dtype)
    total = tf.reduce_sum(tf.where(reached, weights, 0.0), axis=-1, keepdims=True)
    have = tf.reduce_sum(used, axis=-1, keepdims=True)
    equal = tf.cast(present, weights.dtype) / tf.maximum(count, 1)
    shared = tf.where(have > 0, used * (total / tf.where(have > 0, have, 1.0)), equal)
    shared = tf.where(tf.reduce_all(used >= 0, axis=-1, keepdims=True), shared, used)
    return tf.where(count < 2, equal, shared)


def _unless_due(balancer, recording, due, weights, state, reached):
    """The new weights and state where they are due, else the old ones."""
    if due is None:
        return weights, state
    old = {**balancer.learned, "task_weights": balancer.task_weights}
    state["task_weights"] = tf.cast(weights, balancer.task_weights.dtype)
    state = {n: tf.where(due, state[n], tf.convert_to_tensor(v)) for n, v in old.items()}
    return tf.where(due, weights, _stored(balancer, recording, reached)), state


def _of_tasks(weights):
    """`(T,)` of the weights of the tasks, or of those of each group, `(G, T)`: their mean."""
    return weights if weights.shape.rank == 1 else tf.reduce_mean(weights, axis=0)
