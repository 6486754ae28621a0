"""Gradients of several task losses, and how a balancer turns them into one update.

This is the only file that owns the training tape and that sums over replicas. It knows nothing of
models or layers: it is given a way to compute T losses and lists of variables, and it gives back
one gradient for each variable.

On R replicas, every gradient returned here is a *share*: the sum of the shares over the replicas
is the gradient of the global batch. Keras's optimizers form that sum. Losses are shares too: each
is a sum over the replica's own rows divided by a global count.

Task gradients stay lists of tensors, one for each variable. They are never flattened into one
matrix, which costs a copy of them all, and under XLA on a CPU much more than that. Those by an
embedding table stay the rows that were looked up (`gramian.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras
import tensorflow as tf

from mtlzoo.balancing import Balancer, GradientBalancer, JacobianBalancer, LossBalancer
from mtlzoo.gramian import columns, combine, dense, gramian, unique

Tensors = list


def replica_count() -> int:
    """The number of replicas that share the current step (1 without a strategy)."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def replica_sum(tensors: Tensors) -> Tensors:
    """The sum of each tensor over all replicas; `None` entries stay `None`."""
    if replica_count() == 1:
        return list(tensors)
    given = [t for t in tensors if t is not None]
    context = tf.distribute.get_replica_context()
    reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, given) if given else []
    for tensor, total in zip(given, reduced, strict=True):
        if isinstance(tensor, tf.IndexedSlices):  # of which the number of rows alone has changed
            total.values.set_shape([None, *tensor.values.shape[1:]])
    following = iter(reduced)
    return [None if t is None else next(following) for t in tensors]


@dataclass(frozen=True)
class Recording:
    """One forward pass with its task losses, ready to be differentiated.

    Attributes:
        tape: the tape that saw it.
        shares: T scalar tensors, this replica's share of each task's loss.
        extra: scalar tensor or `None`: this replica's share of losses that are no task's, such as
            regularization.
        cut: the trunk's outputs at the boundary and their watched copies, which the heads read;
            empty where the model was not cut.
        losses: `(T,)`, the losses of the global batch, times their loss weights.
        unweighted: `(T,)`, the same without the loss weights.
        present: `(T,)` bool, whether a task has any label in the global batch.
    """

    tape: tf.GradientTape
    shares: Tensors
    extra: tf.Tensor | None
    cut: list[tuple[tf.Tensor, tf.Tensor]]
    losses: tf.Tensor
    unweighted: tf.Tensor
    present: tf.Tensor


def record(
    compute: Callable, present: tf.Tensor, loss_weights: Sequence[float] | None = None
) -> Recording:
    """Run a forward pass under a tape.

    Args:
        compute: `compute(watch) -> (shares, extra)`. `watch(tensor)` returns a copy of a boundary
            tensor that gradients of the heads stop at.
        present: `(T,)` bool, whether a task has any label in the global batch.
        loss_weights: T factors of the losses, or `None` for ones.
    """
    cut = []
    with tf.GradientTape(persistent=True) as tape:

        def watch(tensor):
            copy = tf.identity(tensor)
            tape.watch(copy)
            cut.append((tensor, copy))
            return copy

        shares, extra = compute(watch)
        unweighted = tf.stop_gradient(tf.stack(shares))
        if loss_weights is not None:
            shares = [s * tf.cast(w, s.dtype) for s, w in zip(shares, loss_weights, strict=True)]
    (unweighted,) = replica_sum([unweighted])
    losses = unweighted
    if loss_weights is not None:
        losses = losses * tf.constant(loss_weights, losses.dtype)
    return Recording(tape, shares, extra, cut, losses, unweighted, present)


@dataclass(frozen=True)
class Variables:
    """The trainable variables of a step, by owner.

    Attributes:
        shared: those that several tasks depend on.
        owned: T lists, those that belong to one task.
        balancer: those of the balancer.
        groups: lists of shared variables of which the model wants a Gramian of their own.
    """

    shared: list = field(default_factory=list)
    owned: list[list] = field(default_factory=list)
    balancer: list = field(default_factory=list)
    groups: list[list] = field(default_factory=list)

    def all(self) -> list:
        """Every variable: shared, then owned in task order, then the balancer's."""
        return [*self.shared, *(v for own in self.owned for v in own), *self.balancer]


@dataclass(frozen=True)
class Update:
    """What one step found.

    Attributes:
        gradients: one share for each of `Variables.all()`; `None` where nothing depends on it.
        weights: `(T,)`, the weights that the balancer gave the tasks.
        finite: `(T,)` bool, whether each task's gradient is finite; `None` where the method has
            no need to look.
        gramians: one for each of `Variables.groups`; zeros where none was made in this step.
    """

    gradients: Tensors
    weights: tf.Tensor
    finite: tf.Tensor | None
    gramians: Tensors = field(default_factory=list)


