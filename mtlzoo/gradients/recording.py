"""One forward pass under a tape, and backward passes from its losses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from mtlzoo.balancing import Balancer
from mtlzoo.gramian import dense

Tensors = list
_ON_TPUS = (tf.distribute.TPUStrategy, tf.distribute.experimental.TPUStrategy)
_WITH_COPIES = (
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
    *_ON_TPUS,
)


def replica_count() -> int:
    """The number of replicas that share the current step (1 without a strategy)."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def may_branch(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether a branch of the step's graph may assign to variables and sum over replicas.

    It may not where a strategy keeps copies of variables, also if it has one replica only.

    Args:
        strategy: what is trained on. Defaults to that of the scope that one is in.
    """
    return not isinstance(strategy or tf.distribute.get_strategy(), _WITH_COPIES)


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


def sums_slices() -> bool:
    """Whether replicas sum `IndexedSlices` as they are, by gathering their rows.

    TPUs sum dense tensors only: given slices, they would look for a dense shape.
    """
    return not isinstance(tf.distribute.get_strategy(), _ON_TPUS)


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
        parts: K lists of T scalar tensors, such shares for each of K parts of the batch; none where
            the balancer needs no parts.
        fractions: `(K, T)`, which part of the labels of the whole batch each part has.
        factors: `(T,)`, by which a loss balancer multiplies the losses before their gradients are
            balanced; `None` for ones.
        reached: what the backward passes have found of which tasks depend on what, to be used again
            in the same step.
    """

    tape: tf.GradientTape
    shares: Tensors
    extra: tf.Tensor | None
    cut: list[tuple[tf.Tensor, tf.Tensor]]
    losses: tf.Tensor
    unweighted: tf.Tensor
    present: tf.Tensor
    parts: list[Tensors] = field(default_factory=list)
    fractions: tf.Tensor | None = None
    factors: tf.Tensor | None = None
    reached: list = field(default_factory=list)


def record(
    compute: Callable,
    present: tf.Tensor,
    loss_weights: Tensors | None = None,
    fractions: tf.Tensor | None = None,
    merge: Callable[[Tensors], Tensors] = list,
) -> Recording:
    """Run a forward pass under a tape.

    Args:
        compute: `compute(watch) -> (shares, extra, *parts)`. `watch(tensor)` returns a copy of a
            boundary tensor that gradients of the heads stop at.
        present: `(T,)` bool, whether a task has any label in the global batch.
        loss_weights: T scalars, the factors of the losses, or `None` for ones.
        fractions: `(K, T)`, which part of the labels each of `parts` has.
        merge: what makes of the T shares those that are differentiated, such as the sums of some.
            The `losses` of what is returned are those of the tasks still.
    """
    cut = []
    with tf.GradientTape(persistent=True) as tape:

        def watch(tensor):
            copy = tf.identity(tensor)
            tape.watch(copy)
            cut.append((tensor, copy))
            return copy

        shares, extra, *parts = compute(watch)
        unweighted = tf.stop_gradient(tf.stack(shares))
        if loss_weights is not None:
            shares, *parts = (
                [s * tf.cast(w, s.dtype) for s, w in zip(part, loss_weights, strict=True)]
                for part in (shares, *parts)
            )
        shares = merge(shares)
    (unweighted,) = replica_sum([unweighted])
    losses = unweighted
    if loss_weights is not None:
        losses = losses * tf.cast(tf.stack(loss_weights), losses.dtype)
    return Recording(tape, shares, extra, cut, losses, unweighted, present, parts, fractions)


