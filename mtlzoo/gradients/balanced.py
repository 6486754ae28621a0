"""How a balancer turns task losses into one update."""

from dataclasses import replace

import tensorflow as tf

from mtlzoo.balancing import Balancer, GradientBalancer, LossBalancer
from mtlzoo.gradients.by_gramian import by_gramian
from mtlzoo.gradients.by_jacobian import by_jacobian
from mtlzoo.gradients.measuring import measured
from mtlzoo.gradients.recording import (
    Recording,
    Update,
    Variables,
    backward,
    factor,
    replica_count,
)
from mtlzoo.gramian import dense, unique


def balanced(
    recording: Recording,
    variables: Variables,
    balancer: Balancer,
    scale: tf.Tensor | None = None,
    due: tf.Tensor | bool | None = None,
    slices: bool = False,
    look: tf.Tensor | bool = True,
) -> Update:
    """Differentiate the task losses and balance them.

    Args:
        recording: the forward pass.
        variables: what to differentiate by.
        balancer: a built balancer, of any kind.
        scale: the loss scale of mixed precision, or `None`. The returned gradients carry it; the
            balancer never sees it.
        due: bool, whether a balancer with `every > 1` has to compute its weights anew; Python's
            `False` where that is known before the step is traced.
        slices: whether the gradient by an embedding table may be an `IndexedSlices`. Its rows are
            then unique: of repeated ones Keras's Adam adds the squares, where it should square the
            sum.
        look: bool, whether Gramians that are wanted and that the balancer does not make are made in
            this step; Python's on several replicas.
    """
    of_losses, of_gradients = balancer.loss_part, balancer.gradient_part
    if of_losses is None and of_gradients is None:
        raise ValueError(
            "`balancer` should be a `LossBalancer`, `GradientBalancer` or `JacobianBalancer`. "
            f"Received: {balancer!r}"
        )
    factors, of_balancer, learned = None, [tf.zeros_like(v) for v in variables.balancer], {}
    if of_losses is not None:
        factors, of_balancer = _objective(recording, variables, of_losses, scale)
        learned = balancer.named(of_losses, of_losses.advance(recording.losses, recording.present))
        recording = replace(recording, factors=factors)
    if of_gradients is None or not variables.shared:  # one task alone has nothing to balance
        update = _by_losses(recording, variables, scale)
    elif isinstance(of_gradients, GradientBalancer):
        update = by_gramian(recording, variables, of_gradients, scale, due)
    else:
        update = by_jacobian(recording, variables, of_gradients, scale)
    update = measured(update, recording, variables, scale, look, of_gradients is not None)
    if of_gradients is not None:
        learned |= balancer.named(of_gradients, update.state)
    gradients = [*update.gradients, *of_balancer]
    if recording.extra is not None:
        seed = factor(1.0, scale, recording.extra.dtype)
        targets = variables.all()
        extra = recording.tape.gradient(recording.extra, targets, output_gradients=seed)
        gradients = [_plus(g, e) for g, e in zip(gradients, extra, strict=True)]
    if slices:
        gradients = [unique(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
    else:
        gradients = _densify(gradients)
    weights = update.weights if factors is None else update.weights * factors
    learned.setdefault("task_weights", weights)
    return replace(update, gradients=gradients, weights=weights, state=learned)


def _objective(recording, variables: Variables, balancer: LossBalancer, scale):
    """The derivatives of the objective by the losses, and by the balancer's variables.

    By the chain rule one backward pass of `sum_i (d objective / d loss_i) loss_i` is exact for any
    objective, also one that is not linear in the losses (a geometric mean, say): the factors are
    taken at the losses of the global batch, so that they are the same on every replica.
    """
    with tf.GradientTape() as tape:
        tape.watch(recording.losses)
        objective = balancer.objective(recording.losses, recording.present)
    sources = [recording.losses, *variables.balancer]
    # Not every variable need be this method's: after a warm-up, some are those of the other one.
    found = tape.gradient(objective, sources)
    found = [tf.zeros_like(s) if g is None else g for g, s in zip(found, sources, strict=True)]
    factors, *of_balancer = found
    share = factor(1.0 / replica_count(), scale, factors.dtype)
    return factors, [g * tf.cast(share, g.dtype) for g in of_balancer]


def _by_losses(recording, variables: Variables, scale) -> Update:
    """One backward pass of all tasks together."""
    ones = tf.cast(recording.present, recording.losses.dtype)
    of_model = [*variables.shared, *(v for own in variables.owned for v in own)]
    return Update(backward(recording, of_model, ones, scale), ones, None)


def _densify(gradients):
    return [dense(g) for g in gradients]


def _plus(a, b):
    if a is None or b is None:
        return b if a is None else a
    return dense(a) + dense(b)
