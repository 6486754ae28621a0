"""Gradients of several task losses, and how a balancer turns them into one update.

This is the only file that owns the training tape and that sums over replicas. It knows nothing of
models or layers: it is given a way to compute T losses and lists of variables, and it gives back
one gradient for each variable.

On R replicas, every gradient returned here is a *share*: the sum of the shares over the replicas
is the gradient of the global batch. Keras's optimizers form that sum. Losses are shares too: each
is a sum over the replica's own rows divided by a global count.

Task gradients stay lists of tensors, one for each variable. They are never flattened into one
matrix, which costs a copy of them all, and under XLA on a CPU much more than that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import keras
import tensorflow as tf

from mtlzoo.balancing import Balancer, GradientBalancer, JacobianBalancer, LossBalancer

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
    reduced = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, given) if given else [])
    return [None if t is None else next(reduced) for t in tensors]


@dataclass(frozen=True)
class Recording:
    """One forward pass with its task losses, ready to be differentiated.

    Attributes:
        tape: the tape that saw it.
        shares: T scalar tensors, this replica's share of each task's loss.
        extra: scalar tensor or `None`: losses that are no task's, such as regularization.
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
    """

    shared: list = field(default_factory=list)
    owned: list[list] = field(default_factory=list)
    balancer: list = field(default_factory=list)

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
    """

    gradients: Tensors
    weights: tf.Tensor
    finite: tf.Tensor | None


