"""How the gradients of held-out losses agree with those that trained the model."""

from dataclasses import dataclass

import tensorflow as tf

from mtlzoo.gradients.recording import (
    Recording,
    Tensors,
    Variables,
    backward,
    replica_sum,
    task_rows,
)
from mtlzoo.gramian import dense


@dataclass(frozen=True)
class TaskGradients:
    """This replica's shares of each task's gradient.

    Attributes:
        shared: T lists, by the shared variables.
        owned: T lists, by the task's own variables.
    """

    shared: list[Tensors]
    owned: list[Tensors]


def unweighed_scale(
    scale: tf.Tensor | None, weights: tf.Tensor, present: tf.Tensor
) -> tf.Tensor | None:
    """The loss scale for gradients of losses that are not weighed.

    That of the optimizer rises until the weighed losses almost overflow: without weights of, say,
    0.1, gradients would overflow for ever.

    Args:
        scale: the loss scale of the update, or `None`.
        weights: `(T,)`, the weights of the update.
        present: `(T,)` bool, the tasks in it.
    """
    if scale is None:
        return None
    least = tf.reduce_min(tf.where(present, weights, tf.ones_like(weights)))
    # Weights of zero must not make all gradients vanish.
    part = tf.clip_by_value(least, 1e-3, 1.0) / weights.shape[0]
    return scale * tf.cast(part, scale.dtype)


def task_gradients(
    recording: Recording, variables: Variables, scale: tf.Tensor | None
) -> TaskGradients:
    """T backward passes, before anything is updated."""
    return TaskGradients(*task_rows(recording, variables.shared, variables.owned, scale))


def agreement(
    trained: TaskGradients,
    held_out: Recording,
    variables: Variables,
    wanted: tf.Tensor,
    scale: tf.Tensor | None,
) -> tf.Tensor:
    """By how much each task's training gradient, followed, lowers the held-out losses.

    Args:
        trained: the gradients of the training losses.
        held_out: the forward pass on held-out rows.
        variables: what to differentiate by.
        wanted: `(T,)`, the factors of the held-out losses in their sum.
        scale: the loss scale of mixed precision, or `None`.

    Returns:
        `(T,)`, the inner products of the gradients of the tasks with that of the weighted sum of
        the held-out losses, by all variables that the task's loss depends on.
    """
    wanted = tf.where(held_out.present, wanted, tf.zeros_like(wanted))
    sources = [*variables.shared, *(v for own in variables.owned for v in own)]
    found = [dense(g) for g in backward(held_out, sources, wanted, scale)]
    # Only this one gradient is summed over the replicas: of the products T numbers travel.
    found = replica_sum(found)
    shared, rest = found[: len(variables.shared)], found[len(variables.shared) :]
    products = []
    for of_shared, of_owned in zip(trained.shared, trained.owned, strict=True):
        own, rest = rest[: len(of_owned)], rest[len(of_owned) :]
        pairs = zip([*of_shared, *of_owned], [*shared, *own], strict=True)
        terms = [
            tf.reduce_sum(tf.cast(dense(a) * b, held_out.losses.dtype))
            for a, b in pairs
            if a is not None and b is not None
        ]
        products.append(tf.add_n(terms) if terms else tf.zeros([], held_out.losses.dtype))
    (total,) = replica_sum([tf.stack(products)])
    return total if scale is None else total / tf.cast(scale, total.dtype) ** 2
