"""Balancing by the task gradients themselves."""

from typing import Any

import numpy as np
import tensorflow as tf

from mtlzoo.balancing import JacobianBalancer
from mtlzoo.gradients.recording import (
    Recording,
    Update,
    Variables,
    check_reached,
    factor,
    into_trunk,
    replica_count,
    replica_sum,
    task_rows,
    weighed,
)
from mtlzoo.gramian import dense, products, summed


def by_jacobian(
    recording: Recording, variables: Variables, balancer: JacobianBalancer, scale: Any
) -> Update:
    """Give the balancer the gradients themselves, stacked by variable or boundary tensor."""
    sources = [copy for _, copy in recording.cut] or variables.shared
    rows, owned = task_rows(recording, sources, variables.owned, scale)
    # To the balancer, a task that depends on none of the sources is absent.
    depends = np.array([any(g is not None for g in row) for row in rows])
    check_reached(depends, balancer)
    at_parameters = not recording.cut
    reached = [any(g is not None for g in column) for column in zip(*rows, strict=True)]
    stacks = [
        tf.stack([tf.zeros_like(source) if g is None else dense(g) for g in column])
        for source, column, used in zip(sources, zip(*rows, strict=True), reached, strict=True)
        if used
    ]
    if scale is not None:
        stacks = [stack / tf.cast(scale, stack.dtype) for stack in stacks]
    if at_parameters:
        stacks = replica_sum(stacks)
    finite = tf.reduce_all([_rows_finite(stack) for stack in stacks], axis=0)
    if not at_parameters:  # replicas saw different rows, and must agree
        (faults,) = replica_sum([tf.cast(~finite, recording.losses.dtype)])
        finite = faults <= 0
    finite |= ~recording.present
    which = None
    if balancer.keeps_rows:
        which = [v for v, used in zip(sources, reached, strict=True) if used]
    combined, state = balancer.advance(stacks, recording.present & finite & depends, which)
    share = factor(1.0 / replica_count() if at_parameters else 1.0, scale, tf.float32)
    if scale is not None:
        # The optimizer must see an overflow, to lower the scale.
        share = tf.where(tf.reduce_all(finite), share, float("nan"))
    scaled = iter([g * tf.cast(share, g.dtype) for g in combined])
    combined = [next(scaled) if used else None for used in reached]
    shared = combined if at_parameters else into_trunk(recording, variables, combined)
    weights = tf.cast(recording.present, recording.losses.dtype)
    weights = tf.where(depends, tf.cast(state.pop("task_weights", weights), weights.dtype), weights)
    owned = weighed(owned, weights, balancer)
    seen = None
    if variables.measured:
        seen = _gramian(stacks, recording, at_parameters)
    return Update([*shared, *owned], weights, finite, state, gramian=seen)


def _gramian(stacks, recording, at_parameters):
    """That of the rows of the stacks, which at features level are those of some of the batch."""
    total = summed([products(tf.unstack(stack)) for stack in stacks])
    if not at_parameters:
        (total,) = replica_sum([total])
    return tf.cast(total, recording.losses.dtype)


def _rows_finite(stack):
    flat = tf.reshape(stack, [tf.shape(stack)[0], -1])
    return tf.reduce_all(tf.math.is_finite(flat), axis=1)