def balanced(
    recording: Recording,
    variables: Variables,
    balancer: Balancer,
    scale: tf.Tensor | None = None,
    due: tf.Tensor | None = None,
) -> Update:
    """Differentiate the task losses and balance them.

    Args:
        recording: the forward pass.
        variables: what to differentiate by.
        balancer: a built balancer, of any kind.
        scale: the loss scale of mixed precision, or `None`. The returned gradients carry it; the
            balancer never sees it.
        due: bool, whether a balancer with `every > 1` has to compute its weights anew.
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
    if recording.extra is None:
        return update
    # The extra loss is the same on every replica (or a mean of them): each adds its part of it.
    seed = _seed(recording.extra, 1.0 / replica_count(), scale)
    targets = variables.all()
    extra = recording.tape.gradient(recording.extra, targets, output_gradients=seed)
    gradients = [_plus(g, e) for g, e in zip(update.gradients, extra, strict=True)]
    return Update(gradients, update.weights, update.finite)


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
        shared, owned, weights, finite = refresh(recording, variables, balancer, scale)
    elif replica_count() == 1:
        # Collectives cannot stand inside a branch, so only a single replica skips the work.
        shared, owned, weights, finite = tf.cond(
            due,
            lambda: refresh(recording, variables, balancer, scale),
            lambda: reuse(recording, variables, balancer, scale),
        )
    else:
        shared, owned, weights, finite = refresh(
            recording,
            variables,
            balancer,
            scale,
            lambda w: tf.where(due, w, _stored(balancer, recording)),
        )
    return Update([*shared, *owned, *(None for _ in variables.balancer)], weights, finite)


def _stored(balancer, recording):
    """The weights of the last step, for the tasks that are present."""
    weights = tf.cast(tf.convert_to_tensor(balancer.task_weights), recording.losses.dtype)
    return tf.where(recording.present, weights, tf.zeros_like(weights))


def _parameters_level(recording, variables, balancer, scale, choose=lambda weights: weights):
    rows, owned = _task_rows(recording, variables.shared, variables.owned, scale)
    reduced = replica_sum([g for row in rows for g in row])
    width = len(variables.shared)
    reduced = [reduced[i * width : (i + 1) * width] for i in range(len(rows))]
    weights, finite = _weights(balancer, gramian(reduced), recording, scale)
    weights = choose(weights)
    return _combine(rows, weights), owned, weights, finite


def _reuse_at_parameters(recording, variables, balancer, scale):
    weights = _stored(balancer, recording)
    ones = tf.ones_like(weights)
    shared = _backward(
        recording, variables.shared, _seeds(recording.shares, weights, scale), dense=True
    )
    return (
        shared,
        _owned(recording, variables, ones, scale),
        weights,
        tf.ones_like(recording.present),
    )


def _features_level(recording, variables, balancer, scale, choose=lambda weights: weights):
    copies = [copy for _, copy in recording.cut]
    rows, owned = _task_rows(recording, copies, variables.owned, scale)
    # Replicas hold disjoint rows of the batch, so that the Gramian of the global batch is the sum
    # of theirs: T x T numbers travel, whatever the size of the model.
    (total,) = replica_sum([gramian(rows)])
    weights, finite = _weights(balancer, total, recording, scale)
    weights = choose(weights)
    return _into_trunk(recording, variables, _combine(rows, weights)), owned, weights, finite


def _reuse_at_features(recording, variables, balancer, scale):
    weights = _stored(balancer, recording)
    copies = [copy for _, copy in recording.cut]
    at_boundary = _backward(recording, copies, _seeds(recording.shares, weights, scale), dense=True)
    shared = _into_trunk(recording, variables, at_boundary)
    owned = _owned(recording, variables, tf.ones_like(weights), scale)
    return shared, owned, weights, tf.ones_like(recording.present)


def _by_jacobian(recording, variables: Variables, balancer: JacobianBalancer, scale) -> Update:
    """Give the balancer the gradients themselves, stacked by variable or boundary tensor."""
    sources = [copy for _, copy in recording.cut] or variables.shared
    rows, owned = _task_rows(recording, sources, variables.owned, scale)
    at_parameters = not recording.cut
    stacks = [
        tf.stack([tf.zeros_like(source) if g is None else g for g in column])
        for source, column in zip(sources, zip(*rows, strict=True), strict=True)
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
    combined = [g * tf.cast(share, g.dtype) for g in combined]
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
        gradients = _densify(gradients)
        rows.append(gradients[: len(sources)])
        of_owned += gradients[len(sources) :]
    return rows, of_owned


def _owned(recording, variables, weights, scale):
    own = [v for own in variables.owned for v in own]
    return _backward(recording, own, _seeds(recording.shares, weights, scale), dense=True)


def _backward(recording, sources, seeds, dense=False):
    if not sources:
        return []
    gradients = recording.tape.gradient(recording.shares, sources, output_gradients=seeds)
    return _densify(gradients) if dense else gradients


def _into_trunk(recording, variables, at_boundary):
    """One backward pass of the trunk, from the boundary to the shared variables."""
    ends, seeds = [], []
    for (end, _), seed in zip(recording.cut, at_boundary, strict=True):
        if seed is not None:
            ends.append(end)
            seeds.append(tf.cast(seed, end.dtype))
    gradients = recording.tape.gradient(ends, variables.shared, output_gradients=seeds)
    return _densify(gradients)


def gramian(rows: Sequence[Tensors]) -> tf.Tensor:
    """`G[i, j] = <g_i, g_j>`, accumulated tensor by tensor.

    Args:
        rows: T lists of tensors, the gradients of the tasks; `None` is zero.

    Returns:
        `(T, T)`, in float64 where the gradients are, else in float32.
    """
    total = None
    for column in zip(*rows, strict=True):
        part = _column_gramian(column)
        if part is not None:
            total = part if total is None else total + part
    if total is None:
        raise ValueError("`rows` should hold at least one gradient. Received: only `None`.")
    return total


# Large gradients are multiplied pair by pair, where they lie: stacking them into a matrix took 3.9
# times as long for 2 tasks and 1.9 times for 8, and no longer for 16 (`benchmarks/gramian.py`).
# Small ones, and those of many tasks, are stacked: there the number of operations decides.
LARGE, MANY_TASKS = 16384, 8


def _column_gramian(column):
    """The part of the Gramian that one variable or boundary tensor adds; `None` for no part."""
    given = [g for g in column if g is not None]
    if not given:
        return None
    dtype = tf.float64 if given[0].dtype == tf.float64 else tf.float32
    flat = [None if g is None else tf.cast(tf.reshape(g, [1, -1]), dtype) for g in column]
    size = given[0].shape.num_elements()
    if len(column) > MANY_TASKS or (size is not None and size < LARGE):
        zero = tf.zeros_like(tf.reshape(given[0], [1, -1]), dtype)
        matrix = tf.concat([zero if g is None else g for g in flat], 0)
        return tf.matmul(matrix, matrix, transpose_b=True)
    zero = tf.zeros([], dtype)
    entries = {}
    for i, a in enumerate(flat):
        for j, b in enumerate(flat[: i + 1]):
            product = zero
            if a is not None and b is not None:
                product = tf.reshape(tf.matmul(a, b, transpose_b=True), [])
            entries[i, j] = entries[j, i] = product
    count = range(len(flat))
    return tf.reshape(tf.stack([entries[i, j] for i in count for j in count]), [len(flat)] * 2)


def _weights(balancer, total, recording, scale):
    if scale is not None:
        total = total / tf.cast(scale, total.dtype) ** 2
    finite = tf.math.is_finite(tf.linalg.diag_part(total)) | tf.logical_not(recording.present)
    weights = balancer.weights(total, recording.losses, recording.present)
    return tf.cast(weights, recording.losses.dtype), finite


def _combine(rows, weights):
    weights = tf.unstack(weights)
    combined = []
    for column in zip(*rows, strict=True):
        terms = [
            tf.cast(w, g.dtype) * g for w, g in zip(weights, column, strict=True) if g is not None
        ]
        combined.append(tf.add_n(terms) if terms else None)
    return combined


def _factor(number, scale, dtype):
    return tf.cast(number, dtype) if scale is None else tf.cast(number * scale, dtype)


def _seed(loss, number, scale):
    return tf.ones_like(loss) * _factor(number, scale, loss.dtype)


def _seeds(shares, weights, scale):
    if scale is not None:
        weights = weights * tf.cast(scale, weights.dtype)
    return [tf.cast(w, s.dtype) for w, s in zip(tf.unstack(weights), shares, strict=True)]


def _densify(gradients):
    return [tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]


def _plus(a, b):
    if a is None or b is None:
        return b if a is None else a
    return tf.convert_to_tensor(a) + tf.convert_to_tensor(b)


def _rows_finite(stack):
    flat = tf.reshape(stack, [tf.shape(stack)[0], -1])
    return tf.reduce_all(tf.math.is_finite(flat), axis=1)


def exact_clip(gradients: Tensors, optimizer, scale: tf.Tensor | None = None) -> Tensors:
    """Clip the gradients of the global batch as `optimizer` would on one replica.

    Keras clips each replica's gradient before it sums them, which is another operation. Clipping
    here first is exact, and leaves Keras's own with nothing to do.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    limit = inner.clipnorm or inner.global_clipnorm or inner.clipvalue
    if not limit:
        return gradients
    if scale is not None:
        limit = limit * scale
    if inner.clipnorm:
        return [g if g is None else tf.clip_by_norm(g, limit) for g in gradients]
    if inner.global_clipnorm:
        return tf.clip_by_global_norm(gradients, limit)[0]
    return [g if g is None else keras.ops.clip(g, -limit, limit) for g in gradients]


def needs_global_gradients(optimizer) -> bool:
    """Whether `optimizer` looks at gradients before it sums them over replicas."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    clips = inner.clipnorm or inner.global_clipnorm or inner.clipvalue
    return bool(clips) or hasattr(optimizer, "inner_optimizer")