def balanced(
    recording: Recording,
    variables: Variables,
    balancer: Balancer,
    scale: tf.Tensor | None = None,
    due: tf.Tensor | None = None,
    slices: bool = False,
) -> Update:
    """Differentiate the task losses and balance them.

    Args:
        recording: the forward pass.
        variables: what to differentiate by.
        balancer: a built balancer, of any kind.
        scale: the loss scale of mixed precision, or `None`. The returned gradients carry it; the
            balancer never sees it.
        due: bool, whether a balancer with `every > 1` has to compute its weights anew.
        slices: whether the gradient by an embedding table may be an `IndexedSlices`. Its rows are
            then unique: of repeated ones Keras's Adam adds the squares, where it should square the
            sum.
    """
    if not isinstance(balancer, LossBalancer) and not variables.shared:
        # One task alone: there is nothing to balance.
        ones = tf.cast(recording.present, recording.losses.dtype)
        update = Update(_owned(recording, variables, ones, scale), ones, None)
    elif isinstance(balancer, LossBalancer):
        update = _by_losses(recording, variables, balancer, scale)
    elif isinstance(balancer, GradientBalancer):
        update = _by_gramian(recording, variables, balancer, scale, due)
    elif isinstance(balancer, JacobianBalancer):
        update = _by_jacobian(recording, variables, balancer, scale)
    else:
        raise ValueError(
            "`balancer` should be a `LossBalancer`, `GradientBalancer` or `JacobianBalancer`. "
            f"Received: {balancer!r}"
        )
    gradients = update.gradients
    if recording.extra is not None:
        seed = _seed(recording.extra, 1.0, scale)
        targets = variables.all()
        extra = recording.tape.gradient(recording.extra, targets, output_gradients=seed)
        gradients = [_plus(g, e) for g, e in zip(gradients, extra, strict=True)]
    if slices:
        gradients = [unique(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
    else:
        gradients = _densify(gradients)
    return Update(gradients, update.weights, update.finite, update.gramians)


def _by_losses(recording, variables: Variables, balancer: LossBalancer, scale) -> Update:
    """One backward pass of `sum_i (d objective / d loss_i) loss_i`.

    By the chain rule this is exact for any objective, also one that is not linear in the losses
    (a geometric mean, say): the factors are taken at the losses of the global batch, so that they
    are the same on every replica.
    """
    with tf.GradientTape() as tape:
        tape.watch(recording.losses)
        objective = balancer.objective(recording.losses, recording.present)
    sources = [recording.losses, *variables.balancer]
    weights, *of_balancer = tape.gradient(
        objective, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    seeds = _seeds(recording.shares, weights, scale)
    of_model = _backward(
        recording, [*variables.shared, *(v for own in variables.owned for v in own)], seeds
    )
    share = _factor(1.0 / replica_count(), scale, weights.dtype)
    gradients = [*of_model, *(g * tf.cast(share, g.dtype) for g in of_balancer)]
    return Update(gradients, weights, None)


def _by_gramian(recording, variables, balancer: GradientBalancer, scale, due) -> Update:
    if not recording.cut:
        refresh, reuse = _parameters_level, _reuse_at_parameters
    else:
        refresh, reuse = _features_level, _reuse_at_features

    if balancer.every == 1:
        shared, owned, weights, finite, gramians = refresh(recording, variables, balancer, scale)
    elif replica_count() == 1:
        # Collectives cannot stand inside a branch, so only a single replica skips the work.
        def densely(compute):  # branches must agree, also in the number of looked-up rows
            shared, owned, *rest = compute(recording, variables, balancer, scale)
            return _densify(shared), _densify(owned), *rest

        shared, owned, weights, finite, gramians = tf.cond(
            due, lambda: densely(refresh), lambda: densely(reuse)
        )
    else:
        shared, owned, weights, finite, gramians = refresh(
            recording,
            variables,
            balancer,
            scale,
            lambda w: tf.where(due, w, _stored(balancer, recording)),
        )
    of_all = [*shared, *owned, *(None for _ in variables.balancer)]
    return Update(of_all, weights, finite, gramians)


def _stored(balancer, recording):
    """The weights of the last step, for the tasks that are present."""
    weights = tf.cast(tf.convert_to_tensor(balancer.task_weights), recording.losses.dtype)
    return tf.where(recording.present, weights, tf.zeros_like(weights))


def _parameters_level(recording, variables, balancer, scale, choose=lambda weights: weights):
    rows, owned = _task_rows(recording, variables.shared, variables.owned, scale)
    found = columns(rows)
    summed = keras.tree.pack_sequence_as(found, replica_sum(keras.tree.flatten(found)))
    weights, finite = _weights(balancer, gramian(summed), recording, scale)
    weights = choose(weights)
    of = {id(variable): column for variable, column in zip(variables.shared, summed, strict=True)}
    gramians = [gramian([of[id(variable)] for variable in group]) for group in variables.groups]
    return _combine(found, weights, variables.shared), owned, weights, finite, gramians


def _reuse_at_parameters(recording, variables, balancer, scale):
    weights = _stored(balancer, recording)
    ones = tf.ones_like(weights)
    shared = _backward(recording, variables.shared, _seeds(recording.shares, weights, scale))
    return (
        shared,
        _owned(recording, variables, ones, scale),
        weights,
        tf.ones_like(recording.present),
        [tf.zeros([len(recording.shares)] * 2, weights.dtype) for _ in variables.groups],
    )


def _features_level(recording, variables, balancer, scale, choose=lambda weights: weights):
    copies = [copy for _, copy in recording.cut]
    rows, owned = _task_rows(recording, copies, variables.owned, scale)
    # Replicas hold disjoint rows of the batch, so that the Gramian of the global batch is the sum
    # of theirs: T x T numbers travel, whatever the size of the model.
    found = columns(rows)
    (total,) = replica_sum([gramian(found)])
    weights, finite = _weights(balancer, total, recording, scale)
    weights = choose(weights)
    combined = _combine(found, weights, copies)
    return _into_trunk(recording, variables, combined), owned, weights, finite, []


def _reuse_at_features(recording, variables, balancer, scale):
    weights = _stored(balancer, recording)
    copies = [copy for _, copy in recording.cut]
    at_boundary = _backward(recording, copies, _seeds(recording.shares, weights, scale))
    shared = _into_trunk(recording, variables, at_boundary)
    owned = _owned(recording, variables, tf.ones_like(weights), scale)
    return shared, owned, weights, tf.ones_like(recording.present), []


def _by_jacobian(recording, variables: Variables, balancer: JacobianBalancer, scale) -> Update:
    """Give the balancer the gradients themselves, stacked by variable or boundary tensor."""
    sources = [copy for _, copy in recording.cut] or variables.shared
    rows, owned = _task_rows(recording, sources, variables.owned, scale)
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
    combined = balancer.combine(stacks, recording.present & finite)
    share = _factor(1.0 / replica_count() if at_parameters else 1.0, scale, tf.float32)
    if scale is not None:
        # The optimizer must see an overflow, to lower the scale.
        share = tf.where(tf.reduce_all(finite), share, float("nan"))
    scaled = iter([g * tf.cast(share, g.dtype) for g in combined])
    combined = [next(scaled) if used else None for used in reached]
    shared = combined if at_parameters else _into_trunk(recording, variables, combined)
    weights = tf.cast(recording.present, recording.losses.dtype)
    return Update([*shared, *owned, *(None for _ in variables.balancer)], weights, finite)


def _task_rows(recording, sources, owned, scale):
    """T backward passes: each task's gradient by `sources` and by its own variables."""
    rows, of_owned = [], []
    for share, own in zip(recording.shares, owned, strict=True):
        gradients = recording.tape.gradient(
            share, [*sources, *own], output_gradients=_seed(share, 1.0, scale)
        )
        rows.append(gradients[: len(sources)])
        of_owned += gradients[len(sources) :]
    return rows, of_owned


def _owned(recording, variables, weights, scale):
    own = [v for own in variables.owned for v in own]
    return _backward(recording, own, _seeds(recording.shares, weights, scale))


def _backward(recording, sources, seeds):
    if not sources:
        return []
    return recording.tape.gradient(recording.shares, sources, output_gradients=seeds)


def _into_trunk(recording, variables, at_boundary):
    """One backward pass of the trunk, from the boundary to the shared variables."""
    ends, seeds = [], []
    for (end, _), seed in zip(recording.cut, at_boundary, strict=True):
        if seed is not None:
            ends.append(end)
            seeds.append(tf.cast(dense(seed), end.dtype))
    return recording.tape.gradient(ends, variables.shared, output_gradients=seeds)


def _weights(balancer, total, recording, scale):
    if scale is not None:
        total = total / tf.cast(scale, total.dtype) ** 2
    finite = tf.math.is_finite(tf.linalg.diag_part(total)) | tf.logical_not(recording.present)
    weights = balancer.weights(total, recording.losses, recording.present)
    return tf.cast(weights, recording.losses.dtype), finite


def _combine(found, weights, sources):
    weights = tf.unstack(weights)
    return [combine(c, weights, s) for c, s in zip(found, sources, strict=True)]


def _factor(number, scale, dtype):
    return tf.cast(number, dtype) if scale is None else tf.cast(number * scale, dtype)


def _seed(loss, number, scale):
    return tf.ones_like(loss) * _factor(number, scale, loss.dtype)


def _seeds(shares, weights, scale):
    if scale is not None:
        weights = weights * tf.cast(scale, weights.dtype)
    return [tf.cast(w, s.dtype) for w, s in zip(tf.unstack(weights), shares, strict=True)]


def _densify(gradients):
    return [dense(g) for g in gradients]


def _plus(a, b):
    if a is None or b is None:
        return b if a is None else a
    return dense(a) + dense(b)


def _rows_finite(stack):
    flat = tf.reshape(stack, [tf.shape(stack)[0], -1])
    return tf.reduce_all(tf.math.is_finite(flat), axis=1)