@dataclass(frozen=True)
class Variables:
    """The trainable variables of a step, by owner.

    Attributes:
        shared: those that several tasks depend on.
        owned: T lists, those that belong to one task.
        balancer: those of the balancer.
        groups: lists of shared variables of which a Gramian of their own is wanted.
        measured: whether the Gramian of all of them together is wanted, too.
    """

    shared: list = field(default_factory=list)
    owned: list[list] = field(default_factory=list)
    balancer: list = field(default_factory=list)
    groups: list[list] = field(default_factory=list)
    measured: bool = False

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
        state: what the balancer remembers of the step, by variable name.
        gramians: one for each of `Variables.groups`, `(T, T)`, without the loss scale; `unmade`
            where none was made in this step. None at all where the method makes none.
        gramian: that of all shared variables together, or of the boundary tensors at features
            level; `unmade` or `None` likewise.
    """

    gradients: Tensors
    weights: tf.Tensor
    finite: tf.Tensor | None
    state: dict[str, tf.Tensor] = field(default_factory=dict)
    gramians: Tensors = field(default_factory=list)
    gramian: tf.Tensor | None = None


# -- backward passes ------------------------------------------------------------------------------


def factor(number: float, scale: tf.Tensor | None, dtype: Any) -> tf.Tensor:
    """A number times the loss scale of mixed precision."""
    return tf.cast(number, dtype) if scale is None else tf.cast(number * scale, dtype)


def backward(
    recording: Recording, sources: list, weights: tf.Tensor, scale: tf.Tensor | None
) -> Tensors:
    """One backward pass of the weighted losses."""
    if not sources:
        return []
    seeds = _seeds(recording, weights, scale)
    return recording.tape.gradient(recording.shares, sources, output_gradients=seeds)


def task_rows(
    recording: Recording, sources: list, owned: list[list], scale: tf.Tensor | None
) -> tuple[list[Tensors], list[Tensors]]:
    """T backward passes: each task's gradient by `sources` and by its own variables."""
    rows, of_owned = [], []
    seeds = _seeds(recording, tf.ones_like(recording.losses), scale)
    for share, own, seed in zip(recording.shares, owned, seeds, strict=True):
        gradients = recording.tape.gradient(share, [*sources, *own], output_gradients=seed)
        rows.append(gradients[: len(sources)])
        of_owned.append(gradients[len(sources) :])
    return rows, of_owned


def check_reached(reached: Any, balancer: Balancer) -> None:
    """Refuse what would train nothing that is shared.

    Args:
        reached: booleans, whether a task depends on what is differentiated by.
        balancer: for the message.
    """
    if not reached.any():
        raise ValueError(
            "`balancer` should weigh losses where no task's loss depends on a shared variable, as "
            f"behind a `stop_gradient`. Received: {balancer!r}"
        )


def into_trunk(recording: Recording, variables: Variables, at_boundary: Tensors) -> Tensors:
    """One backward pass of the trunk, from the boundary to the shared variables."""
    ends, seeds = [], []
    for (end, _), seed in zip(recording.cut, at_boundary, strict=True):
        if seed is not None:
            ends.append(end)
            seeds.append(tf.cast(dense(seed), end.dtype))
    return recording.tape.gradient(ends, variables.shared, output_gradients=seeds)


def weighed(owned: list[Tensors], weights: tf.Tensor, balancer: Balancer) -> Tensors:
    """The gradients by the tasks' own variables, times the weights if the method says so."""
    if balancer.weighs_heads:
        owned = [
            [None if g is None else _times(g, w) for g in own]
            for own, w in zip(owned, tf.unstack(weights), strict=True)
        ]
    return [g for own in owned for g in own]


def _seeds(recording, weights, scale):
    """The seeds of the shares in a backward pass of the weighted losses."""
    if recording.factors is not None:
        weights = weights * recording.factors
    if scale is not None:
        weights = weights * tf.cast(scale, weights.dtype)
    shares = recording.shares
    return [tf.cast(w, s.dtype) for w, s in zip(tf.unstack(weights), shares, strict=True)]


def _times(gradient, number):
    if isinstance(gradient, tf.IndexedSlices):
        values = _times(gradient.values, number)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(number, gradient.dtype)
